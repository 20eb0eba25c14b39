"""The results of probes, advice and the look at single images, as models: what pages and reports rely on. No torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, FailFast, Field

from toolkit.codecs.spec import parse_codec
from toolkit.runs.contents import Contents, Count, Number, Result


def _known_codec(spec: str) -> str:
    parse_codec(spec)
    return spec


CodecSpec = Annotated[str, AfterValidator(_known_codec)]
Positive = Annotated[Number, Field(gt=0)]
AtLeast0 = Annotated[Number, Field(ge=0)]


class Setting(Contents):
    """A row of the probe table."""

    codec: CodecSpec
    file_bytes: Positive
    stored_bytes: Positive
    bpp: AtLeast0
    ratio_raw: Positive
    ratio_original: AtLeast0
    exemplars: Count
    exemplars_per_class: AtLeast0
    equivalent_exemplars_raw: AtLeast0
    equivalent_exemplars_original: AtLeast0
    psnr: Number | None
    ssim: Number
    fmse_relative: AtLeast0
    cosine_distance: AtLeast0
    encode_us: AtLeast0
    decode_us: AtLeast0


class ProbeResult(Result):
    """The ``probe`` JSON."""

    dataset: str
    size: Annotated[int, Field(ge=1, le=2**20)]
    images: Count
    classes: Count
    extractor: str
    layer: str | None
    budget_bytes: Count
    original_file_bytes: Positive
    seconds: AtLeast0
    settings: Annotated[list[Setting], Field(min_length=1), FailFast()]


class ImageRow(Contents):
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
    class_: Annotated[str, Field(alias="class")]


class ImagesResult(Result):
    """The ``images`` JSON."""

    dataset: str
    size: Count
    codec: CodecSpec
    shared_bytes: AtLeast0
    explained: list[Number]
    images: Annotated[list[ImageRow], Field(min_length=1), FailFast()]
