"""Advice on real pixels: its evidence, its JSON, and difficult inputs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from toolkit.advice.evidence import Evidence
from toolkit.advice.gather import gather
from toolkit.advice.recommend import advise
from toolkit.advice.request import AdviceRequest, run_advice
from toolkit.advice.rules import quantities
from toolkit.advice.rules.registry import RULES
from toolkit.data import catalog
from toolkit.data.alignment import parse_aligns
from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import ImageDataset, Split, stratified_indices, validation_view
from toolkit.features.extractor import build_extractor
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.language.sentence import Sentence
from toolkit.memory.budget import budget_bytes
from toolkit.memory.store import ExemplarMemory

CODECS = ["png", "jpeg:quality=20", "jpeg:quality=70", "webp:quality=40"]


class Colours:
    """Features without a network: mean colours of an image's quarters."""

    name, layer = "colours", None

    def __call__(self, pixels: np.ndarray) -> torch.Tensor:
        count, size = len(pixels), pixels.shape[1]
        quarters = pixels.reshape(count, 2, size // 2, 2, size // 2, 3).astype(np.float32).mean(axis=(2, 4))
        return torch.from_numpy(quarters.reshape(count, -1) / 255)


def dataset_of(images: np.ndarray, labels: np.ndarray) -> ImageDataset:
    """A dataset of these training images, with one test image per class that must not be read."""
    sizes = np.full(len(labels), 999)

    class Poisoned:
        shape = (1, *images.shape[1:])

        def __getitem__(self, index: Any) -> np.ndarray:
            raise AssertionError("a test image was opened")

    poisoned: Any = Poisoned()
    test = Split(poisoned, np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64))
    names = tuple(f"c{label}" for label in range(int(labels.max()) + 1))
    return ImageDataset("made", images.shape[1], names, Split(images, labels, sizes), test, (), (), "0" * 64)


