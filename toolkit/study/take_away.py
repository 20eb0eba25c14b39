"""What a decision gives to take along: the command for its bundle, and a snippet for one's own training."""

from __future__ import annotations

import shlex

from toolkit.codecs.base import chain
from toolkit.codecs.guide import needs_network
from toolkit.codecs.original import NeedsOriginals
from toolkit.codecs.spec import is_lossless, parse_codec
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


def snippet(result: StudyResult) -> str | None:
    """Python that fills a memory with the decision's setting and codes images as its alignment asks.

    None if the setting needs the sources of images or a network, which a training loop cannot give it.
    """
    codec, align = result["decision"]["codec"], result["decision"]["align"]
    made = parse_codec(codec)
    if needs_network(made) or any(isinstance(part, NeedsOriginals) for part in chain(made)):
        return None
    text = _MEMORY.format(budget=result["budget_bytes"], codec=codec)
    if align != "none" and not is_lossless(codec):
        text += _CODING.format(codec=codec, which=_WHICH[align])
    return text
