"""A bundle's model card: one page of Markdown for whoever takes it over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ALIGN = {
    "none": "Only the exemplars are coded. Images to train on and to classify are not.",
    "train": "Images to train on pass the codec like the exemplars. Images to classify do not.",
    "both": "Every image passes the codec before the network sees it, in training and in use.",
}


def model_card(facts: Mapping[str, Any]) -> str:
    """The card of a bundle with these facts."""
    result, config, baseline = facts["result"], facts["config"], facts["baseline"]
    measured = "trained on since the pilot; not measured here"
    if result is not None:
        measured = (
            f"last accuracy {result['last_accuracy']:.1%} (original test images {result['accuracy_on_original']:.1%}, "
            f"coded ones {result['accuracy_on_coded']:.1%}), average {result['average_incremental_accuracy']:.1%}, "
            f"forgetting {result['forgetting']:.1%}, memory {result['memory_bytes']:,} of "
            f"{facts['budget_bytes']:,} bytes"
        )
    classes = ", ".join(facts["class_names"][label] for label in facts["class_order"])
    return f"""# A classifier with its memory

Trained by a pilot of Recall Rate on `{facts["dataset"]}` at {facts["size"]} px; run `{facts["run"]}`.

| | |
|---|---|
| classes, in the order in which they were learned | {classes} |
| method, network | {config["method"]}, {config["network"]} |
| memory | budget {facts["budget_bytes"]:,} bytes, codec `{facts["codec"]}` |
| results | {measured} |

**Preprocessing** (`align {facts["align"]}`): {_ALIGN[facts["align"]]} `bundle.preprocess(image)` does it.

**Monitor**: baseline of {baseline["images"]:,} images ({baseline["of"]}); at most {baseline["false_alarms"]:g} false alarms an image are expected. An alarm says that new images differ, not why.

**Meant for**: going on with training on new classes with the same codec and size, and classifying images like those of the baseline.

**Not meant for**: other cameras, sizes or codecs without a new pilot; decisions about people; evidence. Exemplars are pictures, and decoded ones are no originals. `recallrate memory forget` removes a class or an image for good.

One pilot with one seed: its accuracy is one draw. A short training of a small network is no upper bound either.
"""  # noqa: E501 - table rows and paragraphs of Markdown
