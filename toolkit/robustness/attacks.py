"""Adversarial images within an L-infinity ball, from foolbox attacks.

A model is any module from float images (N, 3, H, W) in [0, 255] to logits (N, classes). Every attack takes a model,
images, labels int64 (N,), ``eps`` as a fraction of the pixel range, and a seed. It returns adversarial images within
``255 eps`` of the originals and within [0, 255]. The model is attacked in evaluation mode, without gradients on its
parameters, and restored afterwards. All attacks raise UsageError for invalid images, labels or ``eps``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import nn

from toolkit.foundation.errors import UsageError
from toolkit.jpeg.layer import JPEGLayer

SHORT_STEPS, LONG_STEPS = 5, 20
"""Steps of PGD: as in the JPEG-DL paper, and as in the attacks that circumvent the layer."""
QUERIES = 300
_COARSE = 8
_POPULATION = 6


def attack_names(*, layered: bool = True) -> tuple[str, ...]:
    """The attacks on a network with or without the layer, in report order."""
    return tuple(name for name in ATTACKS if layered or name != "bpda")


def fgsm(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float, seed: int = 0) -> torch.Tensor:
    """One step of ``eps`` along the sign of the gradient, without a random start (Goodfellow et al., ICLR 2015).

    Pixels with a gradient of exactly 0 do not change. ``seed`` is not used.
    """
    import foolbox

    return _descend(foolbox.attacks.LinfFastGradientAttack(), model, images, labels, eps, seed)


def pgd(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    eps: float,
    seed: int = 0,
    *,
    steps: int = SHORT_STEPS,
) -> torch.Tensor:
    """Steps of ``2.5 eps / steps`` along the sign of the gradient from a random start (Madry et al., ICLR 2018).

    The default is the setting of the JPEG-DL paper (arXiv 2410.07081).
    """
    import foolbox

    attack = foolbox.attacks.LinfPGD(rel_stepsize=2.5 / steps, steps=steps, random_start=True)
    return _descend(attack, model, images, labels, eps, seed)


def long_pgd(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float, seed: int = 0) -> torch.Tensor:
    """PGD with as many steps as ``bpda``, to separate the effect of more steps from that of better gradients."""
    return pgd(model, images, labels, eps, seed, steps=LONG_STEPS)


def bpda(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float, seed: int = 0, *, steps: int = LONG_STEPS
) -> torch.Tensor:
    """PGD with hard rounding and straight-through gradients in the layer (BPDA; Athalye et al., ICML 2018).

    The layer's mode is restored afterwards.

    Raises:
        UsageError: ``model`` is not a network behind a JPEG layer.
    """
    with in_mode(layer_of(model), "ste"):
        return pgd(model, images, labels, eps, seed, steps=steps)


def transfer(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    eps: float,
    seed: int = 0,
    *,
    source: nn.Module,
    steps: int = LONG_STEPS,
) -> torch.Tensor:
    """PGD on ``source``, as a transfer attack on ``model``, which itself is not used.

    A source with a JPEG layer is attacked with ``bpda``, because its own gradients may vanish.
    """
    attack = bpda if has_layer(source) else pgd
    return attack(source, images, labels, eps, seed, steps=steps)


def gradient_free(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    eps: float,
    seed: int = 0,
    *,
    queries: int = QUERIES,
) -> torch.Tensor:
    """Untargeted genetic search that uses logits only (GenAttack; Alzantot et al., GECCO 2019).

    It searches upsampled 8 x 8 perturbations. Among foolbox attacks it suits few queries and small bounds: on a
    ResNet-8 at 64 pixels and eps 4/255 it fools more images with 300 queries than HopSkipJump (Chen et al., S&P 2020),
    which uses labels only, with 1000. It is weaker than attacks with useful gradients, but needs none.

    Args:
        model, images, labels, eps, seed: as for every attack.
        queries: maximum number of model queries per image.
    """
    import foolbox

    _require(queries >= 1, f"queries must be at least 1, got {queries}")
    population = min(_POPULATION, queries)
    with _attackable(model, images, labels, eps), _seeded(seed, images.device):
        sides = (min(_COARSE, images.shape[2]), min(_COARSE, images.shape[3]))
        attack = foolbox.attacks.GenAttack(steps=queries // population, population=population, reduced_dims=sides)
        oracle = _Oracle(model, images, labels, eps).eval()
        target = foolbox.criteria.TargetedMisclassification(torch.ones_like(labels))
        with suppress(_AllFooled):
            attack.run(_foolbox_model(oracle, images.device), images / 255, target, epsilon=eps)
    return oracle.adversarial


ATTACKS: dict[str, Callable[..., torch.Tensor]] = {
    "fgsm": fgsm,
    "pgd": pgd,
    "pgd-20": long_pgd,
    "bpda": bpda,
    "transfer": transfer,
    "gradient-free": gradient_free,
}


def has_layer(model: nn.Module) -> bool:
    """Whether ``model`` is a network behind a JPEG layer, as :func:`toolkit.jpeg.layer.prepend` makes it."""
    return isinstance(getattr(model, "layer", None), JPEGLayer)


def layer_of(model: nn.Module) -> JPEGLayer:
    """The JPEG layer in front of a network.

    Raises:
        UsageError: there is none, or it takes images in [0, 1].
    """
    layer = getattr(model, "layer", None)
    if not isinstance(layer, JPEGLayer):
        raise UsageError(
            f"expected a network behind a JPEG layer (toolkit.jpeg.layer.prepend), got {type(model).__name__}"
        )
    _require(layer.pixel_range == 255, f"the JPEG layer must take pixels in [0, 255], got [0, {layer.pixel_range}]")
    return layer


@contextmanager
def in_mode(layer: JPEGLayer, mode: str) -> Iterator[None]:
    """Temporarily switch the layer to another mode."""
    before = layer.mode
    layer.mode = mode
    try:
        yield
    finally:
        layer.mode = before


@contextmanager
def frozen(*models: nn.Module) -> Iterator[None]:
    """Temporarily put models in evaluation mode without parameter gradients."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    trained = [(parameter, parameter.requires_grad) for model in models for parameter in model.parameters()]
    try:
        for module, _ in modes:
            module.training = False
        for parameter, _ in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, requires_grad in trained:
            parameter.requires_grad_(requires_grad)


