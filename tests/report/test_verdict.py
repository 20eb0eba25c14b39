"""Findings that make a comparison of codecs pointless, and the chart that shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_samples import pilot_config, pilot_folder, pilot_result

from toolkit.foundation.files import write_json
from toolkit.jobs.listing import list_runs
from toolkit.language.catalogue import ENGLISH
from toolkit.pilots.config import PilotConfig
from toolkit.pilots.contents import PilotSummary
from toolkit.pilots.results import aggregate_pilots, comparisons, with_frozen
from toolkit.report.facts import gather_study
from toolkit.report.figures.pilots import accuracy_figure
from toolkit.report.sections.results import recommendation
from toolkit.report.verdict import findings, lossless_that_fit

PRETRAINED = "timm:tf_efficientnet_lite0"


def config(**values: object) -> PilotConfig:
    return pilot_config(size=96, **values)


def pilot(accuracies: tuple[float, ...], fit: float, used: int, **values: object) -> PilotSummary:
    """A pilot with these last accuracies, exemplars per class and bytes on disk."""
    runs: list[Any] = [
        pilot_result(seed, last, exemplars_per_class=fit, memory_bytes=used) for seed, last in enumerate(accuracies)
    ]
    return aggregate_pilots(config(**values), runs)


RAW = pilot((0.70, 0.71, 0.72), 20, 600_000)
PNG = pilot((0.71, 0.72, 0.73), 30, 600_000, codec="png")
JPEG = pilot((0.80, 0.81, 0.82), 90, 600_000, codec="jpeg:quality=50")
FEATURES = pilot((0.84, 0.85, 0.86), 100, 200_000, codec="features:bits=4")


def keys(chosen: PilotSummary, *others: PilotSummary) -> list[str]:
    return [one.key for one in findings(chosen, [chosen, *others])]


def test_everything_fits_if_a_lossless_memory_has_room_left() -> None:
    assert lossless_that_fit([RAW, PNG, JPEG]) == []
    assert keys(JPEG, RAW, PNG) == []
    raw, png = pilot((0.8, 0.8), 90, 590_000), pilot((0.79, 0.8), 90, 300_000, codec="png")
    assert lossless_that_fit([JPEG, raw, png]) == [png, raw]
    (only,) = findings(JPEG, [raw, png, JPEG])
    assert str(only) == (
        "Everything fits, so do not compress: png keeps 90.0 exemplars per class in 600.4 KiB, as many as any other "
        "setting."
    )
    # as many as a smaller codec, but one more would not fit: 2 of 10 classes each in 9.7 kB
    tied = pilot((0.8,), 2, 595_000, codec="png"), pilot((0.8,), 2, 590_000, codec="jxl:lossless=yes")
    assert lossless_that_fit(tied) == []
    assert lossless_that_fit([pilot((0.8,), 90, 600_000, codec="png"), JPEG]) == []


def test_nothing_need_be_stored_if_exemplars_gain_nothing_certain() -> None:
    statistics = pilot((0.805, 0.80, 0.83), 0, 5_120, method="simplecil")
    (found,) = findings(JPEG, [RAW, JPEG, statistics])
    assert str(found) == (
        "Store nothing: simplecil keeps 5.0 KiB of statistics and no exemplar, and its last accuracy is 81.2 %. "
        "jpeg:quality=50 in 585.9 KiB has no significant gain over it (-0.2 points)."
    )
    worse = pilot((0.70, 0.71, 0.72), 0, 5_120, method="ranpac")
    assert keys(JPEG, RAW, worse) == ["verdict.exemplars_pay"]
    assert keys(JPEG, RAW, worse, statistics) == ["verdict.store_nothing"]
    one_seed = pilot((0.70,), 0, 5_120, method="simplecil")
    assert keys(JPEG, one_seed) == ["verdict.statistics_unsure"]
    # larger than the memory
    assert keys(JPEG, RAW, pilot((0.9, 0.9, 0.9), 0, 16_000_000, method="ranpac")) == []
    # a lower bound keeps nothing, but is no alternative
    assert keys(JPEG, RAW, pilot((0.9, 0.9, 0.9), 0, 0, method="finetune")) == []


def test_features_say_what_they_give_up() -> None:
    said = [str(one) for one in findings(FEATURES, [RAW, JPEG, FEATURES])]
    assert said == [
        "features:bits=4 stores outputs of the network's frozen layers. These layers can never change, no picture can "
        "be shown, and features of people are still personal data.",
        "The best setting that keeps images is jpeg:quality=50: features gain +4.0 points over it.",
    ]


def test_methods_on_frozen_features_join_the_pilots_of_the_same_weights(tmp_path: Path) -> None:
    pilot_folder(tmp_path, config(codec="jpeg:quality=50"), 0, 0.8)
    pilot_folder(tmp_path, config(method="simplecil"), 0, 0.75)
    pilot_folder(tmp_path, config(method="simplecil", extractor="stage0"), 0, 0.3)
    pilot_folder(tmp_path, config(method="slda", initial=2, increment=2), 0, 0.3)
    pilot_folder(tmp_path, config(codec="jpeg:quality=50", steps=20), 0, 0.8)
    pilot_folder(tmp_path, config(method="simplecil", steps=30), 0, 0.75)
    apart = comparisons(list_runs(tmp_path, "pilot"), "demo", 96)
    assert [len(group.runs) for group in apart] == [1] * 6
    found = with_frozen(apart)
    members = sorted(sorted(one.method for _, one, _ in group.runs) for group in found)
    assert members == [["replay", "simplecil"], ["replay", "simplecil"], ["simplecil"], ["slda"]]


def test_the_report_recommends_no_compression_if_everything_fits(tmp_path: Path) -> None:
    for codec, last, used in (("raw", 0.8, 600_000), ("png", 0.79, 300_000), ("jpeg:quality=50", 0.81, 90_000)):
        run = pilot_folder(tmp_path, config(codec=codec), 0)
        write_json(run.result_path, pilot_result(0, last, exemplars_per_class=60.0, memory_bytes=used))
    study = gather_study(list_runs(tmp_path, "pilot"))
    assert study.pilot["codec"] == "png"
    said = str(recommendation(study, ENGLISH))
    assert "holds every image without loss in the fewest bytes" in said
    assert "best of" not in said
    assert study.as_dict()["findings"][0].startswith("Everything fits, so do not compress: png keeps 60.0")


@pytest.mark.parametrize("storage", ["memory_bytes", "exemplar_bytes", "exemplars_per_class"])
def test_the_chart_shows_what_keeps_no_exemplars(storage: str) -> None:
    statistics = pilot((0.8, 0.8), 0, 5_120, method="simplecil")
    nothing = pilot((0.2, 0.2), 0, 0, method="finetune")
    figure = accuracy_figure([RAW, JPEG, FEATURES, statistics, nothing], storage=storage)
    drawn = {trace.name: trace for trace in figure.data}
    assert drawn["simplecil"].marker.symbol == "x"
    assert "no exemplars" in drawn
    if storage == "memory_bytes":
        assert list(drawn["simplecil"].x) == [5_120]
        assert figure.layout.xaxis.type == "log"
        assert "finetune: no memory" in [note.text for note in figure.layout.annotations]
