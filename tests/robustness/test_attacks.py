"""Attacks against models with closed-form optima, and the report over all attacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from toolkit.foundation.errors import UsageError
from toolkit.jpeg.layer import JPEGLayer, prepend
from toolkit.robustness import attacks
from toolkit.robustness.evaluation import masking_notes, robustness_report, summarise_attacks

CPU = torch.device("cpu")
SIDE = 8
EPS = (1 / 255, 2 / 255, 4 / 255)


class Linear(nn.Module):
    """Two classes: 1 where w . (x - 128) / 255 is positive."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.flatten())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        score = ((images.float() - 128) / 255).flatten(1) @ self.weight
        return torch.stack([-score / 2, score / 2], 1)


def random_linear() -> Linear:
    return Linear(torch.randn(3 * SIDE * SIDE, generator=torch.Generator().manual_seed(3)) / 10)


def images_and_labels(count: int = 60, spread: int = 100) -> tuple[torch.Tensor, torch.Tensor]:
    """Images far from black and white with their labels, most of which the model gets right."""
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(128 - spread, 128 + spread, (count, SIDE, SIDE, 3), generator=generator, dtype=torch.uint8)
    labels = random_linear()(images.permute(0, 3, 1, 2)).argmax(1)
    labels[::10] = 1 - labels[::10]
    return images, labels


def as_input(images: torch.Tensor) -> torch.Tensor:
    return images.permute(0, 3, 1, 2).float()


def curved() -> nn.Sequential:
    """Three classes by a small convolutional network, whose gradients turn with the image."""
    torch.manual_seed(11)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3))


def masked_pair() -> tuple[Linear, nn.Sequential, torch.Tensor, torch.Tensor]:
    """A linear network, the same behind rounding to steps of 6, and images which random noise does not move across."""
    generator = torch.Generator().manual_seed(7)
    pattern = torch.randint(0, 2, (1, 1, SIDE, SIDE), generator=generator).float().mul(2).sub(1).expand(1, 3, -1, -1)
    labels = torch.arange(40) % 2
    images = (
        128 + (2 * labels - 1).view(-1, 1, 1, 1) * 5 * pattern + torch.randn(40, 3, SIDE, SIDE, generator=generator)
    )
    layer = JPEGLayer(torch.full((2, 8, 8), 6.0))
    return (
        Linear(pattern / 100),
        prepend(Linear(pattern / 100), layer),
        images.round().byte().permute(0, 2, 3, 1),
        labels,
    )


def report_on(masked: tuple[Any, ...], **changes: Any) -> dict[str, Any]:
    plain, layered, images, labels = masked
    settings = {"device": CPU, "eps": (2 / 255, 8 / 255), "mode": "hard", "queries": 12, **changes}
    return robustness_report(plain, layered, images, labels, **settings)