def noisy(counts: list[int], size: int = 16) -> ImageDataset:
    """Classes of these sizes, each around its own colour."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(counts)), counts)
    colours = rng.integers(60, 200, (len(counts), 1, 1, 3))[labels]
    images = np.clip(colours + rng.normal(0, 25, (len(labels), size, size, 3)), 0, 255).astype(np.uint8)
    return dataset_of(images, labels)


def gathered(dataset: ImageDataset, budget: int = 40_000, **more: Any) -> tuple[dict[str, Any], Evidence]:
    more = {"codecs": CODECS, "extractor": Colours(), **more}
    return gather(validation_view(dataset), more.pop("codecs"), budget=budget, **more)


@pytest.fixture(scope="module")
def usual() -> tuple[dict[str, Any], Evidence]:
    return gathered(noisy([40] * 5))


@pytest.fixture(scope="module")
def advice(usual: tuple[dict[str, Any], Evidence]) -> dict[str, Any]:
    return advise(*usual)


def test_a_fifth_of_every_class_is_held_out_and_test_images_are_never_opened() -> None:
    dataset = noisy([40, 10, 5, 2, 1])
    view = validation_view(dataset)
    assert np.bincount(view.train.labels, minlength=5).tolist() == [32, 8, 4, 1, 1]
    assert np.bincount(view.test.labels, minlength=5).tolist() == [8, 2, 1, 1, 0]
    rows = np.concatenate([view.train.images, view.test.images]).reshape(58, -1)
    assert sorted(map(bytes, rows)) == sorted(map(bytes, dataset.train.images.reshape(58, -1)))
    assert view.signature != dataset.signature


def test_a_limited_view_takes_equally_many_images_per_class_and_holds_out_a_fifth() -> None:
    view = validation_view(noisy([40, 40, 40]), most_bytes=30 * 3 * 16 * 16)
    assert np.bincount(view.train.labels).tolist() == [8, 8, 8]
    assert np.bincount(view.test.labels).tolist() == [2, 2, 2]


def test_every_class_may_get_the_remaining_images() -> None:
    labels = np.arange(40) % 10
    chosen = {int(labels[index]) for seed in range(30) for index in stratified_indices(labels, 3, seed)}
    assert chosen == set(range(10))


def test_exemplars_of_uneven_classes_agree_with_a_memory() -> None:
    _, evidence = gathered(noisy([150, 10, 10, 10, 10]), budget=40_000)
    for index in range(len(evidence.settings)):
        kept = len(evidence.kept(index)) / 5
        looked = len(evidence.labels) / 5  # four fifths of all images
        assert min(evidence.exemplars_per_class(index), looked) == pytest.approx(kept, rel=0.1)


def test_class_sizes_count_all_images(tmp_path: Path) -> None:
    dataset = noisy([60, 60, 60])
    view = validation_view(dataset, most_bytes=30 * 3 * 16 * 16)
    sizes = dataset.train_class_sizes()
    _, evidence = gather(view, CODECS, budget=40_000, extractor=Colours(), class_sizes=sizes)  # type: ignore[arg-type]
    assert evidence.class_sizes == (60, 60, 60)
    with ExemplarMemory(tmp_path / "m.recall", 40_000, "raw") as memory:
        memory.add_images({label: dataset.train.images[dataset.train.labels == label] for label in range(3)})
        kept = len(memory) / 3
    assert 8 < kept <= evidence.exemplars_per_class(0) < kept + 1  # a part of an exemplar counts too
    assert any("but only 8 per class were examined" in str(note) for note in evidence.notes)


def test_the_shift_depends_little_on_the_number_of_images() -> None:
    shifts = []
    for images in (50, 100, 200, 400):
        _, evidence = gathered(noisy([100] * 4), codecs=["jpeg:quality=20"], images=images)
        shifts.append(quantities.domain_shift(evidence, 1))
    assert max(shifts) - min(shifts) < 0.1
    assert all(0 <= shift <= 1 for shift in shifts)


def test_the_advice_of_a_request_opens_no_test_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "load_dataset", lambda *given, **named: noisy([30] * 4))
    request = AdviceRequest("made", 16, "jpeg:quality={20,70}", "16kB", "random", images=100)
    found = run_advice(request)
    assert found["images"] == 100
    assert found["recommended"]["codec"] in {row["codec"] for row in found["settings"]}


def test_the_json_satisfies_the_contract(advice: dict[str, Any]) -> None:
    assert [row["codec"] for row in advice["settings"]] == ["raw", *CODECS]
    assert [row["rule"] for row in advice["rules"]] == list(RULES)
    for row in advice["rules"]:
        assert {"rule", "codec", "align", "score", "seconds", "used"} <= set(row)
        assert row["score"] == max(one["score"] for one in row["scores"])
    recommended = advice["recommended"]
    assert {"codec", "align", "reasons", "exemplars", "expected_gain", "interval", "runner_up"} <= set(recommended)
    assert recommended["runner_up"]["codec"] != recommended["codec"]
    json.dumps(advice, allow_nan=False)


def test_the_sentences_contain_the_numbers(advice: dict[str, Any]) -> None:
    recommended = advice["recommended"]
    text = " ".join(recommended["reasons"])
    setting = next(row for row in advice["settings"] if row["codec"] == recommended["codec"])
    assert f"{recommended['exemplars_per_class']:.1f} exemplars per class" in text
    assert f"{setting['stored_bytes']:.0f} bytes each" in text
    gain = f"{recommended['expected_gain']:+.1f} points" if recommended["codec"] != "raw" else "Raw pixels: "
    assert gain in text
    if recommended["align"] == "both":
        assert recommended["inference_us"] == pytest.approx(setting["encode_us"] + setting["decode_us"], abs=0.1)
        assert f"{recommended['inference_us']:.0f} µs" in text


def test_sentences_are_stored_as_data_for_other_languages(advice: dict[str, Any]) -> None:
    for part in ("reasons", "would_change"):
        kept = advice["recommended"]["sentences"][part]
        assert [str(Sentence.from_dict(one)) for one in kept] == advice["recommended"][part]
    assert [str(Sentence.from_dict(one)) for one in advice["sentences"]] == advice["notes"]


def test_rules_see_the_exemplars_of_a_memory_with_that_budget(tmp_path: Path) -> None:
    dataset = noisy([40] * 5)
    view = validation_view(dataset)
    table, evidence = gathered(dataset, budget=15_000, codecs=["jpeg:quality=70"])
    assert table["images"] == 200
    jpeg = next(i for i, one in enumerate(evidence.settings) if one.codec == "jpeg:quality=70")
    coded = evidence.settings[jpeg]
    with ExemplarMemory(tmp_path / "m.recall", 15_000, "jpeg:quality=70") as memory:
        pixels = view.train.images
        memory.add_images({label: _in_order(pixels, view.train.labels, label, coded, evidence) for label in range(5)})
        kept = np.bincount(evidence.labels.numpy()[evidence.kept(jpeg)])
        assert dict(enumerate(kept.tolist())) == memory.class_counts
        assert memory.nbytes <= 15_000


def _in_order(pixels: np.ndarray, labels: np.ndarray, label: int, coded: Any, evidence: Evidence) -> np.ndarray:
    """A class's images in the order in which the evidence keeps them."""
    members = np.flatnonzero(labels == label)
    chosen = evidence.labels.numpy()
    place = {int(one): k for k, one in enumerate(np.flatnonzero(chosen == label))}
    return pixels[members[[place[int(one)] for one in coded.order[label]]]]


