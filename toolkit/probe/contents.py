"""Contracts of the ``probe`` and ``images`` JSON, which pages, reports and advice rely on. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mode
from typing import Annotated, NotRequired

from pydantic import AfterValidator, FailFast, Field
from typing_extensions import TypedDict

from toolkit.codecs.spec import parse_codec
from toolkit.foundation.image_size import WrittenSize
from toolkit.runs.contents import Contents, Count, Number, Result


def _known_codec(spec: str) -> str:
    parse_codec(spec)
    return spec


CodecSpec = Annotated[str, AfterValidator(_known_codec)]
Positive = Annotated[Number, Field(gt=0)]
AtLeast0 = Annotated[Number, Field(ge=0)]


class Setting(Contents):
    """A row of the probe table: one codec setting.

    Bytes and microseconds are means per image; ``shared_bytes`` and ``weights_bytes`` are charged once. ``pixels`` is
    the mean number stored per image, more than the images have if their sources are kept, None for features; ``bpp``
    relates to these.
    ``ratio_original`` relates the bytes of a source file to those stored, whatever their pixels. ``psnr`` is in dB; it
    and ``ssim`` are None for a setting that stores no images. ``fmse_relative_ci95`` is the half width of the 95 %
    interval of ``fmse_relative`` for all training images. ``cka`` is None if it is not finite.
    """

    codec: CodecSpec
    file_bytes: Positive
    stored_bytes: Positive
    shared_bytes: NotRequired[int]
    weights_bytes: NotRequired[int]
    pixels: NotRequired[Positive | None]
    bpp: AtLeast0
    ratio_raw: Positive
    ratio_original: AtLeast0
    exemplars: Count
    exemplars_per_class: AtLeast0
    equivalent_exemplars_raw: AtLeast0
    equivalent_exemplars_original: AtLeast0
    psnr: Number | None
    ssim: Number | None
    fmse: NotRequired[float]
    fmse_relative: AtLeast0
    fmse_relative_ci95: NotRequired[AtLeast0]
    cosine_distance: AtLeast0
    cka: NotRequired[float | None]
    encode_us: AtLeast0
    decode_us: AtLeast0


def figure_of(setting: Setting, name: str) -> float | None:
    """A numeric field of a row by its name; None if it has no value."""
    values: Mapping[str, object] = setting
    value = values.get(name)
    return value if isinstance(value, (int, float)) else None


def pixels_left_out(settings: Sequence[Setting]) -> float | None:
    """How many times the pixels of most other settings the source files have; None if less than 1.1, or unknown."""
    pixels: dict[bool, list[float]] = {True: [], False: []}
    for row in settings:
        if (found := row.get("pixels")) is not None:
            pixels[row["codec"].partition(":")[0] == "original"].append(found)
    files, others = (mode(own) if own else 0.0 for own in pixels.values())
    return files / others if files >= 1.1 * others > 0 else None


class ProbeResult(Result):
    """The ``probe`` JSON.

    ``original_file_bytes`` is the mean size of the images' own files; ``encoder`` names the versions of the libraries.
    """

    dataset: str
    size: WrittenSize
    images: Count
    classes: Count
    extractor: str
    layer: str | None
    budget_bytes: Count
    original_file_bytes: Positive
    seed: NotRequired[int]
    seconds: AtLeast0
    codec_cpu_seconds: NotRequired[float]
    network_seconds: NotRequired[float]
    encoder: NotRequired[str]
    settings: Annotated[list[Setting], Field(min_length=1), FailFast()]


_Class = TypedDict("_Class", {"class": str})  # the key is a reserved word


class ImageRow(Contents, _Class):
    """One image of the ``images`` JSON.

    ``index`` refers to the training split. ``psnr`` is in dB, None for an image without error. ``fmse_relative`` is
    relative to the mean square of all originals' features, so the mean over rows is the probe's. ``x`` and ``y``,
    ``decoded_x`` and ``decoded_y`` are coordinates of the original and the decoded image in the plane of the originals'
    first two principal components. ``decoded`` is the decoded image as base64 PNG, present if coding runs a network,
    because pages run none.
    """

    index: Count
    stored_bytes: AtLeast0
    file_bytes: AtLeast0
    psnr: Number | None
    ssim: Number
    fmse: AtLeast0
    fmse_relative: AtLeast0
    x: Number
    y: Number
    decoded_x: Number
    decoded_y: Number
    decoded: NotRequired[str]


class ImagesResult(Result):
    """The ``images`` JSON; ``explained`` is the share of variance of the two principal components."""

    dataset: str
    size: WrittenSize
    codec: CodecSpec
    extractor: NotRequired[str]
    layer: NotRequired[str | None]
    shared_bytes: AtLeast0
    seed: NotRequired[int]
    explained: list[Number]
    images: Annotated[list[ImageRow], Field(min_length=1), FailFast()]
