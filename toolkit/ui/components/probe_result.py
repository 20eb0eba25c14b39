"""A finished probe: chart, table, and one image under the magnifying glass."""

from __future__ import annotations

import math
from typing import Any

import streamlit as st

from toolkit.data.dataset import ImageDataset
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.sizes import format_size
from toolkit.probe.inspection import inspect_image
from toolkit.report.figures import distortion_figure
from toolkit.report.images import enlarge
from toolkit.ui.components import words
from toolkit.ui.components.advice_result import show_recommendation, show_rules
from toolkit.ui.components.choice import choose
from toolkit.ui.components.outputs import downloads

_AMPLIFY = 8
_MEASURES = {"fmse_relative": "FMSE", "psnr": "PSNR", "ssim": "SSIM", "cosine_distance": "cosine distance"}
_BASES = {"stored_bytes": "stored, header shared", "file_bytes": "ordinary files"}
_COLUMNS = ("codec", "stored_bytes", "file_bytes", "header_tax", "bpp", "ratio_raw", "ratio_original", "exemplars",
            "exemplars_per_class", "fmse_relative", "psnr", "ssim", "cosine_distance", "encode_us",
            "decode_us")  # fmt: skip


def show_probe(name: str, result: dict[str, Any], dataset: ImageDataset) -> None:
    """Everything about one result.

    Args:
        name: of its run.
        result: the ``probe`` or ``advise`` JSON.
        dataset: what it was made on.
    """
    advised = "recommended" in result
    if advised:
        show_recommendation(result)
    st.subheader("What compression costs", anchor=False)
    place = st.container(horizontal=True, gap="large")
    metric = choose(place, "Judged by", _MEASURES, "probe_metric", f"{words.FMSE}\n\n{words.PSNR}\n\n{words.SSIM}")
    basis = choose(place, "Bytes of", _BASES, "probe_basis", words.HEADER_TAX)
    st.plotly_chart(
        distortion_figure(
            result["settings"], metric, basis=basis, original_bytes=result["original_file_bytes"],
            picks=result["rules"] if advised else (), recommended=result["recommended"]["codec"] if advised else None,
        ),
        key="probe_chart",
        on_select=_take_point,
        selection_mode="points",
        alt="Distortion against bytes an image, one line a codec",
    )
    st.caption(
        f"{result['images']:,} images of {result['classes']} classes, features of {result['extractor']}, budget "
        f"{format_size(result['budget_bytes'])}, measured in {words.duration(result['seconds'])}. Stars are lossless. "
        "Click a mark to look at that setting below."
    )
    _table(name, result)
    if advised:
        show_rules(name, result)
    _magnifier(result, dataset)


def _take_point() -> None:
    points = st.session_state["probe_chart"]["selection"]["points"]
    if points:
        st.session_state["inspected"] = points[0]["customdata"][0]


def _table(name: str, result: dict[str, Any]) -> None:
    number = st.column_config.NumberColumn
    rows = [
        {column: (setting | {"header_tax": 1 - setting["stored_bytes"] / setting["file_bytes"]})[column]
         for column in _COLUMNS}
        for setting in result["settings"]
    ]  # fmt: skip
    st.dataframe(
        rows,
        hide_index=True,
        column_config={
            "codec": st.column_config.TextColumn("setting", pinned=True, width=230),
            "stored_bytes": number("stored bytes", format="%.1f", help=words.STORED),
            "file_bytes": number("file bytes", format="%.1f", help=words.FILE),
            "header_tax": number("header tax", format="percent", help=words.HEADER_TAX),
            "bpp": number("bpp", format="%.3f", help=words.BPP),
            "ratio_raw": number("ratio to raw", format="%.1f", help=words.RAW_BASIS),
            "ratio_original": number("ratio to original", format="%.1f", help=words.ORIGINAL_BASIS),
            "exemplars": number("exemplars", help=words.EXEMPLARS),
            "exemplars_per_class": number("exemplars a class", format="%.1f", help="How many fit the budget."),
            "fmse_relative": number("FMSE, relative", format="%.5f", help=words.FMSE),
            "psnr": number("PSNR, dB", format="%.2f", help=words.PSNR),
            "ssim": number("SSIM", format="%.4f", help=words.SSIM),
            "cosine_distance": number("cosine distance", format="%.5f", help="Of features; 0: the same direction."),
            "encode_us": number("encode, µs", format="%.0f", help="Processor time an image."),
            "decode_us": number("decode, µs", format="%.0f", help="Processor time an image."),
        },
    )  # fmt: skip
    with st.expander("Exemplars by compression ratio alone, as some papers count them"):
        st.markdown(
            "The budget holds a number of raw images. Multiplied by the ratio to raw or to the original files it gives "
            "the equivalent number of compressed ones, labels and shared headers left aside."
        )
        names = ("codec", "exemplars", "equivalent_exemplars_raw", "equivalent_exemplars_original")
        st.dataframe(
            [{key: setting[key] for key in names} for setting in result["settings"]],
            hide_index=True,
            column_config={
                "exemplars": "fit the budget",
                "equivalent_exemplars_raw": "by ratio to raw",
                "equivalent_exemplars_original": "by ratio to original",
            },
        )
    downloads(name, result, result["settings"], _COLUMNS)


def _magnifier(result: dict[str, Any], dataset: ImageDataset) -> None:
    st.subheader("Look at one image", anchor=False)
    codecs = [setting["codec"] for setting in result["settings"]]
    if st.session_state.get("inspected") not in codecs:
        st.session_state["inspected"] = codecs[len(codecs) // 2]
    columns = st.columns(3)
    codec = columns[0].selectbox("Setting", codecs, key="inspected")
    names = dataset.class_names
    label = columns[1].selectbox("Class", range(len(names)), format_func=lambda k: names[k], key="inspected_class")
    members = (dataset.train.labels == label).nonzero()[0]
    number = columns[2].number_input("Training image of that class", 1, len(members), 1, key="inspected_image")
    try:
        seen = inspect_image(codec, dataset.train.images[members[min(number, len(members)) - 1]], _AMPLIFY)
    except (UsageError, WorkError) as error:
        st.error(one_line(error))
        return
    quality = "identical pixels" if math.isinf(seen.psnr) else f"PSNR {seen.psnr:.1f} dB"
    shared = seen.file_bytes - seen.stored_bytes
    captions = (
        f"Original: {dataset.raw_image_bytes:,} bytes raw",
        f"Decoded: {seen.stored_bytes:,} bytes stored, {quality}",
        f"Difference, {_AMPLIFY} times amplified around grey",
    )
    for column, pixels, caption in zip(
        st.columns(3), (seen.original, seen.decoded, seen.difference), captions, strict=True
    ):
        column.image(enlarge(pixels, 320), caption, width="stretch", alt=caption)
    if shared > 0:
        st.caption(f"As an ordinary file it would take {seen.file_bytes:,} bytes: {shared:,} of them header.")