def test_settings_that_do_not_fit_are_listed_as_excluded() -> None:
    raw_bytes = budget_bytes("1img", 5, 3 * 16 * 16)
    found = advise(*gathered(noisy([40] * 5), budget=raw_bytes - 1), rule="predicted-gain")
    assert "raw" in {one["codec"] for one in found["excluded"]}
    (excluded,) = [one for one in found["excluded"] if one["codec"] == "raw"]
    assert str(raw_bytes) in excluded["reason"] == str(Sentence.from_dict(excluded["sentence"]))
    assert "raw" in {row["codec"] for row in found["settings"]}
    assert all(one["codec"] != "raw" for row in found["rules"] for one in row["scores"])
    assert found["recommended"]["expected_gain"] is None
    assert "do not fit" in " ".join(found["recommended"]["reasons"])
    assert found["budgets"]["reference"] == "recommended"
    at_budget = next(row for row in found["budgets"]["curve"] if row["budget_bytes"] == raw_bytes - 1)
    assert at_budget["expected_gain"] == pytest.approx(0)


def test_a_budget_that_holds_nothing_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match="budget of 50 bytes is too small: no setting stores an exemplar of each of 5"):
        gathered(noisy([40] * 5), budget=50)


@pytest.mark.parametrize("codecs", [["raw"], ["jpeg:quality=50"]])
def test_a_grid_of_one_setting_is_compared_with_raw(codecs: list[str]) -> None:
    found = advise(*gathered(noisy([40] * 5), codecs=codecs))
    assert {row["codec"] for row in found["settings"]} == {"raw", *codecs}
    assert (found["recommended"]["runner_up"] is None) == (codecs == ["raw"])
    json.dumps(found, allow_nan=False)


def test_uneven_classes_are_noted() -> None:
    found = advise(*gathered(noisy([100, 60, 8, 3, 1])))
    assert any("classes have 1 to 100 images" in note for note in found["notes"])


def test_constant_images_give_defined_results() -> None:
    labels = np.repeat(np.arange(3), 20)
    found = advise(*gathered(dataset_of(np.full((60, 16, 16, 3), 128, dtype=np.uint8), labels)))
    assert all(row["fmse_relative"] == 0 for row in found["settings"] if row["codec"].startswith("jpeg"))
    assert any("cannot be told apart" in note for note in found["notes"])
    assert found["recommended"]["expected_gain"] is None
    assert "Expected last accuracy" not in " ".join(found["recommended"]["reasons"])
    json.dumps(found, allow_nan=False)


