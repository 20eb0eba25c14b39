"""Configuration of a pilot: every field that changes its result, validated. Imports no torch, for the app's sake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeGuard

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from toolkit.codecs.features import stores_features
from toolkit.codecs.guide import needs_guide
from toolkit.codecs.spec import parse_codec, short_spec
from toolkit.codecs.store import StoreCodec, require_larger_stores
from toolkit.data.alignment import Align
from toolkit.data.catalog import absolute_spec, short_name
from toolkit.features.names import require_extractor, resolve_extractor
from toolkit.foundation.documents import parse_json
from toolkit.foundation.errors import UsageError
from toolkit.foundation.image_size import WrittenSize, parse_image_size
from toolkit.foundation.sizes import parse_size
from toolkit.foundation.validation import digest, validated
from toolkit.learning.catalog import METHODS, MethodKind, canonical_method, parse_method
from toolkit.runs.choices import Budget, Codec, Dataset, Size
from toolkit.runs.request import readable
from toolkit.training.network_spec import (
    canonical_network,
    is_large,
    parse_network,
    starts_trained,
)


class PilotConfig(BaseModel):
    """One pilot, without its seed.

    Fields that begin with ``initial_`` apply to the first stage; None means the value of the other stages. With
    ``memory_share="natural"`` exemplars have their natural share of all images. ``extractor`` replaces ``network`` for
    methods on frozen features, and guides codecs that encode through a network. ``stage0`` and ``self`` are trained
    on the original images whatever the alignment, once for all codecs.

    ``align`` is explained at :data:`~toolkit.data.alignment.Align`. With ``held_out``, no test image is used: whoever
    chooses the best of several pilots by their test accuracy has no images left to measure the choice on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: Dataset
    size: Size = 32
    initial: int = Field(ge=1, description="classes in the first stage; a fifth of all by default")
    increment: int = Field(ge=1, description="classes in each later stage; as many as in the first by default")
    codec: Codec
    budget: Budget
    align: Align = Field("none", description="which other images pass through the codec: none, train or both")
    method: str = Field("replay", description=f"{', '.join(METHODS)}; with parameters: icarl:temperature=1")
    selection: Literal["herding", "random"] = Field("herding", description="herding or random")
    network: str = Field("auto", description="auto, resnet8|20|32|56, timm:NAME or checkpoint:PATH,network=NAME")
    tune: Literal["all", "last-block", "head"] = Field(
        "all", description="what is trained: all, last-block or head; frozen layers are computed once per image"
    )
    views: int = Field(1, ge=1, le=10, description="fixed flips and crops of each image, if layers are frozen")
    extractor: str = Field(
        "stage0", description="features of ncm and ridge: stage0, self, auto, timm:NAME or checkpoint:PATH"
    )
    steps: int = Field(200, ge=1, description="optimiser steps per stage")
    epochs: float | None = Field(None, gt=0, description="epochs per stage instead of steps")
    batch_size: int = Field(128, ge=2, description="images per step")
    initial_steps: int | None = Field(None, ge=1)
    initial_epochs: float | None = Field(None, gt=0)
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="sgd or adamw")
    lr: float = Field(0.1, gt=0, description="learning rate")
    backbone_lr: float = Field(1.0, gt=0, le=10)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    initial_weight_decay: float | None = Field(None, ge=0)
    schedule: Literal["cosine", "milestones", "constant"] = "cosine"
    milestones: tuple[float, ...] = (0.3, 0.6, 0.85)
    initial_milestones: tuple[float, ...] | None = None
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    augment: Literal["crop-flip", "resized-crop", "rand-augment"] = Field(
        "crop-flip", description="of images, unless layers are frozen: crop-flip, resized-crop or rand-augment"
    )
    brightness: float = Field(0.0, ge=0, lt=1)
    memory_share: Annotated[float, Field(gt=0, lt=1)] | Literal["natural"] = 0.5
    mixed_precision: bool = True
    compile: bool = False
    cuda_graphs: bool = False
    class_order: tuple[int, ...] | None = None
    held_out: bool = Field(False, description="test on a held-out fifth of the training images, for making choices")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto, cpu or cuda")
    checkpoint_every: int = Field(100, ge=1)

    @field_validator("dataset")
    @classmethod
    def _absolute(cls, dataset: str) -> str:
        """Make a path absolute, so that a run can be resumed from any folder."""
        return absolute_spec(dataset)

    @field_validator("network")
    @classmethod
    def _known_network(cls, network: str) -> str:
        return network if network == "auto" else str(parse_network(network))

    @field_validator("extractor")
    @classmethod
    def _known_extractor(cls, extractor: str) -> str:
        require_extractor(extractor)
        return str(parse_network(extractor)) if ":" in extractor else extractor

    @field_validator("codec")
    @classmethod
    def _canonical(cls, codec: str) -> str:
        return str(parse_codec(codec))

    @field_validator("method")
    @classmethod
    def _known(cls, method: str) -> str:
        return canonical_method(method)

    @field_validator("budget")
    @classmethod
    def _is_size(cls, budget: str) -> str:
        parse_size(budget, image_bytes=1000)  # 0.001img or more
        return budget

    @model_validator(mode="after")
    def _stores_enough(self) -> Self:
        require_larger_stores([parse_codec(self.codec)], self.size)
        return self

    @model_validator(mode="after")
    def _trains_something(self) -> Self:
        kind = parse_method(self.method)[0]
        self._require_frozen_layers(kind)
        if self.tune == "all" or kind.frozen:
            return self
        if not starts_trained(self.network):
            raise ValueError(
                f"tune={self.tune} freezes layers with random weights: take tune=all, or a network with trained "
                "weights, timm:NAME or checkpoint:PATH"
            )
        if self.tune == "head" and kind.trunk:
            raise ValueError(f"{kind.name} changes more than a head: take tune=last-block or all")
        return self

    def _require_frozen_layers(self, kind: MethodKind) -> None:
        """Refuse stored features if the layers that give them are trained, or if each image has several."""
        if not stores_features(parse_codec(self.codec)):
            return
        if kind.frozen and ":" not in self.extractor:
            raise ValueError(
                f"{self.codec} stores outputs of frozen layers, but {self.extractor} is trained: take an extractor "
                "timm:NAME or checkpoint:PATH"
            )
        if not kind.frozen and self.tune == "all":
            raise ValueError(
                f"{self.codec} stores outputs of frozen layers, but {kind.name} trains all of {self.network}: take "
                "tune=head or last-block, or an image codec"
            )
        if self.views > 1:
            raise ValueError(f"{self.codec} stores one view of an image: take views=1")

    def digest(self) -> str:
        """Eight hexadecimal digits that change with any field of the configuration."""
        return digest(self)

    def run_name(self, seed: int) -> str:
        """Name of the run folder: readable, and the same for the same configuration and seed."""
        words = f"{short_name(self.dataset)}-{short_spec(self.codec)}-{self.align}-{self.method}"
        return f"pilot-{readable(words, 80)}-{self.digest()}-s{seed}"


