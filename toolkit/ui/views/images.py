"""The Images page: the effect of a setting on single images, worst first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import streamlit as st

from toolkit.advice.contents import is_advice
from toolkit.codecs.spec import parse_codec, short_spec
from toolkit.data.dataset import ImageDataset
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.files import default_runs_dir
from toolkit.jobs.kinds import newest_probe
from toolkit.jobs.listing import list_runs
from toolkit.probe.contents import ImageRow, ImagesResult, ProbeResult
from toolkit.probe.inspection import decode_images, inspect_image
from toolkit.probe.request import ImagesRequest
from toolkit.report.figures.data import feature_figure
from toolkit.report.images import enlarge
from toolkit.runs.folder import RunFolder
from toolkit.ui.access import require_allowed_codecs
from toolkit.ui.components.choice import choose, choose_addressed
from toolkit.ui.components.datasets import chosen, open_dataset
from toolkit.ui.components.figures import draw_figure
from toolkit.ui.components.gallery import Tile, gallery, wipe
from toolkit.ui.components.jobs import start_button, watch
from toolkit.ui.components.language import say
from toolkit.ui.components.outputs import command, downloads, next_page
from toolkit.ui.components.plain import plain

_USUAL = ["jpeg:quality=10", "jpeg:quality=30", "jpeg:quality=50", "webp:quality=50"]
_ORDERS = {"fmse": -1, "psnr": 1, "ssim": 1, "stored_bytes": -1, "smallest": 1}
"""Sort directions: 1 for smallest first, -1 for largest first."""
_TILES = 24
_AMPLIFY = 8


def page() -> None:
    """Draw the page."""
    st.title(say("shell.images"), anchor=False)
    st.markdown(say("images.intro"))
    dataset = open_dataset()
    runs_dir = default_runs_dir()
    request = _request(runs_dir)
    if request is None:
        return
    run = request.folder_at(runs_dir)
    result = request.result_in(run) if run is not None else None
    if result is None:
        _measure(request, run, runs_dir)
    index = _grid(dataset, request.codec, result) if result is not None else None
    _detail(dataset, request.codec, index, result)
    if result is not None:
        _plane(result)
        _table(result)
    command(request.command())


def _request(runs_dir: Path) -> ImagesRequest | None:
    """The request for the chosen setting; None if the typed setting is invalid."""
    spec, size = chosen()
    found = newest_probe(list_runs(runs_dir), spec, size)
    newest = found[1] if found is not None else None
    offered = [row["codec"] for row in newest["settings"]] if newest else list(_USUAL)
    columns = st.columns([3, 1])
    setting = choose_addressed(
        say("column.setting"),
        offered,
        "setting",
        short_spec,
        say("images.setting_help"),
        usual=_recommended(newest) or offered[len(offered) // 2],
        others=True,
        place=columns[0],
    )
    count = columns[1].select_slider(say("probe.images"), [100, 200, 400, 1000], 400, key="images_count")
    try:
        require_allowed_codecs(setting)
        return ImagesRequest(spec, size, str(parse_codec(setting)), images=count)
    except UsageError as error:
        st.error(plain(one_line(error)), icon=":material/error:")
        return None


def _recommended(probe: ProbeResult | None) -> str | None:
    return probe["recommended"]["codec"] if probe is not None and is_advice(probe) else None


def _measure(request: ImagesRequest, run: RunFolder | None, runs_dir: Path) -> None:
    """The button that starts the measurement, or its progress."""
    if run is not None:
        watch([run], runs_dir)
        return
    st.info(say("images.none_yet", setting=short_spec(request.codec)), icon=":material/arrow_downward:")
    start_button(say("images.measure"), request, runs_dir, main=True)


def _grid(dataset: ImageDataset, codec: str, result: ImagesResult) -> int | None:
    """Tiles of original and decoded images in the chosen order; returns the index of the chosen image."""
    st.subheader(say("images.grid"), anchor=False)
    columns = st.columns([3, 2], vertical_alignment="bottom")
    order = choose(
        columns[0],
        say("images.order"),
        {name: say(f"images.by_{name}") for name in _ORDERS},
        "images_order",
        say("help.fmse_relative"),
    )
    classes = [say("images.all_classes"), *dataset.class_names]
    label = columns[1].selectbox(say("column.class"), range(len(classes)), format_func=classes.__getitem__)
    rows = [row for row in result["images"] if label == 0 or row["class"] == classes[label]]
    rows.sort(key=lambda row: _ORDERS[order] * _sorted_by(row, order))
    pages = max(1, math.ceil(len(rows) / _TILES))
    number = 1
    if pages > 1:
        number = int(st.number_input(say("images.part", count=_TILES, pages=pages), 1, pages, 1, width=260))
    shown = rows[(number - 1) * _TILES : number * _TILES]
    if not shown:
        st.info(say("images.none_of_class"))
        return None
    measured = {row["index"] for row in result["images"]}
    asked = st.query_params.get("image", "")
    if "image" not in st.session_state and asked.isdecimal():
        st.session_state["image"] = int(asked)
    if st.session_state.get("image") not in measured:
        st.session_state["image"] = shown[0]["index"]
    originals = np.ascontiguousarray(dataset.train.images[[row["index"] for row in shown]])
    try:
        decoded = decode_images(codec, originals, shown, dataset.originals)
    except (UsageError, WorkError) as error:
        st.error(plain(one_line(error)), icon=":material/error:")
        return None
    tiles = [
        Tile(row["index"], (original, coded), _lines(row), _in_words(row))
        for row, original, coded in zip(shown, originals, decoded, strict=True)
    ]
    picked = gallery(tiles, st.session_state["image"], key="images_gallery")
    if picked is not None and picked != st.session_state["image"]:
        st.session_state["image"] = picked
        st.rerun()
    st.query_params["image"] = str(st.session_state["image"])
    st.caption(say("images.grid_caption"))
    return int(st.session_state["image"])


def _sorted_by(row: ImageRow, order: str) -> float:
    """The field of an image that an order compares."""
    values: Mapping[str, object] = row
    value = values["stored_bytes" if order == "smallest" else order]
    return value if isinstance(value, (int, float)) else math.inf  # an image without error has no PSNR


def _lines(row: ImageRow) -> list[str]:
    quality = say("images.identical") if row["psnr"] is None else f"{row['psnr']:.1f} dB"
    return [f"FMSE {row['fmse_relative']:.3g}", f"{row['stored_bytes']:,} B · {quality}", row["class"]]


def _in_words(row: ImageRow) -> str:
    return f"{row['class']} #{row['index']}: {', '.join(_lines(row)[:2])}, SSIM {row['ssim']:.3f}"


def _detail(dataset: ImageDataset, codec: str, index: int | None, result: ImagesResult | None) -> None:
    """One image enlarged: original, decoded and difference."""
    st.subheader(say("images.detail"), anchor=False)
    if index is None:
        index = _pick(dataset)
    amplify = st.select_slider(say("images.amplify"), [1, 2, 4, 8, 16, 32], _AMPLIFY, key="images_amplify")
    row = next((one for one in result["images"] if one["index"] == index), None) if result else None
    try:
        seen = inspect_image(codec, dataset.train.images[index], amplify, row, dataset.originals)
    except (UsageError, WorkError) as error:
        st.error(plain(one_line(error)), icon=":material/error:")
        return
    quality = say("images.identical") if math.isinf(seen.psnr) else f"{seen.psnr:.1f} dB"
    original, decoded, difference = (enlarge(one, 320) for one in (seen.original, seen.decoded, seen.difference))
    names = (say("images.original"), say("images.decoded"))
    columns = st.columns([2, 1, 1])
    with columns[0]:
        wipe(seen.original, seen.decoded, names, say("images.wipe"), key="images_wipe")
    raw = say("images.original_caption", bytes=f"{dataset.raw_image_bytes:,}")
    columns[1].image(original, raw, width="stretch", alt=raw)
    coded = say("images.decoded_caption", bytes=f"{seen.stored_bytes:,}", quality=quality)
    columns[1].image(decoded, coded, width="stretch", alt=coded)
    amplified = say("images.difference_caption", times=amplify)
    columns[2].image(difference, amplified, width="stretch", alt=amplified)
    figures = columns[2].container(horizontal=True)
    figures.metric(say("column.stored_bytes"), f"{seen.stored_bytes:,}", help=say("help.stored_bytes"))
    figures.metric(say("column.file_bytes"), f"{seen.file_bytes:,}", help=say("help.file_bytes"))
    figures.metric("PSNR", quality, help=say("help.psnr"))
    if row is not None:
        figures.metric("SSIM", f"{row['ssim']:.3f}", help=say("help.ssim"))
        figures.metric("FMSE", f"{row['fmse_relative']:.3g}", help=say("help.fmse_relative"))
    columns[2].caption(
        f"{plain(dataset.class_names[int(dataset.train.labels[index])])} #{index}. "
        + say("images.shared", bytes=f"{max(0, seen.file_bytes - seen.stored_bytes):,}")
    )


def _pick(dataset: ImageDataset) -> int:
    """Choose an image by class and number, before anything is measured."""
    names = dataset.class_names
    columns = st.columns(2)
    label = columns[0].selectbox(
        say("column.class"), range(len(names)), format_func=names.__getitem__, key="picked_class"
    )
    members = (dataset.train.labels == label).nonzero()[0]
    number = columns[1].number_input(say("images.number"), 1, len(members), 1, key="picked_image")
    return int(members[min(number, len(members)) - 1])


def _plane(result: ImagesResult) -> None:
    st.subheader(say("images.plane"), anchor=False)
    st.plotly_chart(
        draw_figure(feature_figure, result, st.session_state.get("image")),
        key="images_plane",
        on_select=_select_point,
        selection_mode="points",
        alt=say("images.plane_alt"),
    )
    st.caption(say("images.plane_caption", extractor=result["extractor"]))


def _select_point() -> None:
    points = st.session_state["images_plane"]["selection"]["points"]
    if points and points[0].get("customdata"):
        st.session_state["image"] = int(points[0]["customdata"][0])


def _table(result: ImagesResult) -> None:
    with st.expander(say("shell.table")):
        columns = ("index", "class", "stored_bytes", "file_bytes", "psnr", "ssim", "fmse_relative")
        rows = sorted(result["images"], key=lambda row: -row["fmse"])
        st.dataframe(
            rows,
            hide_index=True,
            column_order=columns,
            alt=say("images.table_alt"),
            column_config={name: say(f"column.{name}") for name in columns},
        )
        downloads("images", result, rows, columns)
    next_page("pilot", say("probe.next"))
