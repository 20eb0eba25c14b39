from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import pytest
from run_samples import SETTINGS, pilot_config, pilot_result, probe_setting

from toolkit.codecs.spec import codec_family
from toolkit.language.catalogue import language
from toolkit.pilots.results import aggregate_pilots, stage_values, storage_of
from toolkit.report.figures.data import class_histogram, feature_figure
from toolkit.report.figures.pilots import accuracy_figure, accuracy_matrix_figure, stage_figure
from toolkit.report.figures.probe import budget_figure, distortion_figure
from toolkit.report.figures.style import family_colours
from toolkit.report.images import enlarge, strip
from toolkit.report.pareto import frontier
from toolkit.report.tables import probe_rows


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
        ("jxl:lossless=yes", "jxl lossless"),
        ("downscale:factor=2|jpeg:quality=50", "downscale | jpeg"),
    ],
)
def test_codec_family_omits_settings(spec: str, family: str) -> None:
    assert codec_family(spec) == family


def test_every_family_has_one_colour_and_known_ones_differ() -> None:
    colours = family_colours(["jpeg", "webp", "downscale | avif", "downscale | jxl", "jpeg"])
    assert len(set(colours.values())) == 4


def test_distortion_lines_run_from_small_to_large_in_one_colour_per_family() -> None:
    figure = distortion_figure(SETTINGS, original_bytes=12288.0)
    jpeg = trace(figure, "jpeg")
    assert list(jpeg["x"]) == [70, 210]
    assert list(jpeg["y"]) == [0.012, 0.002]
    assert [row[0] for row in jpeg["customdata"]] == ["jpeg:quality=10", "jpeg:quality=50"]
    assert jpeg["line"]["color"] != trace(figure, "webp")["line"]["color"]
    assert list(trace(figure, "raw")["marker"]["symbol"]) == ["star"]


def test_the_byte_axis_is_logarithmic_and_covers_every_mark_and_the_original() -> None:
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


def test_a_single_setting_makes_a_figure() -> None:
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
        {
            "budget_bytes": 1000,
            "codec": "jpeg:quality=50",
            "align": "both",
            "exemplars_per_class": 5.0,
            "expected_gain": -2.0,
            "raw_gain": None,
        },
        {
            "budget_bytes": 8000,
            "codec": "raw",
            "align": "none",
            "exemplars_per_class": 9.0,
            "expected_gain": 4.0,
            "raw_gain": 4.0,
        },
    ]
    figure = budget_figure(curve, 1000, 9.0)
    best, raw = figure.data
    assert list(best.x) == [1000, 8000]
    assert list(raw.x) == [8000]
    assert {shape.y0 for shape in figure.layout.shapes} == {0, 9.0}  # the requested budget, and all images raw
    assert figure.layout.xaxis.type == "log"


def test_accuracy_bars_are_intervals_and_absent_for_one_seed() -> None:
    several = aggregate_pilots(pilot_config(), [pilot_result(seed, last) for seed, last in ((0, 0.4), (1, 0.5))])
    single = aggregate_pilots(pilot_config(codec="jpeg:quality=50", align="both"), [pilot_result(0, 0.6)])
    figure = accuracy_figure([several, single])
    assert list(trace(figure, "raw")["y"]) == [pytest.approx(0.45)]
    assert trace(figure, "raw")["error_y"]["array"][0] == pytest.approx(12.7062 * 0.05, rel=1e-4)
    lossy = trace(figure, "jpeg:quality=50, align both")
    assert lossy["error_y"]["visible"] is False
    assert lossy["marker"]["symbol"] == "diamond"


