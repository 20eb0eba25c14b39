"""Decode any image file into an RGB array of a wanted size; unreadable files raise :class:`Unreadable`."""

from __future__ import annotations

import functools
import hashlib
import io
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import imagecodecs
import numpy as np
from PIL import Image, UnidentifiedImageError

from toolkit.data import formats
from toolkit.data.metadata import bare, orientation_of, upright
from toolkit.data.samples import Range, Tell, over_white, picture, unsaid
from toolkit.foundation.image_size import ImageSize, WrittenSize, parse_image_size
from toolkit.foundation.sizes import format_size

MAX_PIXELS = 178_956_970
"""Pillow's own limit for decompression bombs: 2**30 bytes / 4 / 3, doubled (about 178 megapixels)."""
MAX_DECODED_BYTES = 512 * 1024**2
"""Limit of one decoded image, checked from its header: 134 megapixels in colour, as Pillow uses four bytes each."""
_LARGE_BYTES = 64 * 1024**2
_large = threading.Lock()
"""Images larger than :data:`_LARGE_BYTES` are decoded one at a time, whatever the number of threads."""

DIGEST_BYTES = 16
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "TGA", "ICO", "PCX", "SGI")
"""Formats read with Pillow: raster formats only. Its EPS plugin, for example, would start another program."""
_ONE_BYTE = ("1", "L")
_SCALED_BY_PILLOW = ("PPM", "JPEG2000")
"""Formats whose wide samples Pillow scales to 16 bits."""
_WIDE = Range(0.0, 65_535.0)


_LONGEST = 16_383
"""Longest side of a whole image in pixels: the limit of WebP."""


class Unreadable(ValueError):
    """A file that is not a complete, valid image."""


class Whole(NamedTuple):
    """All of an image, scaled down until its shorter side has at most ``shorter`` pixels and all of it ``most``.

    The longer side has at most 16,383.
    """

    shorter: int
    most: int = MAX_PIXELS


Framing = WrittenSize | Whole
"""What is wanted of an image: the centre, of a size as in :mod:`toolkit.foundation.image_size`, or all of it."""


def decode_image(data: bytes, framing: Framing, tell: Tell = unsaid) -> np.ndarray:
    """Decode an image file: EXIF orientation applied, RGB, then :func:`framed`.

    Of the metadata, only the orientation is used; damaged metadata does not make an image unreadable.

    Args:
        data: the file's bytes, in any of :data:`FORMATS` or JPEG XL; an animation gives its first frame.
        framing: what is wanted of the image.
        tell: receives remarks for the user, such as a guessed sample range.

    Returns:
        uint8 array of shape (H, W, 3).

    Raises:
        Unreadable: empty, truncated, not an image, or more than :data:`MAX_PIXELS` or :data:`MAX_DECODED_BYTES`.
    """
    if not data:
        raise Unreadable("empty file")
    if formats.is_heic(data):
        raise Unreadable("HEIC is not supported: convert it to JPEG, PNG, AVIF or JPEG XL")
    try:
        if formats.is_jpeg_xl(data):
            header = formats.jpeg_xl_header(data)
            with _room_for(header):
                return framed(formats.read_jpeg_xl(data, tell), framing)
        return _decode_with_pillow(data, framing, tell)
    except Unreadable:
        raise
    except Image.DecompressionBombError as error:
        raise Unreadable("more than 178 megapixels") from error
    except UnidentifiedImageError as error:
        raise Unreadable("not an image in a known format") from error
    except Exception as error:  # Pillow's plugins raise struct, value, syntax and other errors
        raise Unreadable(f"damaged: {error}") from error