def test_nearly_constant_images_have_bounded_gains() -> None:
    labels = np.repeat(np.arange(3), 20)
    images = np.full((60, 16, 16, 3), (200, 31, 90), dtype=np.uint8)
    found = advise(*gathered(dataset_of(images, labels), codecs=["jpeg:quality=5"]))
    for row in found["rules"]:
        if row["rule"] == "predicted-gain":
            assert all(abs(one["score"]) < 300 for one in row["scores"])


def test_features_that_are_all_zero_give_defined_results() -> None:
    class Zero(Colours):
        def __call__(self, pixels: np.ndarray) -> torch.Tensor:
            return torch.zeros(len(pixels), 4)

    json.dumps(advise(*gathered(noisy([20] * 3), extractor=Zero())), allow_nan=False)


def test_features_with_nan_are_refused_with_the_extractors_name() -> None:
    class Broken(Colours):
        def __call__(self, pixels: np.ndarray) -> torch.Tensor:
            return super().__call__(pixels) * float("nan")

    with pytest.raises(WorkError, match="extractor colours returned features of the originals that are not finite"):
        gathered(noisy([20] * 3), extractor=Broken())


def test_fewer_images_than_dimensions_are_noted() -> None:
    class Wide(Colours):
        def __call__(self, pixels: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(pixels.reshape(len(pixels), -1)).float()

    found = advise(*gathered(noisy([10] * 3), extractor=Wide()))
    assert any(note.startswith("24 candidates for 768 feature dimensions") for note in found["notes"])


def test_too_few_candidates_are_noted_for_rules_that_use_them() -> None:
    few = gathered(noisy([60] * 3), images=30)
    said = "but only 8 per class were examined"
    assert any(said in note for note in advise(*few, rule="mmd")["notes"])
    assert not any(said in note for note in advise(*few, rule="predicted-gain")["notes"])


def test_fewer_images_than_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="9 images are too few for 10 classes: advice needs at least 12"):
        gathered(noisy([20] * 10), images=9)


def test_stages_that_do_not_fit_are_refused_before_any_work() -> None:
    for wrong in ({"increment": 0}, {"initial": 0}, {"initial": 6}):
        with pytest.raises(UsageError, match=r"(initial|increment) must be"):
            gathered(noisy([20] * 5), progress=lambda *told: pytest.fail("images were coded"), **wrong)


def test_other_features_than_the_calibrations_give_no_interval(usual: tuple[dict[str, Any], Evidence]) -> None:
    found = advise(*usual)
    assert found["extractor"] == "colours"
    assert found["recommended"]["interval"] is None
    assert any("calibrated with features of stage0" in note for note in found["notes"])


def test_one_image_per_class_is_refused() -> None:
    with pytest.raises(UsageError, match="a class with at least two training images"):
        gathered(noisy([1] * 6))


def test_only_requested_alignments_are_advised() -> None:
    found = advise(*gathered(noisy([40] * 5), aligns=["none"]))
    assert {one["align"] for row in found["rules"] for one in row["scores"]} == {"none"}
    assert found["recommended"]["inference_us"] == 0
    with pytest.raises(UsageError, match="aligns must be one or more of none, train, both, got 'all'"):
        parse_aligns("all")


def test_another_rule_can_recommend(usual: tuple[dict[str, Any], Evidence]) -> None:
    table, evidence = usual
    found = advise(table, evidence, rule="most-exemplars")
    assert found["recommended"]["rule"] == "most-exemplars"
    picked = next(row for row in found["rules"] if row["rule"] == "most-exemplars")
    assert (found["recommended"]["codec"], found["recommended"]["align"]) == (picked["codec"], picked["align"])
    with pytest.raises(UsageError, match="unknown rule"):
        advise(table, evidence, rule="best")


def test_raw_picked_by_another_rule_is_not_called_the_best() -> None:
    found = advise(*gathered(noisy([40] * 5), budget=budget_bytes("1.3img", 5, 3 * 16 * 16)), rule="best-quality")
    picked = found["recommended"]
    best = max(found["rules"][[*RULES].index("predicted-gain")]["scores"], key=lambda one: one["score"])
    assert picked["codec"] == "raw"
    assert best["score"] > 1
    text = " ".join(picked["reasons"])
    assert f"predicted-gain expects {best['score']:+.1f} points from {best['codec']}, align {best['align']}" in text
    assert "no other setting is expected to be better" not in text


