from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import pytest
from run_samples import SETTINGS, pilot_config, pilot_result, probe_setting

from toolkit.codecs.spec import codec_family
from toolkit.pilots.results import aggregate
from toolkit.report.figures.data import class_histogram
from toolkit.report.figures.pilots import accuracy_figure, accuracy_matrix_figure
from toolkit.report.figures.probe import budget_figure, distortion_figure
from toolkit.report.figures.style import family_colours
from toolkit.report.images import enlarge, strip


def trace(figure: go.Figure, name: str) -> dict:
    return next(data for data in figure.to_plotly_json()["data"] if data["name"] == name)


def test_class_histogram_draws_both_splits() -> None:
    rows = [{"class": "a", "train": 3, "test": 1}, {"class": "b", "train": 5, "test": 2}]
    figure = class_histogram(rows)
    assert list(trace(figure, "training")["y"]) == [3, 5]
    assert list(trace(figure, "test")["y"]) == [1, 2]


@pytest.mark.parametrize(
    ("spec", "family"),
    [
        ("raw", "raw"),
        ("jpeg:quality=50,shared=no", "jpeg"),
        ("webp:quality=50", "webp"),
        ("webp:quality=75,lossless=yes", "webp lossless"),
        ("downscale:factor=2|jpeg:quality=50", "downscale | jpeg"),
    ],
)
def test_codec_family_leaves_settings_out(spec: str, family: str) -> None:
    assert codec_family(spec) == family


def test_every_family_has_one_colour_and_known_ones_differ() -> None:
    colours = family_colours(["jpeg", "webp", "downscale | avif", "downscale | jxl", "jpeg"])
    assert len(set(colours.values())) == 4


def test_distortion_lines_run_from_small_to_large_in_one_colour_a_family() -> None:
    figure = distortion_figure(SETTINGS, original_bytes=12288.0)
    jpeg = trace(figure, "jpeg")
    assert list(jpeg["x"]) == [70, 210]
    assert list(jpeg["y"]) == [0.012, 0.002]
    assert [row[0] for row in jpeg["customdata"]] == ["jpeg:quality=10", "jpeg:quality=50"]
    assert jpeg["line"]["color"] != trace(figure, "webp")["line"]["color"]
    assert list(trace(figure, "raw")["marker"]["symbol"]) == ["star"]


def test_the_byte_axis_is_logarithmic_and_holds_every_mark_and_the_original() -> None:
    figure = distortion_figure(SETTINGS, original_bytes=12288.0)
    low, high = figure.layout.xaxis.range
    assert figure.layout.xaxis.type == "log"
    assert 10**low < 70
    assert 10**high > 12288
    assert figure.layout.annotations[0].x == pytest.approx(math.log10(12288))


def test_ordinary_files_are_the_other_basis() -> None:
    figure = distortion_figure(SETTINGS, "psnr", basis="file_bytes")
    assert list(trace(figure, "jpeg")["x"]) == [670, 810]
    assert list(trace(figure, "jpeg")["y"]) == [30.0, 30.0]


def test_one_setting_alone_makes_a_figure() -> None:
    assert len(distortion_figure([probe_setting("png", 2000, 0.0)]).data) == 1


def test_picks_are_ringed_and_the_recommended_one_stands_out() -> None:
    picks = [
        {"codec": "jpeg:quality=50", "rule": "mmd"},
        {"codec": "jpeg:quality=50", "rule": "fmse-knee"},
        {"codec": "raw", "rule": "best-quality"},
    ]
    figure = distortion_figure(SETTINGS, picks=picks, recommended="jpeg:quality=50")
    rings = {trace.name: trace for trace in figure.data if trace.mode == "markers"}
    assert set(rings) == {"recommended", "picked by a rule"}
    assert list(rings["recommended"].x) == [210]
    assert list(rings["recommended"].customdata[0]) == ["jpeg:quality=50", "mmd<br>fmse-knee"]
    assert list(rings["picked by a rule"].x) == [3072]
    assert rings["recommended"].marker.line.width > rings["picked by a rule"].marker.line.width


def test_the_budget_curve_has_raw_only_where_raw_fits() -> None:
    curve = [
        {"budget_bytes": 1000, "codec": "jpeg:quality=50", "align": "both", "exemplars_per_class": 5.0,
         "expected_gain": -2.0, "raw_gain": None},
        {"budget_bytes": 8000, "codec": "raw", "align": "none", "exemplars_per_class": 9.0, "expected_gain": 4.0,
         "raw_gain": 4.0},
    ]  # fmt: skip
    figure = budget_figure(curve, 1000, 9.0)
    best, raw = figure.data
    assert list(best.x) == [1000, 8000]
    assert list(raw.x) == [8000]
    assert {shape.y0 for shape in figure.layout.shapes} == {0, 9.0}  # the budget asked for, and all images raw
    assert figure.layout.xaxis.type == "log"


def test_accuracy_bars_are_intervals_and_absent_for_one_seed() -> None:
    several = aggregate(pilot_config(), [pilot_result(seed, last) for seed, last in ((0, 0.4), (1, 0.5))])
    single = aggregate(pilot_config(codec="jpeg:quality=50", align="both"), [pilot_result(0, 0.6)])
    figure = accuracy_figure([several, single])
    assert list(trace(figure, "raw")["y"]) == [pytest.approx(0.45)]
    assert trace(figure, "raw")["error_y"]["array"][0] == pytest.approx(12.7062 * 0.05, rel=1e-4)
    lossy = trace(figure, "jpeg:quality=50, align both")
    assert lossy["error_y"]["visible"] is False
    assert lossy["marker"]["symbol"] == "diamond"


def test_budgets_of_one_setting_are_joined_in_order() -> None:
    pilots = [
        aggregate(pilot_config(budget=f"{budget}"), [pilot_result(0, last, budget_bytes=budget, memory_bytes=budget)])
        for budget, last in ((400_000, 0.5), (50_000, 0.3), (100_000, 0.4))
    ]
    line = trace(accuracy_figure(pilots, storage="memory_bytes"), "raw")
    assert list(line["x"]) == [50_000, 100_000, 400_000]
    assert list(line["y"]) == [0.3, 0.4, 0.5]


def test_accuracy_matrix_reads_downwards_and_leaves_the_future_empty() -> None:
    (heat,) = accuracy_matrix_figure([[0.9], [0.5, 0.8]], [5, 5]).to_plotly_json()["data"]
    assert heat["z"] == [[0.9, None], [0.5, 0.8]]
    assert heat["text"] == [["90%", ""], ["50%", "80%"]]
    assert len(heat["x"]) == len(heat["y"]) == 2


def test_enlarged_images_repeat_pixels_and_nothing_else() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    large = enlarge(image, 5)
    assert large.shape == (6, 6, 3)
    np.testing.assert_array_equal(large[::3, ::3], image)
    assert len(np.unique(large.reshape(-1, 3), axis=0)) == 4


def test_strip_has_transparent_gaps_only_between_images() -> None:
    sheet = strip(np.full((3, 4, 4, 3), 7, np.uint8), side=4, gap=2)
    assert sheet.shape == (4, 16, 4)
    assert list(sheet[0, :, 3]) == [255] * 4 + [0] * 2 + [255] * 4 + [0] * 2 + [255] * 4
