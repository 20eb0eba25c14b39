"""Robust accuracy of a network with and without the JPEG layer in front, as the worst case over several attacks.

The layer's gradients are almost zero where it rounds, so gradient attacks fail for the wrong reason. An image therefore
counts as robust only if every attack fails on it, including those that need no gradient of the layer (Athalye et al.,
ICML 2018; Carlini et al., arXiv 1902.06705).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from toolkit.foundation.errors import UsageError
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.seeds import derive
from toolkit.jpeg.layer import JPEGLayer
from toolkit.robustness import attacks
from toolkit.robustness.facts import AttackSummary, RobustnessReport
from toolkit.training.loop import predict

EPS = (1 / 255, 2 / 255, 3 / 255, 4 / 255)
"""Bounds of the JPEG-DL paper."""
JUDGES = {
    "soft": "An attack succeeds if the network is wrong behind the layer's soft quantiser, as it was trained.",
    "hard": "An attack succeeds if the network is wrong behind the layer's hard rounding, as a JPEG file has it.",
}
MASKING_POINTS = 1.0
_MASKED = ("bpda", "transfer", "gradient-free")

Survivors = dict[str, torch.Tensor]
"""For each attack, bool (bounds, N): the image was classified correctly and still is."""


def robustness_report(
    plain: nn.Module,
    layered: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    device: torch.device,
    eps: Sequence[float] = EPS,
    mode: str = "soft",
    seed: int = 0,
    batch_size: int = 100,
    queries: int = attacks.QUERIES,
    progress: Progress = silent,
) -> RobustnessReport:
    """Attack both networks and report accuracies, ready for JSON; both networks are restored afterwards.

    The attacks are those of :mod:`toolkit.robustness.attacks`. The adversarial images of PGD with 20 steps on one
    network (``bpda`` on the layered one) are the ``transfer`` attack on the other. Accuracy under attack counts images
    classified correctly before and after; adversarial pixels are not rounded to integers. The report depends on the
    seed, ``eps`` and ``batch_size`` only.

    Args:
        plain: images (N, 3, H, W) in [0, 255] to logits, on ``device``.
        layered: a network behind a JPEG layer (:func:`toolkit.jpeg.layer.prepend`), on ``device``.
        images: uint8 (N, H, W, 3).
        labels: int64 (N,).
        device: device of the networks; images are moved there batch by batch.
        eps: bounds, as fractions of the pixel range.
        mode: mode of the layer as deployed, ``soft`` or ``hard``.
        seed: of random starts and of the gradient-free attack.
        batch_size: images per batch.
        queries: of the gradient-free attack, per image and bound.
        progress: called after every batch and bound.

    Raises:
        UsageError: no images, invalid shapes or dtypes, labels out of range, ``eps`` outside (0, 1], an unknown
            ``mode``, or no JPEG layer in ``layered``.
    """
    layer = _require_request(layered, images, labels, eps, mode, batch_size, queries)
    models = {"plain": plain, "layered": layered}
    with attacks.frozen(plain, layered), attacks.in_mode(layer, mode):
        right = {name: _right(model, images, labels, device, batch_size) for name, model in models.items()}
        contest = _Contest(models, images, labels, right, eps, seed, device, progress)
        contest.follow_gradients(batch_size)
        contest.query(batch_size, queries)
    return {
        "images": len(images),
        "eps": [float(radius) for radius in eps],
        "mode": mode,
        "judged": JUDGES[mode],
        "seed": seed,
        "queries": queries,
        "batch_size": batch_size,
        "models": {name: summarise_attacks(right[name], contest.survivors[name], eps) for name in models},
    }


def summarise_attacks(right: torch.Tensor, survivors: Survivors, eps: Sequence[float]) -> AttackSummary:
    """Accuracies of one network.

    Args:
        right: bool (N,), classified correctly without an attack.
        survivors: by attack, bool (bounds, N).
        eps: the bounds.
    """
    accuracies = {name: [_fraction(row) for row in alive] for name, alive in survivors.items()}
    worst = torch.stack([*survivors.values(), right.expand(len(eps), -1)]).all(0)
    return {
        "clean": _fraction(right),
        "attacks": accuracies,
        "worst": [_fraction(row) for row in worst],
        "notes": masking_notes(accuracies, eps),
    }


def masking_notes(accuracies: Mapping[str, Sequence[float]], eps: Sequence[float]) -> list[str]:
    """A sentence for each attack without the model's gradients that beats gradient attacks by more than a point.

    The comparison is with the better of 5 and 20 steps of PGD, so that more steps are not mistaken for masking, at the
    bound with the largest difference.
    """
    followed = [min(short, long) for short, long in zip(accuracies["pgd"], accuracies["pgd-20"], strict=True)]
    notes = []
    for name in _MASKED:
        if name not in accuracies:
            continue
        gaps = [100 * (own - other) for own, other in zip(followed, accuracies[name], strict=True)]
        widest = max(range(len(gaps)), key=gaps.__getitem__)
        if gaps[widest] > MASKING_POINTS + 1e-6:
            notes.append(
                f"Gradients are masked: at eps {255 * eps[widest]:.3g}/255, PGD along the model's own gradients leaves "
                f"{followed[widest]:.1%} right, {name} {accuracies[name][widest]:.1%}, {gaps[widest]:.1f} points less."
            )
    return notes


@dataclass
class _Contest:
    """Both networks against all attacks; ``survivors``, by network, starts from ``right`` and shrinks."""

    models: dict[str, nn.Module]
    images: torch.Tensor
    labels: torch.Tensor
    right: dict[str, torch.Tensor]
    eps: Sequence[float]
    seed: int
    device: torch.device
    progress: Progress

    def __post_init__(self) -> None:
        self.survivors: dict[str, Survivors] = {
            name: {attack: self.right[name].repeat(len(self.eps), 1) for attack in _attacks_on(name)}
            for name in self.models
        }

    def follow_gradients(self, batch_size: int) -> None:
        """Run all gradient attacks on the images that at least one network classifies correctly."""
        chosen = (self.right["plain"] | self.right["layered"]).nonzero().flatten()
        batches = chosen.split(batch_size) if len(chosen) else ()
        for done, batch in enumerate(batches):
            images, labels = self._batch(batch)
            for row, radius in enumerate(self.eps):
                found = self._gradient_attacks(images, labels, radius, derive(self.seed, 0, int(batch[0]), row))
                for (name, attack), adversarial in found.items():
                    self._record(name, attack, row, batch, adversarial, labels)
                self.progress("gradient attacks", done * len(self.eps) + row + 1, len(batches) * len(self.eps))

    def query(self, batch_size: int, queries: int) -> None:
        """Run the gradient-free attack on the images that each network classifies correctly."""
        for name, model in self.models.items():
            chosen = self.right[name].nonzero().flatten()
            batches = chosen.split(batch_size) if len(chosen) else ()
            for done, batch in enumerate(batches):
                images, labels = self._batch(batch)
                for row, radius in enumerate(self.eps):
                    seed = derive(self.seed, 1, int(batch[0]), row)
                    adversarial = attacks.gradient_free(model, images, labels, radius, seed, queries=queries)
                    self._record(name, "gradient-free", row, batch, adversarial, labels)
                    what = f"gradient-free attack, {name}"
                    self.progress(what, done * len(self.eps) + row + 1, len(batches) * len(self.eps))

    def _gradient_attacks(
        self, images: torch.Tensor, labels: torch.Tensor, radius: float, seed: int
    ) -> dict[tuple[str, str], torch.Tensor]:
        found = {
            (name, attack): attacks.ATTACKS[attack](model, images, labels, radius, derive(seed, which))
            for name, model in self.models.items()
            for which, attack in enumerate(_attacks_on(name))
            if attack not in ("transfer", "gradient-free")
        }
        found["layered", "transfer"] = found["plain", "pgd-20"]
        found["plain", "transfer"] = found["layered", "bpda"]
        return found

    def _record(
        self, name: str, attack: str, row: int, batch: torch.Tensor, adversarial: torch.Tensor, labels: torch.Tensor
    ) -> None:
        with torch.inference_mode():
            still = (attacks.logits_of(self.models[name], adversarial).argmax(1) == labels).cpu()
        self.survivors[name][attack][row, batch] &= still

    def _batch(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        images = self.images[batch].to(self.device).permute(0, 3, 1, 2).float()
        return images, self.labels[batch].to(self.device)


def _fraction(of_images: torch.Tensor) -> float:
    return int(of_images.sum()) / of_images.numel()


def _attacks_on(name: str) -> tuple[str, ...]:
    return attacks.attack_names(layered=name == "layered")


def _right(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, device: torch.device, batch_size: int
) -> torch.Tensor:
    """Which images are classified correctly, bool (N,) on the CPU.

    Raises:
        UsageError: a label out of range.
    """

    def logits_of(batch: torch.Tensor) -> torch.Tensor:
        return attacks.logits_of(model, batch.float())

    logits = predict(logits_of, images, batch_size=batch_size, device=device, mixed_precision=False)
    classes, low, high = logits.shape[1], int(labels.min()), int(labels.max())
    if classes < 2 or low < 0 or high >= classes:
        raise UsageError(f"labels must be 0..{classes - 1}, with at least 2 classes, got {low}..{high}")
    return logits.argmax(1).cpu() == labels.cpu()


def _require_request(
    layered: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    eps: Sequence[float],
    mode: str,
    batch_size: int,
    queries: int,
) -> JPEGLayer:
    if images.dim() != 4 or images.shape[3] != 3 or images.dtype != torch.uint8:
        raise UsageError(f"images must be uint8 (N, H, W, 3), got {images.dtype} {tuple(images.shape)}")
    if not len(images):
        raise UsageError("there are no images to attack")
    if tuple(labels.shape) != (len(images),) or labels.dtype != torch.int64:
        raise UsageError(f"labels must be int64 ({len(images)},), got {labels.dtype} {tuple(labels.shape)}")
    if mode not in JUDGES:
        raise UsageError(f"mode must be one of {', '.join(JUDGES)}, got {mode!r}")
    if batch_size < 1 or queries < 1:
        raise UsageError(f"batch_size and queries must be at least 1, got {batch_size} and {queries}")
    if not eps:
        raise UsageError("eps must not be empty")
    for radius in eps:
        attacks.require_eps(radius)
    return attacks.layer_of(layered)