def test_a_regret_measured_on_other_alignments_is_noted(usual: tuple[dict[str, Any], Evidence]) -> None:
    found = advise(*usual, rule="fmse-knee")["recommended"]
    assert found["align"] == "both"
    assert not any("has not been measured" in reason for reason in found["reasons"])
    table, evidence = usual
    evidence = replace(evidence, aligns=("none",))
    found = advise({**table, "extractor": "stage0"}, evidence, rule="fmse-knee")["recommended"]
    assert found["align"] == "none"
    assert any("its regret with align none has not been measured" in reason for reason in found["reasons"])


def test_a_random_pick_is_described_as_random(usual: tuple[dict[str, Any], Evidence]) -> None:
    table, evidence = usual
    found = advise({**table, "extractor": "stage0"}, evidence, rule="random")["recommended"]
    assert any("Rule random picks at random" in reason for reason in found["reasons"])


def test_budgets_name_the_rule_that_predicts_their_gains(usual: tuple[dict[str, Any], Evidence]) -> None:
    assert advise(*usual, rule="most-exemplars")["budgets"]["rule"] == "predicted-gain"


def test_a_budget_that_holds_all_images_is_noted() -> None:
    found = advise(*gathered(noisy([40] * 5), budget=10**6))["recommended"]
    assert "holds every training image as" in found["reasons"][0]
    assert found["exemplars"] == 200


def test_one_stage_has_no_smallest_budget() -> None:
    found = advise(*gathered(noisy([40] * 5), initial=5))
    assert found["budgets"]["smallest"] is None
    text = " ".join(found["recommended"]["reasons"] + found["recommended"]["would_change"])
    assert "With " not in text.replace("With align", "")
    assert "tested against pilots" not in text


def test_half_a_budget_that_holds_nothing_is_noted() -> None:
    found = advise(*gathered(noisy([40] * 5), budget=10_000, codecs=["jpeg:quality=5"]))
    assert any("no setting can store one exemplar of every" in one for one in found["recommended"]["would_change"])


def test_rules_with_only_one_setting_are_not_counted_as_agreeing() -> None:
    found = advise(*gathered(noisy([40] * 5), budget=budget_bytes("0.9img", 5, 3 * 16 * 16), codecs=["jpeg:quality=5"]))
    assert len({one["codec"] for row in found["rules"] for one in row["scores"]}) == 1
    assert not any("Other rules" in one or "other rules" in one for one in found["recommended"]["would_change"])


def test_the_same_request_gives_the_same_advice_except_for_times(advice: dict[str, Any]) -> None:
    def without_times(value: Any) -> Any:
        if isinstance(value, dict):
            timed = (
                "seconds",
                "encode_us",
                "decode_us",
                "inference_us",
                "codec_cpu_seconds",
                "network_seconds",
                "reasons",
            )
            return {key: without_times(one) for key, one in value.items() if key not in timed}
        return [without_times(one) for one in value] if isinstance(value, list) else value

    assert without_times(advise(*gathered(noisy([40] * 5)))) == without_times(advice)


def test_the_stage0_extractor_is_trained_without_held_out_images() -> None:
    demo = load_dataset("demo", 24)
    view = validation_view(demo)
    extractor = build_extractor("stage0", view, device=torch.device("cpu"), steps=5)
    table, evidence = gather(
        view, ["jpeg:quality=50"], budget=200_000, extractor=extractor, images=200, initial=4, increment=3
    )
    assert [len(stage) for stage in evidence.stages] == [4, 3, 3]
    assert len(evidence.held_out_labels) == 40
    assert table["images"] == 200
    norms = torch.linalg.norm(evidence.originals, dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))
    only = replace(evidence, only=evidence.choices[:2])
    assert only.choices == evidence.choices[:2]