def test_budgets_of_one_setting_are_joined_in_order() -> None:
    pilots = [
        aggregate_pilots(
            pilot_config(budget=f"{budget}"), [pilot_result(0, last, budget_bytes=budget, memory_bytes=budget)]
        )
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


def test_enlarged_images_only_repeat_pixels() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    large = enlarge(image, 5)
    assert large.shape == (6, 6, 3)
    np.testing.assert_array_equal(large[::3, ::3], image)
    assert len(np.unique(large.reshape(-1, 3), axis=0)) == 4


def test_strip_has_transparent_gaps_only_between_images() -> None:
    sheet = strip(np.full((3, 4, 4, 3), 7, np.uint8), side=4, gap=2)
    assert sheet.shape == (4, 16, 4)
    assert list(sheet[0, :, 3]) == [255] * 4 + [0] * 2 + [255] * 4 + [0] * 2 + [255] * 4


def test_the_frontier_has_the_points_that_no_other_point_beats() -> None:
    costs, values = [3, 1, 2, 2, 1, 5], [9, 4, 4, 7, 3, 9]
    beaten = {
        n
        for n in range(6)
        for m in range(6)
        if costs[m] <= costs[n] and values[m] >= values[n] and (costs[m], values[m]) != (costs[n], values[n])
    }
    assert frontier(costs, values) == [1, 3, 0]
    assert set(range(6)) - beaten == {0, 1, 3}
    assert frontier([], []) == []


def test_the_frontier_of_a_probe_joins_small_and_undistorted_settings() -> None:
    line = trace(distortion_figure(SETTINGS), "frontier")
    assert list(line["x"]) == [70, 210, 3072]
    assert list(line["y"]) == [0.012, 0.002, 0.0]


def test_probe_accuracy_comes_from_the_rule_at_its_best_alignment() -> None:
    scores = [
        {"codec": "jpeg:quality=50", "align": "none", "score": 0.3},
        {"codec": "jpeg:quality=50", "align": "both", "score": 0.6},
        {"codec": "raw", "align": "none", "score": None},
    ]
    rows = probe_rows(SETTINGS, [{"rule": "probe-accuracy", "scores": scores}])
    by_codec = {row["codec"]: row for row in rows}
    assert by_codec["jpeg:quality=50"]["probe_accuracy"] == 0.6
    assert by_codec["raw"]["probe_accuracy"] is None
    assert by_codec["jpeg:quality=10"]["header_tax"] == pytest.approx(600 / 670)
    figure = distortion_figure(rows, "probe_accuracy")
    assert [list(data.x) for data in figure.data if data.name == "jpeg"] == [[210]]
    assert all(row["probe_accuracy"] is None for row in probe_rows(SETTINGS))


def test_references_and_budget_are_dotted_for_a_single_budget() -> None:
    """Raw pixels, and of the lossless codecs the one that stores the most exemplars."""
    pilots = [
        aggregate_pilots(pilot_config(codec=codec), [pilot_result(0, last, exemplars_per_class=held)])
        for codec, last, held in (
            ("raw", 0.3, 20.0),
            ("png", 0.35, 26.0),
            ("jxl:lossless=yes", 0.4, 36.0),
            ("jpeg:quality=50", 0.5, 250.0),
        )
    ]
    shapes = accuracy_figure(pilots).layout.shapes
    assert sorted(shape.y0 for shape in shapes if shape.xref == "x domain") == [0.3, 0.4]
    assert [shape.x0 for shape in shapes if shape.xref != "x domain"] == [614804]


def test_the_frontier_of_forgetting_has_the_lowest_values() -> None:
    pilots = [
        aggregate_pilots(
            pilot_config(codec=codec, budget=f"{budget}"),
            [pilot_result(0, 0.5, forgetting=lost, memory_bytes=budget, budget_bytes=budget)],
        )
        for codec, budget, lost in (("raw", 1000, 0.4), ("png", 2000, 0.5), ("jpeg:quality=50", 3000, 0.2))
    ]
    assert list(trace(accuracy_figure(pilots, "forgetting"), "frontier")["y"]) == [0.4, 0.2]


def test_bytes_per_exemplar_are_the_memory_divided_by_exemplars() -> None:
    pilot = aggregate_pilots(pilot_config(), [pilot_result(0, 0.5, memory_bytes=600_000, exemplars_per_class=20.0)])
    assert storage_of(pilot, "exemplar_bytes") == 600_000 / 200
    assert storage_of(pilot, "memory_bytes") == 600_000


def test_curves_per_stage_match_a_hand_calculation() -> None:
    run = {"accuracy_matrix": [[0.9], [0.5, 0.8], [0.3, 0.4, 0.7]], "stage_classes": [4, 2, 2]}
    assert stage_values(run) == pytest.approx([0.9, (4 * 0.5 + 2 * 0.8) / 6, (4 * 0.3 + 2 * 0.4 + 2 * 0.7) / 8])
    assert stage_values(run, "first_classes") == [0.9, 0.5, 0.3]
    assert stage_values(run, "forgetting") == pytest.approx([0, 0.4, (0.6 + 0.4) / 2])
    figure = stage_figure({"one": [0.9, 0.5]}, "forgetting")
    assert list(figure.data[0].x) == [1, 2]
    assert figure.layout.yaxis.title.text == "Forgetting so far"


def test_lines_join_every_image_to_its_decoded_version() -> None:
    rows = [
        {"index": n, "class": "c", "fmse_relative": 0.1, "x": n, "y": 0.0, "decoded_x": n, "decoded_y": 1.0}
        for n in (4, 7)
    ]
    figure = feature_figure({"images": rows, "explained": [0.5, 0.25]}, chosen=7)
    threads, originals, decoded, marked = figure.data
    assert list(threads.x) == [4, 4, None, 7, 7, None]
    assert list(originals.y) == [0, 0]
    assert list(decoded.y) == [1, 1]
    assert list(marked.x) == [7, 7]
    assert "50%" in figure.layout.xaxis.title.text


def test_figures_use_the_requested_language() -> None:
    assert accuracy_matrix_figure([[0.9]], [5], language("ja")).data[0].y[0] != "after stage 1"
    assert class_histogram([{"class": "a", "train": 1, "test": 1}], language("ja")).data[0].name != "training"
