"""Every rule against closed forms, hand-computed cases and brute force."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from advice_samples import CLASSES, PER_CLASS, RAW_BYTES, held_by_a_memory, make_evidence
from scipy.spatial.distance import mahalanobis
from scipy.stats import norm

from toolkit.advice.evidence import Choice, Evidence
from toolkit.advice.rules import fitted, from_features, from_table, quantities
from toolkit.advice.rules.base import ask_rule, pick
from toolkit.advice.rules.registry import RULES, require_rule, rule_names
from toolkit.features import heads
from toolkit.foundation.errors import UsageError
from toolkit.memory.allocation import allocate
from toolkit.memory.selection import herding_order

GRID = [
    ("jpeg:quality=10", 50, {"fmse_relative": 0.30, "psnr": 22.0, "ssim": 0.70}),
    ("jpeg:quality=50", 100, {"fmse_relative": 0.05, "psnr": 28.0, "ssim": 0.90}),
    ("jpeg:quality=90", 400, {"fmse_relative": 0.01, "psnr": 35.0, "ssim": 0.97}),
    ("webp:quality=10", 40, {"fmse_relative": 0.40, "psnr": 23.0, "ssim": 0.60}),
    ("webp:quality=90", 500, {"fmse_relative": 0.02, "psnr": 36.0, "ssim": 0.95}),
]
FITS = 6
"""Exemplars of 499 bytes in the place of three of 1,000 bytes."""


def scores_of(evidence: Evidence, scores: np.ndarray) -> dict[tuple[str, str], float]:
    return {
        (evidence.settings[choice.setting].codec, choice.align): float(score)
        for choice, score in zip(evidence.choices, scores, strict=True)
    }


@pytest.mark.parametrize("name", list(RULES))
def test_every_rule_scores_every_choice_with_a_finite_number(name: str) -> None:
    evidence = make_evidence(GRID)
    asked_rule = ask_rule(RULES[name], evidence)
    assert asked_rule.scores.shape == (len(evidence.choices),) == (1 + 3 * len(GRID),)
    assert np.isfinite(asked_rule.scores).all()
    assert asked_rule.scores[asked_rule.pick] == asked_rule.scores.max()
    assert asked_rule.seconds > 0
    again = ask_rule(RULES[name], replace(evidence, _kept={}))
    np.testing.assert_array_equal(asked_rule.scores, again.scores)


def test_rules_that_do_not_judge_alignment_score_all_equally_and_pick_both() -> None:
    evidence = make_evidence(GRID)
    for rule in RULES.values():
        if rule.judges_alignment:
            continue
        asked_rule = ask_rule(rule, evidence)
        found = scores_of(evidence, asked_rule.scores)
        for codec, _, _ in GRID:
            assert found[codec, "none"] == found[codec, "train"] == found[codec, "both"], rule.name
        picked = evidence.choices[asked_rule.pick]
        assert picked.align == ("none" if evidence.settings[picked.setting].lossless else "both")


def test_ties_are_broken_by_alignment_then_by_exemplars() -> None:
    assert pick(np.array([1.0, 1.0, 0.0]), ["none", "both", "both"], np.array([9.0, 1.0, 1.0])) == 1
    assert pick(np.array([1.0, 1.0]), ["both", "both"], np.array([1.0, 2.0])) == 1
    # a rule without a difference between alignments picks the one that codes no incoming images
    assert pick(np.array([1.0, 1.0, 0.9]), ["both", "train", "none"], np.array([9.0, 1.0, 1.0]), True) == 1


def test_most_exemplars_counts_the_exemplars_that_fit(tmp_path: Path) -> None:
    evidence = make_evidence(GRID, raw_exemplars=2)
    found = scores_of(evidence, from_table.most_exemplars(evidence))
    for codec, payload, _ in [("raw", RAW_BYTES, {}), *GRID]:
        score = found[codec, "none" if codec == "raw" else "both"]
        kept = held_by_a_memory(tmp_path / codec, evidence.budget, payload)
        assert kept - 1e-3 <= score < kept + 1, codec  # a part of an exemplar counts too
    assert found["raw", "none"] == pytest.approx(2)
    assert found["jpeg:quality=50", "both"] == pytest.approx(20)  # their larger tables fit the same pages


def test_evidence_keeps_the_exemplars_that_a_memory_keeps(tmp_path: Path) -> None:
    evidence = make_evidence([("jpeg:quality=50", 499, {})], raw_exemplars=3)
    assert [len(evidence.kept(index)) / CLASSES for index in (0, 1)] == [3, FITS]
    assert held_by_a_memory(tmp_path / "raw", evidence.budget, RAW_BYTES) == 3
    assert held_by_a_memory(tmp_path / "jpeg", evidence.budget, 499) == FITS


def test_best_quality_is_psnr_and_among_lossless_settings_the_number_that_fits() -> None:
    evidence = make_evidence([("png", 600, {"psnr": 100.0}), ("jpeg:quality=50", 100, {"psnr": 30.0})])
    found = scores_of(evidence, from_table.best_quality(evidence))
    assert found["png", "none"] > found["raw", "none"] > found["jpeg:quality=50", "both"] == pytest.approx(30, abs=1e-4)


def test_the_codec_is_chosen_in_the_middle_of_the_common_range_of_bytes() -> None:
    # jpeg covers 50..400 bytes, webp 40..500: compared at sqrt(50 * 400) = 141 bytes
    x = math.log(math.sqrt(50 * 400))
    jpeg = np.interp(x, np.log([50, 100, 400]), [0.30, 0.05, 0.01])
    webp = np.interp(x, np.log([40, 500]), [0.40, 0.02])
    assert jpeg < webp
    evidence = make_evidence(GRID)
    found = scores_of(evidence, from_table.at_equal_rate("fmse_relative", True)(evidence))
    assert min(found[codec, "both"] for codec, _, _ in GRID[:3]) > max(found[codec, "both"] for codec, _, _ in GRID[3:])
    by_psnr = scores_of(evidence, from_table.at_equal_rate("psnr", False)(evidence))
    psnr = np.interp(x, np.log([50, 100, 400]), [22, 28, 35]), np.interp(x, np.log([40, 500]), [23, 36])
    assert (psnr[0] > psnr[1]) == (by_psnr["jpeg:quality=50", "both"] > by_psnr["webp:quality=90", "both"])
    assert found["raw", "none"] < min(score for (codec, _), score in found.items() if codec != "raw")
    # within jpeg its own knee decides, whatever webp does
    knees = from_table.knee_scores(evidence, [1, 2, 3])
    best = max(knees, key=lambda index: knees[index])
    assert max(found, key=lambda key: found[key])[0] == evidence.settings[best].codec


def test_a_grid_of_lossless_settings_has_no_family_to_choose() -> None:
    evidence = make_evidence([("png", 600, {"psnr": 100.0, "fmse_relative": 0.0})])
    asked_rule = ask_rule(RULES["fmse-at-equal-rate"], evidence)
    assert evidence.settings[evidence.choices[asked_rule.pick].setting].codec == "png"


def test_curvature_is_the_inverse_radius_of_the_circle_through_three_points() -> None:
    angles = np.array([3.5, 4.0, 4.9])  # counter-clockwise: a left turn
    for radius in (0.5, 3.0):
        x, y = radius * np.cos(angles), radius * np.sin(angles)
        assert from_table.menger_curvature(x, y) == pytest.approx(1 / radius)
        assert from_table.menger_curvature(x[::-1], y[::-1]) == pytest.approx(-1 / radius)
    assert from_table.menger_curvature(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0])) == 0


def test_the_knee_is_where_fmse_begins_to_rise() -> None:
    # up to 4 times the exemplars of raw FMSE is flat, beyond that it rises steeply
    evidence = make_evidence(
        [
            ("jpeg:quality=90", 500, {"fmse_relative": 0.001}),
            ("jpeg:quality=50", 250, {"fmse_relative": 0.002}),
            ("jpeg:quality=20", 125, {"fmse_relative": 0.2}),
            ("jpeg:quality=10", 62, {"fmse_relative": 0.4}),
            ("webp:quality=50", 250, {"fmse_relative": 0.1}),
        ]
    )
    knees = from_table.knee_scores(evidence, range(6))
    assert max(knees, key=lambda index: knees[index]) == 2
    assert knees[0] == knees[4] == 0  # the ends
    assert knees[5] == pytest.approx((0.002 - 0.1) / 0.4)  # above the curve, by so much of its extent


@pytest.mark.parametrize(("count", "dimensions"), [(5, 12), (40, 12)])
def test_log_volume_is_half_the_sum_of_log_eigenvalues(count: int, dimensions: int) -> None:
    x = np.random.default_rng(0).normal(size=(count, dimensions))
    expected = 0.5 * np.log(np.linalg.eigvalsh(x @ x.T + 1e-3 * np.eye(count))).sum()
    assert quantities.log_volume(torch.from_numpy(x)) == pytest.approx(expected, rel=1e-9)


def test_volumes_do_not_underflow_and_equal_features_have_ratio_0() -> None:
    features = torch.randn(3000, 16, generator=torch.Generator().manual_seed(0)) * 1e-3
    assert math.isfinite(quantities.log_volume(features))
    evidence = make_evidence([("jpeg:quality=50", 1000, {})], noise=0.0)
    for index in range(2):  # the same features, and as many fit
        members = {
            label: quantities.herding_order(evidence.originals[order].numpy())
            for label, order in evidence.settings[index].order.items()
        }
        herded = {label: evidence.settings[index].order[label][order] for label, order in members.items()}
        evidence = replace(
            evidence,
            settings=tuple(
                replace(one, order=herded) if place == index else one for place, one in enumerate(evidence.settings)
            ),
            _kept={},
        )
    assert quantities.volume_ratio(evidence, 1) == pytest.approx(0, abs=1e-6)


def test_the_volume_ratio_agrees_with_a_loop_over_classes() -> None:
    evidence = make_evidence([("jpeg:quality=50", 499, {})], raw_exemplars=3, noise=0.6)
    labels = evidence.labels.numpy()

    def half_log_determinant(x: np.ndarray) -> float:
        return 0.5 * math.log(np.linalg.det(x @ x.T + 1e-3 * np.eye(len(x))))

    ratios = []
    for label in range(CLASSES):
        coded = evidence.settings[1].candidates.double().numpy()[labels == label][:FITS]
        original = evidence.originals.double().numpy()[labels == label]
        herded = original[herding_order(original, FITS)]
        ratios.append((half_log_determinant(coded) - half_log_determinant(herded)) / FITS)
    assert abs(np.mean(ratios)) > 0.01
    assert quantities.volume_ratio(evidence, 1) == pytest.approx(np.mean(ratios), rel=1e-5)


def test_dpp_volume_picks_the_most_exemplars_within_the_threshold() -> None:
    table = {"volume_ratio": np.array([0.0, -0.04, 0.2, 0.5]), "exemplars": np.array([4.0, 30.0, 90.0, 99.0])}
    scores = fitted.consistent_volume(table, {"threshold": 0.05})
    assert scores.tolist() == [math.log1p(4), math.log1p(30), -0.2, -0.5]


def test_mmd_agrees_with_a_double_loop() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(7, 3)), rng.normal(size=(5, 3)) + 0.5

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([[math.exp(-((x - y) ** 2).sum() / (2 * 1.3**2)) for y in b] for x in a]))

    expected = kernel(one, one) + kernel(other, other) - 2 * kernel(one, other)
    assert from_features.squared_mmd(torch.from_numpy(one), torch.from_numpy(other), 1.3) == pytest.approx(expected)
    assert from_features.squared_mmd(torch.from_numpy(one), torch.from_numpy(one), 1.3) == pytest.approx(0, abs=1e-12)


def test_the_kernel_width_is_the_median_distance_or_1_for_equal_features() -> None:
    x = torch.tensor([[0.0], [1.0], [3.0]])
    assert from_features.median_distance(x) == 2.0
    assert from_features.median_distance(torch.ones(5, 2)) == from_features.median_distance(torch.ones(1, 2)) == 1.0


def test_mmd_prefers_many_undistorted_exemplars() -> None:
    evidence = make_evidence([("jpeg:quality=50", 100, {}), ("jpeg:quality=10", 100, {})], noise=0.0)
    worse = replace(evidence.settings[2], candidates=-evidence.settings[2].candidates)
    evidence = replace(evidence, settings=(*evidence.settings[:2], worse))
    found = scores_of(evidence, from_features.mmd(evidence))
    assert found["jpeg:quality=50", "both"] > found["raw", "none"] > found["jpeg:quality=10", "both"]


def test_mmd_is_the_mean_over_classes_of_exemplars_that_fit_against_the_class() -> None:
    evidence = make_evidence([("jpeg:quality=50", 499, {})], raw_exemplars=3, noise=0.6)
    labels = evidence.labels.numpy()
    x, decoded = evidence.originals.double().numpy(), evidence.settings[1].candidates.double().numpy()
    distances = np.sort([np.linalg.norm(a - b) for i, a in enumerate(x) for b in x[:i]])
    width = distances[(len(distances) - 1) // 2]  # torch returns the lower of two middle values

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([[math.exp(-((one - two) ** 2).sum() / (2 * width**2)) for two in b] for one in a]))

    by_class = []
    for label in range(CLASSES):
        kept, whole = decoded[labels == label][:FITS], x[labels == label]
        by_class.append(kernel(kept, kept) + kernel(whole, whole) - 2 * kernel(kept, whole))
    found = scores_of(evidence, from_features.mmd(evidence))
    assert found["jpeg:quality=50", "both"] == pytest.approx(-np.mean(by_class), rel=1e-4)


def test_ssim_picks_the_codec_with_the_higher_value_in_the_middle_of_the_bytes() -> None:
    x = math.log(math.sqrt(50 * 400))
    jpeg = np.interp(x, np.log([50, 100, 400]), [0.70, 0.90, 0.97])
    webp = np.interp(x, np.log([40, 500]), [0.60, 0.95])
    assert jpeg > webp
    evidence = make_evidence(GRID)
    asked_rule = ask_rule(RULES["ssim-at-equal-rate"], evidence)
    assert evidence.settings[evidence.choices[asked_rule.pick].setting].codec.startswith("jpeg")
    turned = [(codec, size, values | {"ssim": 1 - values["ssim"]}) for codec, size, values in GRID]
    evidence = make_evidence(turned)
    asked_rule = ask_rule(RULES["ssim-at-equal-rate"], evidence)
    assert evidence.settings[evidence.choices[asked_rule.pick].setting].codec.startswith("webp")


def test_random_scores_have_a_fixed_seed() -> None:
    evidence = make_evidence(GRID)
    assert ask_rule(RULES["random"], evidence).scores.tolist() == np.random.default_rng(0).random(16).tolist()


def normal_equations(x: np.ndarray, y: np.ndarray, weights: np.ndarray, ridge: float) -> np.ndarray:
    weights = weights / weights.mean()
    return np.linalg.solve((x * weights[:, None]).T @ x + ridge * np.eye(x.shape[1]), (x * weights[:, None]).T @ y)


def accuracy(outputs: np.ndarray, labels: torch.Tensor) -> float:
    return float((outputs.argmax(axis=1) == labels.numpy()).mean())


@pytest.mark.parametrize("align", ["none", "both"])
def test_probe_accuracy_is_fitted_on_the_memory_and_tested_as_aligned(
    align: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "_RIDGES", (0.1,))
    evidence = make_evidence([("jpeg:quality=50", 499, {})], raw_exemplars=3, noise=0.6)
    coded = evidence.settings[1]
    kept = np.concatenate([np.flatnonzero(evidence.labels.numpy() == label)[:FITS] for label in range(CLASSES)])
    x, labels = coded.candidates.double().numpy()[kept], evidence.labels.numpy()[kept]
    table = normal_equations(x, np.eye(CLASSES)[labels], np.ones(len(x)), 0.1)
    tested = coded.held_out if align == "both" else evidence.held_out_originals
    expected = accuracy(tested.double().numpy() @ table, evidence.held_out_labels)
    found = scores_of(evidence, from_features.probe_accuracy("ridge")(evidence))
    assert found["jpeg:quality=50", align] == pytest.approx(expected)
    assert found["jpeg:quality=50", "train"] == found["jpeg:quality=50", "none"]

    means = np.stack([x[labels == label].mean(axis=0) for label in range(CLASSES)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    nearest = -((tested.double().numpy()[:, None] - means[None]) ** 2).sum(axis=2)
    by_means = scores_of(evidence, from_features.probe_accuracy("nearest-mean")(evidence))
    assert by_means["jpeg:quality=50", align] == pytest.approx(accuracy(nearest, evidence.held_out_labels))


@pytest.mark.parametrize("align", ["none", "train", "both"])
def test_last_stage_uses_exemplars_of_old_classes_and_all_images_of_new_ones(
    align: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "_RIDGES", (0.1,))
    evidence = make_evidence([("jpeg:quality=50", 499, {})], raw_exemplars=3, noise=0.6)
    coded, labels = evidence.settings[1], evidence.labels.numpy()
    tested = (coded.held_out if align == "both" else evidence.held_out_originals).double().numpy()
    expected = []
    for newest in ((0, 1), (2, 3)):
        old = [label for label in range(CLASSES) if label not in newest]
        kept = np.concatenate([np.flatnonzero(labels == label)[:FITS] for label in old])
        new = np.flatnonzero(np.isin(labels, newest))
        fresh = evidence.originals if align == "none" else coded.candidates
        x = np.concatenate([coded.candidates.double().numpy()[kept], fresh.double().numpy()[new]])
        y = np.concatenate([labels[kept], labels[new]])
        weights = np.where(np.isin(y, newest), 0.25 / PER_CLASS, 0.25 / FITS)
        table = normal_equations(x, np.eye(CLASSES)[y], weights, 0.1)
        expected.append(accuracy(tested @ table, evidence.held_out_labels))
    found = scores_of(evidence, from_features.last_stage(evidence))
    assert found["jpeg:quality=50", align] == pytest.approx(np.mean(expected))


def test_last_stage_equals_probe_accuracy_with_a_single_stage() -> None:
    evidence = replace(make_evidence(), stages=((0, 1, 2, 3),))
    np.testing.assert_array_equal(from_features.last_stage(evidence), from_features.probe_accuracy("ridge")(evidence))


def test_the_domain_shift_agrees_with_linear_discriminant_analysis() -> None:
    evidence = make_evidence()
    original = evidence.originals.double().numpy()
    moved = replace(evidence.settings[1], candidates=evidence.originals + torch.tensor([0.2, 0, 0, -0.1, 0, 0]))
    evidence = replace(evidence, settings=(evidence.settings[0], moved))
    x = original - original.mean(axis=0)
    sample = np.cov(original.T, bias=True)
    target = np.trace(sample) / 6 * np.eye(6)
    noise = np.mean([np.sum((np.outer(one, one) - sample) ** 2) for one in x]) / len(x)  # Ledoit and Wolf, lemma 3.4
    share = min(1, noise / np.sum((sample - target) ** 2))
    precision = np.linalg.inv((1 - share) * sample + share * target + 1e-4 / 6 * np.eye(6))
    distance = mahalanobis(original.mean(axis=0), moved.candidates.double().numpy().mean(axis=0), precision)
    expected = 2 * norm.cdf(distance / 2) - 1
    assert quantities.domain_shift(evidence, 1) == pytest.approx(expected, rel=1e-4)
    assert quantities.domain_shift(evidence, 0) == 0
    under = dict(zip(evidence.choices, quantities.QUANTITIES["shift_if_none"](evidence), strict=True))
    assert under[Choice(1, "none")] == pytest.approx(expected, rel=1e-4)
    assert under[Choice(1, "both")] == under[Choice(1, "train")] == 0


def test_growth_counts_available_images_and_later_stages() -> None:
    evidence = make_evidence([("jpeg:quality=50", 10, {})], raw_exemplars=3)
    evidence = replace(evidence, stages=((0,), (1, 2), (3,)))
    found = quantities.tabulate(evidence, ("growth", "exemplars"))
    assert found["exemplars"].tolist() == pytest.approx([3, *[PER_CLASS] * 3])
    kept = [np.mean([np.exp(-((4 * later / held) ** 6)) for later in (2, 1, 1, 0)]) for held in (3, PER_CLASS)]
    assert found["growth"].tolist() == pytest.approx([0, *[kept[1] - kept[0]] * 3])


def test_exemplars_are_spread_as_the_memory_allocates_them() -> None:
    class_sizes = (3, 50, 7, 200)
    evidence = replace(make_evidence(), class_sizes=class_sizes)
    for budget in (40, 60, 400, 900, 2600, 10**5):
        allocated = allocate({label: np.full(size, 10).cumsum() for label, size in enumerate(class_sizes)}, budget, 0)
        found = evidence.spread(np.array(sum(allocated.values()) / CLASSES))
        assert found == pytest.approx(list(allocated.values()), abs=1), budget  # a memory holds only whole images
        assert found.sum() == pytest.approx(sum(allocated.values()))
    assert evidence.spread(np.array([[1.0, 2.0], [3.0, 9.0]])).shape == (2, 2, CLASSES)


def test_a_small_class_has_no_more_exemplars_than_images() -> None:
    evidence = replace(
        make_evidence([("jpeg:quality=50", 100, {})], raw_exemplars=3),
        class_sizes=(2, 90, 90, 90),
        stages=((0,), (1,), (2, 3)),
    )
    held = evidence.exemplars_per_class(1)
    each = np.array([2, *[(4 * held - 2) / 3] * 3])
    raw = np.array([2, *[(4 * 3 - 2) / 3] * 3])
    later = np.array([2, 1, 0, 0])
    expected = np.mean(np.exp(-((4 * later / each) ** 6))) - np.mean(np.exp(-((4 * later / raw) ** 6)))
    assert quantities.growth(evidence, 1) == pytest.approx(expected)


def test_retention_is_at_most_1() -> None:
    evidence = make_evidence([("jpeg:quality=50", 10, {})], raw_exemplars=1)
    evidence = replace(evidence, stages=tuple((label,) for label in range(CLASSES)))
    most = quantities.tabulate(evidence, ("growth",))["growth"].max()
    assert 0.4 < most < 1


def test_a_single_stage_has_no_growth() -> None:
    evidence = replace(make_evidence(), stages=(tuple(range(CLASSES)),))
    assert not quantities.QUANTITIES["growth"](evidence).any()


def test_an_unknown_rule_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown rule 'best': choose one of predicted-gain, .*random"):
        require_rule("best")
    assert sorted(rule_names()) == sorted(RULES), "the package's study judged every rule"
