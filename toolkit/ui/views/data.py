"""The Data page: the contents of the dataset, and the files left out."""

from __future__ import annotations

import shlex

import numpy as np
import streamlit as st

from toolkit.data.dataset import ImageDataset
from toolkit.data.summary import DatasetFacts, summary
from toolkit.foundation.sizes import format_size
from toolkit.report.figures.data import class_histogram
from toolkit.report.images import strip
from toolkit.ui.components.datasets import open_dataset
from toolkit.ui.components.figures import draw_figure
from toolkit.ui.components.language import current, say
from toolkit.ui.components.outputs import command, downloads, next_page
from toolkit.ui.components.plain import plain

_SHOWN_CLASSES = 12
_SHOWN_IMAGES = 6


def page() -> None:
    """Draw the page."""
    st.title(say("shell.data"), anchor=False)
    st.markdown(say("data.intro"))
    dataset = open_dataset()
    facts = summary(dataset)
    _numbers(facts)
    for note in facts["notes"]:
        st.info(plain(note), icon=":material/info:")
    st.subheader(say("data.histogram"), anchor=False)
    st.plotly_chart(draw_figure(class_histogram, facts["classes"]), key="histogram", alt=say("data.histogram_alt"))
    _samples(dataset)
    _quarantine(facts)
    with st.expander(say("shell.table")):
        st.dataframe(
            facts["classes"],
            hide_index=True,
            column_config={
                "class": say("column.class"),
                "train": say("figure.train"),
                "test": say("figure.test"),
                "file_bytes": st.column_config.NumberColumn(say("column.original_bytes"), format="%.0f"),
            },
            alt=say("data.histogram_alt"),
        )
        downloads("data", facts, facts["classes"])
    command(f"recallrate data {shlex.quote(dataset.name)} --size {dataset.size}")
    next_page("probe", say("data.next"))


def _numbers(facts: DatasetFacts) -> None:
    columns = st.columns([3, 4, 4, 5, 5])
    columns[0].metric(say("data.classes"), len(facts["classes"]), border=True)
    columns[1].metric(say("data.train_images"), f"{facts['train_images']:,}", border=True)
    columns[2].metric(say("data.test_images"), f"{facts['test_images']:,}", border=True)
    columns[3].metric(
        say("data.raw"),
        format_size(facts["raw_bytes"]),
        border=True,
        help=say("data.raw_help", size=facts["size"], bytes=f"{facts['raw_image_bytes']:,}"),
    )
    columns[4].metric(
        say("data.original"),
        format_size(facts["original_bytes"]),
        border=True,
        help=say("data.original_help", bytes=f"{facts['original_file_bytes']:,.0f}"),
    )


def _samples(dataset: ImageDataset) -> None:
    st.subheader(say("data.samples"), anchor=False)
    names = dataset.class_names
    shown = list(range(len(names)))
    if len(names) > _SHOWN_CLASSES:
        last = -(-len(names) // _SHOWN_CLASSES)
        number = st.number_input(say("data.part", count=_SHOWN_CLASSES), 1, last, 1, width=260)
        shown = shown[(number - 1) * _SHOWN_CLASSES : number * _SHOWN_CLASSES]
    columns = st.columns(2)
    for position, label in enumerate(shown):
        members = np.flatnonzero(dataset.train.labels == label)[:_SHOWN_IMAGES]
        with columns[position % 2]:
            st.caption(plain(names[label]))
            alt = current()("data.samples_alt", name=names[label])
            st.image(strip(dataset.train.images[members]), width="stretch", alt=alt)


def _quarantine(facts: DatasetFacts) -> None:
    left_out = facts["quarantine"]
    if left_out:
        st.subheader(say("data.left_out", count=f"{len(left_out):,}"), anchor=False)
        st.dataframe(
            left_out,
            hide_index=True,
            column_config={"file": say("column.file"), "reason": say("column.reason")},
            alt=say("data.left_out", count=f"{len(left_out):,}"),
        )
    else:
        st.success(say("data.all_read"), icon=":material/check:")
