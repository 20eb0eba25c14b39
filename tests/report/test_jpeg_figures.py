from __future__ import annotations

import pytest

from toolkit.report.figures.jpeg import MODEL_COLOURS, response_figure, robustness_figure, table_figure, variants_figure

REPORT = {
    "images": 200,
    "eps": [2 / 255, 1 / 255],
    "mode": "soft",
    "judged": "",
    "seed": 0,
    "queries": 10,
    "batch_size": 10,
    "models": {
        "plain": {"clean": 0.8, "attacks": {"fgsm": [0.3, 0.5], "pgd": [0.2, 0.4]}, "worst": [0.2, 0.4], "notes": []},
        "layered": {"clean": 0.9, "attacks": {"pgd": [0.7, 0.8], "bpda": [0.1, 0.3]}, "worst": [0.1, 0.3], "notes": []},
    },
}


def test_every_attack_has_a_line_and_the_worst_case_the_boldest() -> None:
    lines = robustness_figure(REPORT).to_plotly_json()["data"]
    assert len(lines) == 6
    for model, colour in MODEL_COLOURS.items():
        own = [line for line in lines if line["legendgroup"] == model]
        (bold,) = [line for line in own if line["line"]["width"] == max(other["line"]["width"] for other in own)]
        assert bold["name"].endswith("worst case")
        assert {line["line"]["color"] for line in own} == {colour}


def test_lines_run_from_the_clean_accuracy_to_the_largest_eps() -> None:
    lines = {line["name"]: line for line in robustness_figure(REPORT).to_plotly_json()["data"]}
    bpda = lines["with JPEG layer, bpda"]
    assert list(bpda["x"]) == pytest.approx([0, 1, 2])
    assert list(bpda["y"]) == [0.9, 0.3, 0.1]
    assert "200 images" in bpda["hovertemplate"]


def test_worst_cases_of_the_controls_are_shown_too() -> None:
    lines = robustness_figure(REPORT, others={"standard": REPORT}).to_plotly_json()["data"]
    assert len(lines) == 7
    assert list(lines[-1]["y"]) == [0.9, 0.3, 0.1]  # of its layered network; the plain one is the same


def test_a_table_shows_its_steps_with_the_lowest_frequency_at_the_top_left() -> None:
    steps = [[float(8 * row + column) for column in range(8)] for row in range(8)]
    figure = table_figure(steps, 255)
    (heat,) = figure.data
    assert heat.z[0][1] == 1
    assert heat.text[1][0] == "8"
    assert heat.text[0][0] == "0"
    assert (heat.zmin, heat.zmax) == (0, 255)
    assert figure.layout.yaxis.autorange == "reversed"


def test_the_response_averages_frequencies_of_equal_distance() -> None:
    response = [[0.0] * 8 for _ in range(8)]
    response[0][1], response[1][0] = 0.2, 0.6
    (line,) = response_figure({"learned": response}).data
    assert line.y[1] == pytest.approx(0.4)
    assert line.y[0] == line.y[14] == 0


def test_variants_are_listed_with_the_plain_one_on_top() -> None:
    variants = {
        name: {"mean": {"accuracy": mean}, "ci95": {"accuracy": half}}
        for name, mean, half in (("plain", 0.5, 0.02), ("jpeg", 0.6, None))
    }
    figure = variants_figure(variants)
    assert list(figure.data[0].y) == ["JPEG layer", "Plain network"]
    assert list(figure.data[0].x) == [0.6, 0.5]
    assert list(figure.data[0].error_x.array) == [0, 0.02]
    assert figure.layout.shapes[0].x0 == 0.5
