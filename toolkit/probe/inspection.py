"""One image through one codec: what the numbers of the probe table look like. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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


def inspect_image(spec: str, image: np.ndarray, amplify: int = 8) -> Inspection:
    """Code and decode one image.

    Args:
        spec: a codec.
        image: uint8 (H, W, 3).
        amplify: factor on the difference, which is cut at black and white.

    Raises:
        UsageError: a wrong spec or image.
    """
    image = np.ascontiguousarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UsageError(f"an image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    codec = parse_codec(spec)
    codec.fit(image[None])
    payload = codec.encode(image[None])[0]
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
