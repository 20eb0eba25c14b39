"""One image coded with one codec, to show what the numbers of the probe table look like. Imports no torch."""

from __future__ import annotations

import io
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from toolkit.codecs.base import Codec, image_size
from toolkit.codecs.features import refuse_features
from toolkit.codecs.guide import needs_network
from toolkit.codecs.original import give_originals
from toolkit.codecs.psnr import psnr_of
from toolkit.codecs.spec import parse_codec
from toolkit.data.dataset import SourceImages
from toolkit.foundation.errors import UsageError
from toolkit.probe.contents import ImageRow


@dataclass(frozen=True)
class Inspection:
    """An image before and after a codec.

    Attributes:
        original, decoded: uint8 (H, W, 3).
        difference: the signed difference, amplified around mid-grey; uint8 (H, W, 3).
        stored_bytes: size of the payload, the cost of one exemplar.
        file_bytes: size as a standalone file with header.
        psnr: dB; infinite if no pixel differs.
    """

    original: np.ndarray
    decoded: np.ndarray
    difference: np.ndarray
    stored_bytes: int
    file_bytes: int
    psnr: float


def decode_images(
    spec: str, images: np.ndarray, rows: Sequence[ImageRow], originals: SourceImages | None = None
) -> np.ndarray:
    """Decoded images: taken from their rows of an ``images`` JSON if these have them, else coded here.

    Args:
        spec: a codec.
        images: uint8 (N, H, W, 3).
        rows: rows of these images.
        originals: their sources, for codecs that store those.

    Raises:
        UsageError: coding runs a network, and the rows have no decoded images; or it needs sources.
    """
    if rows and "decoded" in rows[0]:
        return np.stack([_from_png(row["decoded"]) for row in rows])
    codec = _codec(spec, originals)
    codec.fit(images[:1])
    return codec.decode(codec.encode(images), image_size(images))


def inspect_image(
    spec: str,
    image: np.ndarray,
    amplify: int = 8,
    row: ImageRow | None = None,
    originals: SourceImages | None = None,
) -> Inspection:
    """Code and decode one image.

    Args:
        spec: a codec.
        image: uint8 (H, W, 3).
        amplify: factor of the difference, which is clipped to black and white.
        row: the image's row of an ``images`` JSON, if there is one.
        originals: its source, for codecs that store that.

    Raises:
        UsageError: an invalid spec or image; coding runs a network and the row has no decoded image, or needs sources.
    """
    image = np.ascontiguousarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UsageError(f"an image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    if row is not None and "decoded" in row:
        decoded, stored, file = _from_png(row["decoded"]), int(row["stored_bytes"]), int(row["file_bytes"])
    else:
        codec = _codec(spec, originals)
        codec.fit(image[None])
        payload = codec.encode(image[None])[0]
        decoded, stored, file = codec.decode([payload])[0], len(payload), len(codec.to_file(payload))
    error = decoded.astype(np.int16) - image.astype(np.int16)
    return Inspection(
        original=image,
        decoded=decoded,
        difference=np.clip(128 + amplify * error, 0, 255).astype(np.uint8),
        stored_bytes=stored,
        file_bytes=file,
        psnr=float(psnr_of(image[None], decoded[None])[0]),
    )


def _codec(spec: str, originals: SourceImages | None) -> Codec:
    codec = parse_codec(spec)
    give_originals([codec], originals)
    refuse_features(codec, "a page of images")
    if needs_network(codec):
        raise UsageError(f"{spec} codes with a network, which pages do not run: measure its images first")
    return codec


def _from_png(text: str) -> np.ndarray:
    with Image.open(io.BytesIO(b64decode(text))) as image:
        return np.asarray(image)
