"""Requests for probes and for measurements of single images, and functions that carry them out."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic

from pydantic import Field

from toolkit.codecs.spec import expand_grid, parse_codec
from toolkit.codecs.store import require_larger_stores
from toolkit.data.catalog import short_name
from toolkit.foundation.image_size import written_size
from toolkit.foundation.progress import OnRow, Progress, ignore_row, silent
from toolkit.probe.contents import ImagesResult, ProbeResult, Setting
from toolkit.probe.presets import images_for, with_original
from toolkit.runs.choices import (
    Budget,
    Codec,
    Codecs,
    Dataset,
    Device,
    Extractor,
    InitialForStage0,
    Layer,
    Seed,
    Size,
    Strict,
)
from toolkit.runs.request import FieldsRequest, Outcome

if TYPE_CHECKING:
    from toolkit.data.dataset import ImageDataset
    from toolkit.features.extractor import FeatureExtractor


@dataclass(frozen=True)
class MeasuredRequest(FieldsRequest[Outcome], Generic[Outcome]):
    """A request that measures training images, perhaps with features of a named layer."""

    dataset: Dataset
    size: Size
    _: KW_ONLY
    layer: Layer = None
    initial: InitialForStage0 = None
    seed: Seed = 0
    device: Device = "auto"
    strict: Strict = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", written_size(self.size))


@dataclass(frozen=True)
class ProbeRequest(MeasuredRequest[ProbeResult]):
    """Everything that determines the result of a probe; see ``recallrate probe --help``."""

    kind: ClassVar[str] = "probe"
    results: ClassVar[Any] = ProbeResult
    rows: ClassVar[Any] = Setting
    said: ClassVar[tuple[str, ...]] = ("size", "codecs", "budget", "images")

    codecs: Codecs
    budget: Budget
    extractor: Extractor = "auto"
    images: Annotated[
        int | None,
        Field(
            ge=4,
            description="maximum number of training images, stratified; by default 1000 up to 96 px, 200 at 224 px",
        ),
    ] = None

    @property
    def sample_size(self) -> int:
        """Number of images to measure at most."""
        return images_for(self.size) if self.images is None else self.images

    def subject(self) -> str:
        return short_name(self.dataset)

    def settled(self) -> dict[str, object]:
        return self.contents() | {"codecs": expand_grid(self.codecs)}

    def run(self, progress: Progress = silent, on_row: OnRow = ignore_row) -> ProbeResult:
        return run_probe(self, progress, on_row)


@dataclass(frozen=True)
class ImagesRequest(MeasuredRequest[ImagesResult]):
    """Everything that determines the measurements of single images; see ``recallrate images --help``."""

    kind: ClassVar[str] = "images"
    results: ClassVar[Any] = ImagesResult
    said: ClassVar[tuple[str, ...]] = ("size", "codec", "images")

    codec: Codec
    extractor: Extractor = "auto"
    images: Annotated[int, Field(ge=2, description="maximum number of training images, stratified")] = 400

    def subject(self) -> str:
        return f"{short_name(self.dataset)}-{self.codec.partition(':')[0]}"

    def settled(self) -> dict[str, object]:
        return self.contents() | {"codec": str(parse_codec(self.codec))}

    def run(self, progress: Progress = silent, on_row: OnRow = ignore_row) -> ImagesResult:
        return run_images(self, progress)


def dataset_of(request: ProbeRequest | ImagesRequest, progress: Progress = silent) -> ImageDataset:
    """The request's dataset, after a check that its device exists.

    Raises:
        UsageError: no such dataset, size or device.
        WorkError: the dataset cannot be read.
    """
    # imported here so that the app can describe requests without loading torch
    from toolkit.data.catalog import load_dataset
    from toolkit.training.device import resolve_device

    resolve_device(request.device)
    return load_dataset(request.dataset, request.size, strict=request.strict, progress=progress)


def extractor_of(
    request: ProbeRequest | ImagesRequest, images: ImageDataset, progress: Progress = silent
) -> FeatureExtractor:
    """The request's feature extractor, trained on ``images`` if its kind requires training.

    Raises:
        UsageError: no such extractor.
    """
    from toolkit.features.extractor import build_extractor
    from toolkit.training.device import resolve_device

    return build_extractor(
        request.extractor,
        images,
        device=resolve_device(request.device),
        layer=request.layer,
        initial=request.initial,
        seed=request.seed,
        progress=progress,
    )


def run_probe(request: ProbeRequest, progress: Progress = silent, on_row: OnRow = ignore_row) -> ProbeResult:
    """The ``probe`` JSON for a request.

    Raises:
        UsageError: any part of the request is wrong.
        WorkError: the work failed.
    """
    from toolkit.memory.budget import budget_bytes
    from toolkit.probe.table import probe_codecs

    codecs = expand_grid(request.codecs)
    require_larger_stores(map(parse_codec, codecs), request.size)
    dataset = dataset_of(request, progress)
    budget = budget_bytes(request.budget, len(dataset.class_names), dataset.raw_image_bytes)
    return probe_codecs(
        dataset,
        with_original(codecs, dataset.has_files),
        budget=budget,
        extractor=extractor_of(request, dataset, progress),
        images=request.sample_size,
        seed=request.seed,
        progress=progress,
        on_row=on_row,
    )


def run_images(request: ImagesRequest, progress: Progress = silent) -> ImagesResult:
    """The ``images`` JSON for a request.

    Raises:
        UsageError: any part of the request is wrong.
        WorkError: the work failed.
    """
    from toolkit.probe.images import measure_images

    require_larger_stores([parse_codec(request.codec)], request.size)
    dataset = dataset_of(request, progress)
    extractor = extractor_of(request, dataset, progress)
    return measure_images(
        dataset, request.codec, extractor, images=request.images, seed=request.seed, progress=progress
    )
