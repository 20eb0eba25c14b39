from __future__ import annotations

import pytest

from toolkit.report.figures.jpeg import MODEL_COLOURS, robustness_figure

REPORT = {
    "images": 200, "eps": [2 / 255, 1 / 255], "mode": "soft", "judged": "", "seed": 0, "queries": 10, "batch_size": 10,
    "models": {
        "plain": {"clean": 0.8, "attacks": {"fgsm": [0.3, 0.5], "pgd": [0.2, 0.4]}, "worst": [0.2, 0.4], "notes": []},
        "layered": {"clean": 0.9, "attacks": {"pgd": [0.7, 0.8], "bpda": [0.1, 0.3]}, "worst": [0.1, 0.3], "notes": []},
    },
}  # fmt: skip


def test_every_attack_is_a_line_and_the_worst_case_the_boldest() -> None:
    lines = robustness_figure(REPORT).to_plotly_json()["data"]
    assert len(lines) == 6
    for model, colour in MODEL_COLOURS.items():
        own = [line for line in lines if line["legendgroup"] == model]
        (bold,) = [line for line in own if line["line"]["width"] == max(other["line"]["width"] for other in own)]
        assert bold["name"].endswith("worst case")
        assert {line["line"]["color"] for line in own} == {colour}


def test_lines_run_from_the_clean_accuracy_to_the_largest_eps() -> None:
    lines = {line["name"]: line for line in robustness_figure(REPORT).to_plotly_json()["data"]}
    bpda = lines["JPEG layer in front, bpda"]
    assert list(bpda["x"]) == pytest.approx([0, 1, 2])
    assert list(bpda["y"]) == [0.9, 0.3, 0.1]
    assert "200 images" in bpda["hovertemplate"]
