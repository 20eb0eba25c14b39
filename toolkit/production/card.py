"""The model card of a bundle: one page of Markdown for its new owner."""

from __future__ import annotations

from toolkit.production.facts import BundleFacts

_ALIGN = {
    "none": "Only the exemplars are compressed. Other training images and test images are not.",
    "train": "Training images pass through the codec like the exemplars. Test images do not.",
    "both": "Every image passes through the codec before the network sees it, in training and at inference.",
}


def model_card(facts: BundleFacts) -> str:
    """The model card of the bundle with these facts."""
    result, config, baseline = facts["result"], facts["config"], facts["baseline"]
    measured = "not measured: the network has been trained further since the pilot"
    if result is not None:
        measured = (
            f"last accuracy {result['last_accuracy']:.1%} (original test images {result['accuracy_on_original']:.1%}, "
            f"compressed ones {result['accuracy_on_coded']:.1%}), average incremental accuracy "
            f"{result['average_incremental_accuracy']:.1%}, forgetting {result['forgetting']:.1%}, memory "
            f"{result['memory_bytes']:,} of {facts['budget_bytes']:,} bytes"
        )
    classes = ", ".join(facts["class_names"][label] for label in facts["class_order"])
    return f"""# Classifier with exemplar memory

Trained by a Recall Rate pilot on `{facts["dataset"]}` at {facts["size"]} px; run `{facts["run"]}`.

| | |
|---|---|
| classes, in the order they were learned | {classes} |
| method, network | {config["method"]}, {config["network"]} |
| memory | budget {facts["budget_bytes"]:,} bytes, codec `{facts["codec"]}` |
| results | {measured} |

**Preprocessing** (`align {facts["align"]}`): {_ALIGN[facts["align"]]} Use `bundle.preprocess(image)`.

**Monitor**: baseline of {baseline["images"]:,} images ({baseline["of"]}); at most {baseline["false_alarms"]:g} false alarms per image are expected. An alarm says that new images differ, not why.

**Intended use**: continued training on new classes with the same codec and image size, and classification of images like those of the baseline.

**Out of scope**: other cameras, image sizes or codecs without a new pilot; decisions about people; use as evidence. Exemplars are images from the training set, and decoded exemplars are not the originals. `recallrate memory forget` permanently removes a class or an image.

**Limitations**: results come from one pilot with one seed, so the accuracy is a single sample. A short training of a small network is not an upper bound.
"""  # noqa: E501 - table rows and paragraphs of Markdown