@pytest.mark.parametrize("attack", [attacks.fgsm, attacks.pgd, attacks.long_pgd], ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("eps", EPS)
def test_gradients_of_a_linear_model_reach_the_closed_form(attack: Callable[..., torch.Tensor], eps: float) -> None:
    model, (images, labels) = random_linear(), images_and_labels()
    x = as_input(images)
    logits = model(x)
    margin = (logits[:, 1] - logits[:, 0]) * (2 * labels - 1)
    robust = margin > eps * model.weight.abs().sum()
    assert 0 < int(robust.sum()) < int((margin > 0).sum()), "the budget decides nothing"
    adversarial = attack(model, x, labels, eps, 0)
    assert torch.equal(model(adversarial).argmax(1) == labels, robust)


@pytest.mark.parametrize("eps", EPS)
def test_the_gradient_free_attack_stays_below_the_closed_form_optimum(eps: float) -> None:
    model, (images, labels) = random_linear(), images_and_labels()
    x = as_input(images)
    logits = model(x)
    margin = (logits[:, 1] - logits[:, 0]) * (2 * labels - 1)
    reachable = margin <= eps * model.weight.abs().sum()
    fooled = model(attacks.gradient_free(model, x, labels, eps, 0, queries=120)).argmax(1) != labels
    assert not (fooled & ~reachable).any()
    assert int(fooled.sum()) > int((margin <= 0).sum())
    assert fooled[margin <= 0].all()


def test_the_gradient_free_attack_respects_its_query_limit() -> None:
    class Counting(Linear):
        seen = 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.seen += len(images)
            return super().forward(images)

    x, labels = torch.full((3, 3, SIDE, SIDE), 120.0), torch.zeros(3, dtype=torch.int64)
    for queries in (1, 5, 20):
        model = Counting(torch.ones(3 * SIDE * SIDE))
        assert torch.equal(attacks.gradient_free(model, x, labels, 1 / 255, queries=queries), x)
        assert 0 < model.seen <= 3 * queries


@pytest.mark.parametrize("name", attacks.attack_names())
def test_adversarial_images_stay_within_eps_and_the_pixel_range(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(0, 2, (8, 3, SIDE, SIDE), generator=generator).float() * 255
    x[:4] = torch.rand(4, 3, SIDE, SIDE, generator=generator) * 255
    layered = prepend(random_linear(), JPEGLayer(torch.full((2, 8, 8), 3.0)))
    more = {"transfer": {"source": random_linear()}, "gradient-free": {"queries": 30}}.get(name, {})
    labels = layered(x).argmax(1)
    found = attacks.ATTACKS[name](layered, x, labels, 4 / 255, 0, **more)
    assert found.shape == x.shape
    assert float((found - x).abs().max()) <= 4 + 1e-4
    assert float(found.min()) >= 0
    assert float(found.max()) <= 255
    assert name == "gradient-free" or not torch.equal(found, x)


@pytest.mark.parametrize("name", ["pgd", "bpda", "transfer", "gradient-free"])
def test_a_seed_determines_the_result_and_global_generators_are_untouched(name: str) -> None:
    layered = prepend(curved(), JPEGLayer(torch.full((2, 8, 8), 3.0)))
    more = {"transfer": {"source": curved()}, "gradient-free": {"queries": 60}}.get(name, {})
    x = as_input(images_and_labels()[0])
    labels = layered(x).argmax(1)

    def attack(seed: int) -> torch.Tensor:
        return attacks.ATTACKS[name](layered, x, labels, 8 / 255, seed, **more)

    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = attack(1)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    torch.rand(3)
    assert torch.equal(attack(1), first)
    assert not torch.equal(attack(2), first)


def test_a_rounding_layer_resists_pgd_but_not_bpda() -> None:
    _, layered, images, labels = masked_pair()
    layered.layer.mode = "hard"
    x = as_input(images)
    assert (layered(x).argmax(1) == labels).all()
    assert torch.equal(attacks.fgsm(layered, x, labels, 8 / 255), x)
    assert (layered(attacks.long_pgd(layered, x, labels, 8 / 255)).argmax(1) == labels).all()
    assert (layered(attacks.bpda(layered, x, labels, 8 / 255)).argmax(1) != labels).all()
    assert layered.layer.mode == "hard"


@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_the_report_notes_masked_gradients_and_takes_the_worst_case(mode: str) -> None:
    report = report_on(masked_pair(), mode=mode)
    layered = report["models"]["layered"]
    assert layered["clean"] == 1
    assert layered["attacks"]["pgd"][1] > 0.9
    assert layered["worst"][1] == layered["attacks"]["bpda"][1] == 0
    assert any("8/255" in note and "bpda 0.0%" in note for note in layered["notes"])
    assert report["mode"] == mode
    assert {"soft": "soft", "hard": "hard"}[mode] in report["judged"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_the_report_names_every_attack_and_bpda_only_behind_a_layer() -> None:
    models = report_on(masked_pair())["models"]
    assert tuple(models["layered"]["attacks"]) == attacks.attack_names()
    assert set(attacks.attack_names()) - set(models["plain"]["attacks"]) == {"bpda"}
    assert models["plain"]["notes"] == []
    assert models["plain"]["worst"] == [1, 0]


def test_the_report_counts_wrong_images_as_fooled_and_does_not_depend_on_their_order() -> None:
    plain, layered, images, labels = masked_pair()
    labels = torch.where(torch.arange(40) < 10, 1 - labels, labels)
    settings: dict[str, Any] = {"batch_size": 17, "eps": (5 / 255,), "queries": 6}
    whole = report_on((plain, layered, images, labels), **settings)
    for result in whole["models"].values():
        assert result["clean"] == 0.75
        assert max(max(row) for row in result["attacks"].values()) <= 0.75
    turned = report_on((plain, layered, images.flip(0), labels.flip(0)), **settings)
    assert turned["models"]["plain"]["attacks"]["fgsm"] == whole["models"]["plain"]["attacks"]["fgsm"]


def test_the_same_seed_gives_the_same_report() -> None:
    first = report_on(masked_pair(), eps=(5 / 255,), seed=4)
    assert report_on(masked_pair(), eps=(5 / 255,), seed=4) == first


def test_the_worst_case_is_taken_image_by_image() -> None:
    right = torch.tensor([True, True, True, False])
    first, second = torch.tensor([[True, False, True, False]]), torch.tensor([[False, True, True, False]])
    result = summarise_attacks(right, {"pgd": first, "pgd-20": first, "transfer": second}, [1 / 255])
    assert result["clean"] == 0.75
    assert result["attacks"]["pgd"] == result["attacks"]["transfer"] == [0.5]
    assert result["worst"] == [0.25]
    brute = [all([bool(first[0, n]), bool(second[0, n])]) for n in range(4)]
    assert result["worst"][0] == sum(brute) / 4


def test_small_differences_and_effects_of_more_steps_are_not_masking() -> None:
    rows = {"pgd": [0.60, 0.50], "pgd-20": [0.55, 0.45], "bpda": [0.54, 0.44], "transfer": [0.9, 0.9]}
    assert masking_notes(rows, EPS[:2]) == []
    (note,) = masking_notes({**rows, "transfer": [0.50, 0.35]}, EPS[:2])
    assert "2/255" in note
    assert "transfer 35.0%, 10.0 points less" in note


def test_networks_are_unchanged_even_after_a_failure() -> None:
    plain, layered, images, labels = masked_pair()
    plain.train()
    layered.eval()
    layered.layer.mode = "noise"
    layered.network.weight.requires_grad_(False)

    def interrupt(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    report_on((plain, layered, images, labels))
    with pytest.raises(KeyboardInterrupt):
        report_on((plain, layered, images, labels), progress=interrupt)
    assert plain.training
    assert not layered.training
    assert layered.layer.mode == "noise"
    assert not layered.network.weight.requires_grad
    for parameter in (plain.weight, layered.layer.steps):
        assert parameter.requires_grad
        assert parameter.grad is None


def test_progress_runs_to_its_total() -> None:
    told: dict[str, list[tuple[int, int]]] = {}
    report_on(
        masked_pair(), batch_size=15, progress=lambda what, done, total: told.setdefault(what, []).append((done, total))
    )
    assert set(told) == {"gradient attacks", "gradient-free attack, plain", "gradient-free attack, layered"}
    for steps in told.values():
        assert steps == [(done, 6) for done in range(1, 7)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": (0.0,)}, "eps must be above 0"),
        ({"eps": (4 / 255, 1.5)}, "at most 1"),
        ({"eps": (float("nan"),)}, "eps must be above 0"),
        ({"eps": ()}, "eps must not be empty"),
        ({"mode": "ste"}, "mode must be one of soft, hard"),
        ({"queries": 0}, "at least 1"),
        ({"batch_size": 0}, "at least 1"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        report_on(masked_pair(), **changes)


def test_bad_images_labels_and_networks_are_refused() -> None:
    plain, layered, images, labels = masked_pair()
    with pytest.raises(UsageError, match="no images"):
        report_on((plain, layered, images[:0], labels[:0]))
    with pytest.raises(UsageError, match="uint8"):
        report_on((plain, layered, images.float(), labels))
    with pytest.raises(UsageError, match=r"labels must be 0\.\.1"):
        report_on((plain, layered, images, labels + 1))
    with pytest.raises(UsageError, match=r"labels must be 0\.\.1"):
        report_on((plain, layered, images, labels - 1))
    with pytest.raises(UsageError, match="labels must be int64"):
        report_on((plain, layered, images, labels[:3]))
    with pytest.raises(UsageError, match="JPEG layer"):
        report_on((plain, plain, images, labels))
    with pytest.raises(UsageError, match=r"\[0, 255\]"):
        report_on((plain, prepend(plain, JPEGLayer(torch.ones(2, 8, 8), pixel_range=1)), images, labels))


def test_attacks_refuse_invalid_inputs() -> None:
    model, (images, labels) = random_linear(), images_and_labels()
    x = as_input(images)
    with pytest.raises(UsageError, match="float"):
        attacks.fgsm(model, images, labels, 1 / 255)
    with pytest.raises(UsageError, match=r"\[0, 255\]"):
        attacks.pgd(model, x * 2, labels, 1 / 255)
    with pytest.raises(UsageError, match="labels"):
        attacks.pgd(model, x, labels[:1], 1 / 255)
    with pytest.raises(UsageError, match="eps"):
        attacks.gradient_free(model, x, labels, 0)
    with pytest.raises(UsageError, match="JPEG layer"):
        attacks.bpda(model, x, labels, 1 / 255)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_of_another_dtype_are_attacked_with_float32_images(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, SIDE), nn.Flatten()).to(dtype)
    layered = prepend(nn.Sequential(nn.Conv2d(3, 2, SIDE), nn.Flatten()), JPEGLayer(torch.full((2, 8, 8), 6.0)))
    images, labels = images_and_labels(8)
    report = robustness_report(
        network, layered.to(dtype), images, labels, device=CPU, eps=(8 / 255,), mode="soft", queries=4
    )
    assert 0 <= report["models"]["layered"]["worst"][0] <= report["models"]["layered"]["clean"] <= 1
    found = attacks.pgd(network, as_input(images), labels, 8 / 255)
    assert found.dtype == torch.float32
    assert float((found - as_input(images)).abs().max()) <= 8.001