@functools.cache
def _formats() -> tuple[str, ...]:
    """The :data:`FORMATS` that this build of Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _decode_with_pillow(data: bytes, framing: Framing, tell: Tell) -> np.ndarray:
    """Decode a file as it is; if that fails, without its metadata, in case only the metadata is damaged."""
    try:
        return _decode_file(data, framing, tell)
    except Unreadable:
        raise
    except Exception:
        stripped, exif = bare(data)
        if stripped == data:
            raise
        try:
            return _decode_file(stripped, framing, tell, exif)
        except Exception:  # the error of the unchanged file is more informative
            pass
        raise


def _decode_file(data: bytes, framing: Framing, tell: Tell, exif: bytes = b"") -> np.ndarray:
    if (tiff := formats.wide_tiff(data)) is not None:
        with _room_for(tiff.header), suppress(imagecodecs.TiffError):  # Pillow may know the compression
            return framed(upright(tiff.read(tell), tiff.orientation), framing)
    _require_room(formats.icon_header(data))
    with Image.open(io.BytesIO(data), formats=_formats()) as image:
        wide = formats.is_wide_png(data)
        grey = image.mode in _ONE_BYTE and "transparency" not in image.info
        pixel_bytes = 8 if wide or _is_wide(image) else 1 if grey else 4
        with _room_for(formats.Header(image.width, image.height, pixel_bytes)):
            if wide:
                return framed(upright(formats.read_wide_png(data, tell), orientation_of(image, exif)), framing)
            image.load()
            return framed(upright(_eight_bit(image, tell), orientation_of(image, exif)), framing)


@contextmanager
def _room_for(header: formats.Header) -> Iterator[None]:
    """Refuse an oversized image; delay a large one until no other is being decoded.

    Raises:
        Unreadable: the image is oversized.
    """
    if _require_room(header) <= _LARGE_BYTES:
        yield
        return
    with _large:
        yield


def _require_room(header: formats.Header) -> int:
    """Decoded bytes of an image, unless it is oversized."""
    pixels = header.width * header.height
    if pixels > MAX_PIXELS:
        raise Unreadable(f"{header.width} x {header.height} pixels, more than 178 megapixels")
    if (decoded := pixels * max(1, header.pixel_bytes)) > MAX_DECODED_BYTES:
        raise Unreadable(
            f"{header.width} x {header.height} pixels, {format_size(decoded)} decoded, "
            f"more than {format_size(MAX_DECODED_BYTES)}"
        )
    return decoded


def image_pixels(data: bytes) -> int:
    """Number of pixels of an image file, from its header.

    Raises:
        Unreadable: it is not an image.
    """
    try:
        if formats.is_jpeg_xl(data):
            header = formats.jpeg_xl_header(data)
            return header.width * header.height
        if (tiff := formats.wide_tiff(data)) is not None:
            return tiff.header.width * tiff.header.height
        try:
            return _pixels_by_pillow(data)
        except Exception:
            return _pixels_by_pillow(bare(data)[0])  # in case only the metadata is damaged
    except Exception as error:  # Pillow's plugins raise struct, value, syntax and other errors
        raise Unreadable(f"damaged: {error}") from error


def _pixels_by_pillow(data: bytes) -> int:
    with Image.open(io.BytesIO(data), formats=_formats()) as image:
        return image.width * image.height


def to_rgb(image: Image.Image, tell: Tell = unsaid) -> Image.Image:
    """An upright 8-bit RGB copy of ``image``.

    Transparent images are composited over white; samples wider than 8 bits are scaled by the rule of
    :func:`toolkit.data.samples.sample_range`.
    """
    return upright(_eight_bit(image, tell), orientation_of(image)).convert("RGB")


def _is_wide(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _eight_bit(image: Image.Image, tell: Tell) -> Image.Image:
    """An 8-bit copy in ``L`` or ``RGB``, without applying the orientation."""
    if _is_wide(image):
        declared = _WIDE if image.format in _SCALED_BY_PILLOW else None
        return picture(np.asarray(image), declared=declared, bits=_declared_bits(image), tell=tell)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return over_white(image.convert("RGBA"))
    return image.convert("L" if image.mode in _ONE_BYTE else "RGB")


def _declared_bits(image: Image.Image) -> int | None:
    """The bits per sample declared by a TIFF file."""
    bits = getattr(image, "tag_v2", {}).get(258)
    return max(bits) if bits else None


def framed(image: Image.Image, framing: Framing) -> np.ndarray:
    """What is wanted of an image, uint8 (H, W, 3): the centre, after scaling it to just cover the size, or all of it.

    Scaling is bicubic and antialiased; all of an image is never enlarged.
    """
    return _whole(image, framing) if isinstance(framing, Whole) else _centre(image, parse_image_size(framing))


def _whole(image: Image.Image, wanted: Whole) -> np.ndarray:
    least = min(image.size)
    width, height = image.size
    if least > wanted.shorter:
        width, height = (round(side * wanted.shorter / least) for side in image.size)
    factor = min(math.sqrt(wanted.most / (width * height)), _LONGEST / max(width, height))
    if factor < 1:  # a panorama
        width, height = max(1, int(width * factor)), max(1, int(height * factor))
        width = min(width, max(1, wanted.most // height))
        height = min(height, max(1, wanted.most // width))
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image.convert("RGB"))


def _centre(image: Image.Image, wanted: ImageSize) -> np.ndarray:
    width, height = image.size
    new, old = (wanted.height, height) if wanted.height * width >= wanted.width * height else (wanted.width, width)
    scaled_width = max(wanted.width, round(width * new / old))
    scaled_height = max(wanted.height, round(height * new / old))
    left, top = (scaled_width - wanted.width) // 2, (scaled_height - wanted.height) // 2
    right, bottom = left + wanted.width, top + wanted.height
    if new == old:
        return np.asarray(image.crop((left, top, right, bottom)).convert("RGB"))
    # scale only the cropped region: a 1 x 100,000,000 image must not become 32 x 3,200,000,000 first
    x, y = width / scaled_width, height / scaled_height
    box = (left * x, top * y, min(width, right * x), min(height, bottom * y))
    return np.asarray(image.resize((wanted.width, wanted.height), Image.Resampling.BICUBIC, box).convert("RGB"))


def framed_array(pixels: np.ndarray, framing: Framing) -> np.ndarray:
    """Like :func:`framed`, for decoded pixels: uint8 of shape (H, W), (H, W, 1) or (H, W, 3)."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return framed(Image.fromarray(pixels), framing)


def content_digest(image: np.ndarray) -> bytes:
    """A hash of the pixels of an image, uint8 (H, W, 3), of :data:`DIGEST_BYTES` bytes."""
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=DIGEST_BYTES).digest()


def png_bytes(image: np.ndarray | Image.Image, optimize: bool = False) -> bytes:
    """An image, uint8 (H, W, 3) or (H, W), as a PNG file; ``optimize`` takes longer and saves bytes."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, "PNG", optimize=optimize)
    return file.getvalue()
