"""The Data page: what is in the dataset, and what had to be left out."""

from __future__ import annotations

import shlex

import numpy as np
import streamlit as st

from toolkit.data.dataset import ImageDataset
from toolkit.data.summary import summary
from toolkit.foundation.sizes import format_size
from toolkit.report.figures import class_histogram
from toolkit.report.images import strip
from toolkit.ui.components.datasets import open_dataset
from toolkit.ui.components.outputs import command, downloads, next_page

_SHOWN_CLASSES = 12
_SHOWN_IMAGES = 6


def page() -> None:
    """Draw the page."""
    st.title("Data", anchor=False)
    dataset = open_dataset()
    facts = summary(dataset)
    _numbers(facts)
    for note in facts["notes"]:
        st.info(note, icon=":material/info:")
    st.subheader("Images in each class", anchor=False)
    st.plotly_chart(class_histogram(facts["classes"]), key="histogram", alt="Training and test images of each class")
    _samples(dataset)
    _quarantine(facts)
    with st.expander("Table and downloads"):
        st.dataframe(
            facts["classes"],
            hide_index=True,
            column_config={"file_bytes": st.column_config.NumberColumn("mean original bytes", format="%.0f")},
        )
        downloads("data", facts, facts["classes"])
    command(f"recallrate data {shlex.quote(dataset.name)} --size {dataset.size}")
    next_page("probe", "Next: probe codecs on these images")


def _numbers(facts: dict) -> None:
    columns = st.columns([3, 4, 4, 5, 5])
    columns[0].metric("Classes", len(facts["classes"]), border=True)
    columns[1].metric("Training images", f"{facts['train_images']:,}", border=True)
    columns[2].metric("Test images", f"{facts['test_images']:,}", border=True)
    columns[3].metric(
        "Raw training set", format_size(facts["raw_bytes"]), border=True,
        help=f"24-bit pixels at {facts['size']} px: {facts['raw_image_bytes']:,} bytes an image",
    )  # fmt: skip
    columns[4].metric(
        "Original files", format_size(facts["original_bytes"]), border=True,
        help=f"Training files as they came, at their own size: {facts['original_file_bytes']:,.0f} bytes on average",
    )  # fmt: skip


def _samples(dataset: ImageDataset) -> None:
    st.subheader("What they look like", anchor=False)
    names = dataset.class_names
    shown = list(range(len(names)))
    if len(names) > _SHOWN_CLASSES:
        last = -(-len(names) // _SHOWN_CLASSES)
        number = st.number_input(f"Classes are shown {_SHOWN_CLASSES} at a time; part", 1, last, 1, width=260)
        shown = shown[(number - 1) * _SHOWN_CLASSES : number * _SHOWN_CLASSES]
    columns = st.columns(2)
    for position, label in enumerate(shown):
        members = np.flatnonzero(dataset.train.labels == label)[:_SHOWN_IMAGES]
        with columns[position % 2]:
            st.caption(names[label])
            st.image(strip(dataset.train.images[members]), width="stretch", alt=f"Training images of {names[label]}")


def _quarantine(facts: dict) -> None:
    left_out = facts["quarantine"]
    if left_out:
        st.subheader(f"Left out: {len(left_out):,} unreadable files", anchor=False)
        st.dataframe(left_out, hide_index=True)
    else:
        st.success("Every file could be read.", icon=":material/check:")
