"""What a decision gives to take along: the command for its bundle, and a snippet for one's own training."""

from __future__ import annotations

import shlex

from toolkit.codecs.spec import is_lossless
from toolkit.study.contents import StudyResult

_MEMORY = """import toolkit

with toolkit.ReplayMemory("replay.recall", budget={budget}, codec={codec!r}) as memory:
    memory.add(images, labels)  # uint8 (N, H, W, 3), before augmentation
    old_images, old_labels = memory.sample(64)
"""
_CODING = """
codec = toolkit.parse_codec({codec!r})
codec.fit(images)
coded = codec.decode(codec.encode(images), images.shape[1:3])  # {which}
"""
_WHICH = {"train": "the images that the network trains on", "both": "every image, in training and at inference"}


def bundle_command(result: StudyResult, runs_dir: str | None = None) -> str | None:
    """The command that packs memory, network, codec and monitor; None if the test images were not opened."""
    if result["test"] is None:
        return None
    words = ["recallrate", "bundle", "export", result["test"]["arms"][0]["run"], "-o", "bundle"]
    return shlex.join([*words, *(("--runs-dir", runs_dir) if runs_dir else ())])


def snippet(result: StudyResult) -> str:
    """Python that fills a memory with the decision's setting and codes images as its alignment asks."""
    codec, align = result["decision"]["codec"], result["decision"]["align"]
    text = _MEMORY.format(budget=result["budget_bytes"], codec=codec)
    if align != "none" and not is_lossless(codec):
        text += _CODING.format(codec=codec, which=_WHICH[align])
    return text
