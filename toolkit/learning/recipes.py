"""Published settings by name, behind the usual reference numbers on CIFAR-100. Imports no torch.

PyCIL's settings (Zhou et al., 2021) of the iCaRL protocol: ResNet-32, batches of 128, SGD with momentum 0.9, crops
after padding by 4, flips, brightness jitter 63/255, classes in the order of NumPy's permutation with seed 1993, ten
stages of ten classes; exemplars and new images are drawn from one pool. Unless a method says otherwise, the first stage
takes 200 epochs (lr 0.1, divided by ten at 60, 120 and 170, weight decay 5e-4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.foundation.errors import UsageError


@dataclass(frozen=True)
class Published:
    """A recipe.

    Attributes:
        choices: fields of a pilot's configuration; the user's choices override them.
        seed: of the class order.
        departs: remaining differences between our run and the published one.
    """

    choices: Mapping[str, object]
    seed: int = 1993
    departs: str = ""


def _pycil(
    method: str,
    epochs: float,
    milestones: tuple[int, ...] = (),
    *,
    departs: str = "",
    changes: Mapping[str, object] | None = None,
) -> Published:
    """A PyCIL recipe; milestones are epochs of a later stage, ``changes`` the method's own settings."""
    choices: dict[str, object] = {
        "method": method,
        "size": 32,
        "network": "resnet32",
        "initial": 10,
        "increment": 10,
        "batch_size": 128,
        "lr": 0.1,
        "momentum": 0.9,
        "schedule": "milestones",
        "initial_epochs": 200.0,
        "initial_milestones": (60 / 200, 120 / 200, 170 / 200),
        "initial_weight_decay": 5e-4,
        "epochs": float(epochs),
        "milestones": tuple(epoch / epochs for epoch in milestones),
        "weight_decay": 2e-4,
        "brightness": 63 / 255,
        "memory_share": "natural",
    }
    return Published({**choices, **(changes or {})}, departs=departs)


_COSINE: dict[str, object] = {"schedule": "cosine", "milestones": (0.3, 0.6, 0.85), "weight_decay": 5e-4}

RECIPES: dict[str, Published] = {
    "pycil-finetune": _pycil("finetune", 80, (40, 70)),
    "pycil-replay": _pycil("replay", 70, (30, 50)),
    "pycil-icarl": _pycil("icarl", 170, (80, 120)),
    "pycil-bic": _pycil(
        "bic", 170, (60, 100, 140), departs="the correction takes a tenth of the steps instead of as many epochs again"
    ),
    "pycil-wa": _pycil("wa", 170, (60, 100, 140)),
    "pycil-podnet": _pycil(
        "podnet",
        180,
        departs="the paper's loss and finetuning; PyCIL has neither",
        changes={**_COSINE, "initial_epochs": 160.0},
    ),
    "pycil-der": _pycil("der", 170, (80, 120, 150)),
    "pycil-foster": _pycil(
        "foster", 300, departs="without AutoAugment, which the published numbers use", changes=_COSINE
    ),
    "pycil-memo": _pycil("memo", 170, (80, 120, 150)),
}


def published(name: str) -> Published:
    """The recipe of that name.

    Raises:
        UsageError: unknown name; the message lists the known ones.
    """
    if name not in RECIPES:
        raise UsageError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