def tuned_part(config: PilotConfig) -> str:
    """What the pilot trains; ``head`` also for a method on the frozen features of an extractor from elsewhere."""
    if parse_method(config.method)[0].frozen:
        return "head" if ":" in config.extractor else "all"
    return config.tune


def cropped_side(config: PilotConfig) -> int | None:
    """Shorter side of the stored images of which batches have random crops; None if they have none of stored images."""
    codec = parse_codec(config.codec)
    crops = tuned_part(config) == "all" and config.augment != "crop-flip"
    return codec.side if crops and isinstance(codec, StoreCodec) else None


_ADAMW: Mapping[str, Any] = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.01, "steps": 50, "batch_size": 32}
FINE_TUNING: Mapping[str, Mapping[str, Any]] = {
    "head": {},
    "last-block": _ADAMW,
    "all": {"backbone_lr": 0.1, **_ADAMW},
}
"""Defaults for networks that start from trained weights, by what is trained; for the first two chosen by
``notebooks/studies/fine_tuning.py``."""
BY_NETWORK = ("tune", "extractor", "augment", *sorted(set().union(*FINE_TUNING.values())))
"""Fields whose defaults depend on the network and the size."""
DEFAULT_TUNE = "head"
"""What is trained by default of a network that starts from trained weights."""


def make_pilot_config(**values: object) -> PilotConfig:
    """A validated configuration, with the defaults that suit its network and its size written out.

    From 96 pixels on, ``network="auto"`` and an extractor that is not given become the pretrained network, and images
    are augmented as is usual for ImageNet where no layer is frozen.

    Raises:
        UsageError: a value is invalid; one line says which.
    """
    size, network = values.get("size", PilotConfig.model_fields["size"].default), values.get("network", "auto")
    if not _is_size(size) or not isinstance(network, str):
        return validated(PilotConfig, values)  # which refuses them
    frozen = _is_frozen(values.get("method", "replay"))
    if "extractor" not in values and (frozen or _is_guided(values.get("codec", "raw"))):
        values["extractor"] = resolve_extractor("auto", size)
    network = canonical_network(network, size)
    if starts_trained(network) and not frozen:
        values = {**fine_tuning(values.get("tune", DEFAULT_TUNE)), **values, "network": network}
    if is_large(size) and not frozen and values.get("tune", "all") == "all":
        values = {"augment": "resized-crop", **values}
    return validated(PilotConfig, values)


def _is_size(size: object) -> TypeGuard[WrittenSize]:
    """Whether a size is valid; others are refused later."""
    try:
        parse_image_size(size)
    except UsageError:
        return False
    return True


def _is_frozen(method: object) -> bool:
    """Whether a method uses the features of the extractor; False for an invalid one, which is refused later."""
    try:
        return parse_method(str(method))[0].frozen
    except UsageError:
        return False


def _is_guided(codec: object) -> bool:
    """Whether a codec encodes through the extractor; False for an invalid one, which is refused later."""
    try:
        return needs_guide(parse_codec(str(codec)))
    except UsageError:
        return False


def fine_tuning(tune: object) -> dict[str, Any]:
    """:data:`FINE_TUNING` of what is trained, with ``tune`` itself."""
    return {"tune": tune, **FINE_TUNING.get(str(tune), {})}


def parse_choices(assignments: Sequence[str], taken: Sequence[str] = ()) -> dict[str, Any]:
    """``["lr=0.05", "class_order=[1,0]"]`` as a dictionary; values are parsed as JSON if possible, else taken as text.

    Args:
        assignments: as given.
        taken: names that cannot be set this way.

    Raises:
        UsageError: no ``=``, or a name that is not a free field of a pilot.
    """
    free = [name for name in PilotConfig.model_fields if name not in taken]
    choices: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or name not in free:
            raise UsageError(f"--set takes NAME=VALUE with one of {', '.join(free)}, got {assignment!r}")
        try:
            choices[name] = parse_json(text)
        except ValueError:
            choices[name] = text
    return choices
