"""One image through one codec: what the numbers of the probe table look like. No torch here."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.codecs.base import Codec
from toolkit.codecs.spec import parse_codec
from toolkit.foundation.errors import UsageError


@dataclass(frozen=True)
class Inspection:
    """An image before and after a codec.

    Attributes:
        original, decoded: uint8 (H, W, 3).
        difference: the signed difference, amplified around mid-grey; uint8 (H, W, 3).
        stored_bytes: payload, what one exemplar costs.
        file_bytes: as a file of its own, header and all.
        psnr: dB; infinite when no pixel differs.
    """

    original: np.ndarray
    decoded: np.ndarray
    difference: np.ndarray
    stored_bytes: int
    file_bytes: int
    psnr: float


def decode_images(
    spec: str, images: np.ndarray, rows: Sequence[Mapping[str, Any]], result: Mapping[str, Any] | None
) -> np.ndarray:
    """Images as decoded: from the payloads in their rows where there are some, else encoded here.

    Args:
        spec: a codec.
        images: uint8 (N, H, W, 3).
        rows: of these images in ``result``.
        result: an ``images`` JSON.

    Raises:
        UsageError: a codec that encodes through a network, and rows without payloads.
    """
    codec, payloads = _coded(spec, images, rows, result)
    return codec.decode(payloads)


def _coded(
    spec: str, images: np.ndarray, rows: Sequence[Mapping[str, Any]], result: Mapping[str, Any] | None
) -> tuple[Codec, list[bytes]]:
    codec = parse_codec(spec)
    if result is not None and "shared_state" in result and rows:
        codec.load_shared(b64decode(result["shared_state"]))
        return codec, [b64decode(row["payload"]) for row in rows]
    codec.fit(images[:1])
    return codec, codec.encode(images)


def inspect_image(
    spec: str,
    image: np.ndarray,
    amplify: int = 8,
    row: Mapping[str, Any] | None = None,
    result: Mapping[str, Any] | None = None,
) -> Inspection:
    """Code and decode one image.

    Args:
        spec: a codec.
        image: uint8 (H, W, 3).
        amplify: factor on the difference, which is cut at black and white.
        row, result: see :func:`decode_images`.

    Raises:
        UsageError: a wrong spec or image, or a codec that encodes through a network, and no payload in the row.
    """
    image = np.ascontiguousarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UsageError(f"an image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    codec, (payload,) = _coded(spec, image[None], [row] if row is not None else [], result)
    decoded = codec.decode([payload])[0]
    error = decoded.astype(np.int16) - image.astype(np.int16)
    return Inspection(
        original=image,
        decoded=decoded,
        difference=np.clip(128 + amplify * error, 0, 255).astype(np.uint8),
        stored_bytes=len(payload),
        file_bytes=len(codec.to_file(payload)),
        psnr=float(psnr_of(image[None], decoded[None])[0]),
    )


def psnr_of(originals: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each image in dB, infinite where no pixel differs; float64 (N,).

    Args:
        originals, decoded: uint8 (N, H, W, 3).
    """
    errors = decoded.astype(np.float64) - originals
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(255**2 / np.square(errors).mean(axis=(1, 2, 3))))
