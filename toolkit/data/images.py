"""Any image file to one square RGB array; what cannot be read raises :class:`Unreadable` with the reason."""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 178_956_970
"""Pillow's own limit for decompression bombs: 2**30 bytes / 4 / 3, doubled (about 178 megapixels)."""


FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "TGA", "ICO", "PCX", "SGI")
"""What is tried: picture formats only. Pillow's EPS plugin, for one, would hand the file to another program."""


class Unreadable(ValueError):
    """A file that is not a whole, sane image."""


def decode(data: bytes, size: int) -> np.ndarray:
    """Decode an image file: EXIF orientation applied, RGB, shorter side scaled to ``size``, centre crop.

    Args:
        data: the file's bytes, in any format Pillow reads; of an animation the first frame is taken.
        size: side of the result in pixels.

    Returns:
        uint8 array of shape (size, size, 3).

    Raises:
        Unreadable: empty, truncated, not an image, or more than :data:`MAX_PIXELS` pixels.
    """
    if not data:
        raise Unreadable("empty file")
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Unreadable(f"{image.width} x {image.height} pixels, more than 178 megapixels")
            image.load()
            return square(to_rgb(image), size)
    except Unreadable:
        raise
    except Image.DecompressionBombError as error:
        raise Unreadable("more than 178 megapixels") from error
    except UnidentifiedImageError as error:
        raise Unreadable("not an image in a known format") from error
    except Exception as error:  # Pillow's plugins raise whatever their parsers meet: struct, value, syntax errors
        raise Unreadable(f"damaged: {error}") from error


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of :data:`FORMATS` that this build of Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def to_rgb(image: Image.Image) -> Image.Image:
    """An upright 8-bit RGB copy of ``image``.

    Transparency is laid over white; 16-bit samples are scaled to 8 bits by 255/65535 with rounding (Pillow's own
    conversion would clip them; 16-bit colour it has already cut to the upper byte, at most one level away);
    floating-point samples are taken as [0, 1] when none exceeds 1, else as [0, 255].
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image.convert("RGB")


def _to_eight_bits(samples: np.ndarray) -> np.ndarray:
    if np.issubdtype(samples.dtype, np.floating):
        scale = 255.0 if samples.max(initial=0.0) <= 1.0 else 1.0
        return np.clip(np.rint(samples * scale), 0, 255).astype(np.uint8)
    wide = samples.astype(np.int64)
    top = 65_535 if wide.max(initial=0) <= 65_535 else 2**31 - 1
    return np.clip((wide * 255 + top // 2) // top, 0, 255).astype(np.uint8)


def square(image: Image.Image, size: int) -> np.ndarray:
    """Scale the shorter side to ``size`` (bicubic, antialiased) and crop the centre; uint8 (size, size, 3)."""
    width, height = image.size
    shorter = min(width, height)
    scaled_width, scaled_height = (max(size, round(side * size / shorter)) for side in (width, height))
    left, top = (scaled_width - size) // 2, (scaled_height - size) // 2
    if shorter == size:
        return np.asarray(image.crop((left, top, left + size, top + size)))
    # Only what the crop keeps is scaled: a 1 x 100,000,000 image must not become a 32 x 3,200,000,000 one first.
    x, y = width / scaled_width, height / scaled_height
    box = (left * x, top * y, min(width, (left + size) * x), min(height, (top + size) * y))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box))


def square_array(pixels: np.ndarray, size: int) -> np.ndarray:
    """The same for pixels already decoded: uint8 of shape (H, W), (H, W, 1) or (H, W, 3)."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return square(Image.fromarray(pixels).convert("RGB"), size)