def logits_of(model: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """float32 logits of float pixels, which are converted to the dtype of the model's parameters."""
    own = next((one.dtype for one in model.parameters() if one.is_floating_point()), pixels.dtype)
    return model(pixels.to(own)).float()


class _UnitInterval(nn.Module):
    """The model for images in [0, 1], as foolbox expects, with logits that always have a gradient, possibly zero."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = logits_of(self.model, x * 255)
        if x.requires_grad and not logits.requires_grad:  # a layer in hard mode; foolbox requires a gradient
            logits = logits + 0 * x.flatten(1).sum(1, keepdim=True)
        return logits


class _Oracle(nn.Module):
    """Answers queries with two classes, the true one and its strongest rival; stores images that fool the model.

    With two classes, a targeted attack becomes an untargeted one. Images that have fooled the model are not queried
    again.
    """

    def __init__(self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float) -> None:
        super().__init__()
        self.model, self.images, self.labels, self.eps = model, images, labels, eps
        self.adversarial = images.clone()
        self.fooled = torch.zeros_like(labels, dtype=torch.bool)

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, H, W) in [0, 1] to log-probabilities (N, 2) of the true class and its strongest rival."""
        todo = (~self.fooled).nonzero().flatten()
        pixels = within(x[todo] * 255, self.images[todo], self.eps)
        logits, labels = logits_of(self.model, pixels), self.labels[todo]
        wrong = logits.argmax(1) != labels
        self.adversarial[todo[wrong]] = pixels[wrong]
        self.fooled[todo[wrong]] = True
        if bool(self.fooled.all()):
            raise _AllFooled
        true = logits.gather(1, labels[:, None])
        rival = logits.scatter(1, labels[:, None], -torch.inf).amax(1, keepdim=True)
        answers = torch.tensor([-1.0, 0.0], device=x.device).repeat(len(x), 1)
        answers[todo] = torch.cat([true, rival], 1)
        return answers.log_softmax(1)


class _AllFooled(Exception):
    """Every image fools the model."""


def _descend(
    attack: Any, model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float, seed: int
) -> torch.Tensor:
    with _attackable(model, images, labels, eps), _seeded(seed, images.device):
        attacked = _foolbox_model(_UnitInterval(model).eval(), images.device)
        return within(attack.run(attacked, images / 255, labels, epsilon=eps).detach() * 255, images, eps)


def within(adversarial: torch.Tensor, images: torch.Tensor, eps: float) -> torch.Tensor:
    """``adversarial`` clipped to within ``255 eps`` of ``images`` and to [0, 255]."""
    reach = 255 * eps
    return torch.minimum(torch.maximum(adversarial, images - reach), images + reach).clamp(0, 255)


def _foolbox_model(model: nn.Module, device: torch.device) -> Any:
    import foolbox

    return foolbox.PyTorchModel(model, bounds=(0, 1), device=device)


@contextmanager
def _attackable(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float) -> Iterator[None]:
    require_eps(eps)
    shaped = images.dim() == 4 and images.shape[1] == 3 and len(images) > 0 and images.is_floating_point()
    _require(shaped, f"images must be float (N, 3, H, W) with N > 0, got {images.dtype} {tuple(images.shape)}")
    low, high = (float(bound) for bound in torch.aminmax(images))
    _require(low >= 0 and high <= 255, f"images must be in [0, 255], got [{low:g}, {high:g}]")
    fitting = tuple(labels.shape) == (len(images),) and labels.dtype == torch.int64
    _require(fitting, f"labels must be int64 ({len(images)},), got {labels.dtype} {tuple(labels.shape)}")
    with frozen(model), torch.enable_grad():
        yield


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators of torch and numpy, which foolbox uses, and restore them."""
    before = np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            np.random.seed(seed % (1 << 32))  # noqa: NPY002
            yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def require_eps(eps: float) -> None:
    """Require ``eps`` to be in (0, 1].

    Raises:
        UsageError: it is not.
    """
    _require(0 < eps <= 1, f"eps must be above 0 and at most 1 (4/255 is {4 / 255:.4f}), got {eps:g}")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise UsageError(otherwise)
