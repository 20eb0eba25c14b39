"""``learned-jpeg``: ordinary JPEG files with quantisation tables from a file.

libjpeg rounds every coefficient to its nearest index. For the other roundings, the indices are chosen here and decoded
to pixels for Pillow, so that the rounding of libjpeg gives the same indices::

    pixels -> YCbCr -> DCT -> indices -> steps x indices -> inverse DCT -> pixels -> Pillow -> file

8-bit pixels cannot represent all indices: those at steps of 1 or 2, and colours outside the RGB cube, may change.
"""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

from toolkit.codecs.file_formats import ENTROPY, SHARE, SUBSAMPLING, FileCodec, chroma_subsampling, jpeg_packing
from toolkit.codecs.headers import jpeg_size
from toolkit.codecs.jpeg_tables import DIGEST_DIGITS, QuantisationTables, read_tables
from toolkit.codecs.kind import CodecKind
from toolkit.codecs.lossless_jpeg.frame import BASELINE, segments
from toolkit.data.grey import three_channels
from toolkit.foundation.errors import UsageError
from toolkit.foundation.parameters import Parameter, Value

ROUNDINGS = ("nearest", "deadzone", "sample")
_NEEDED = {"deadzone": "dead_zone", "sample": "alpha"}
"""The part of the table file that a rounding needs."""
_SAMPLED_LEVELS = np.arange(-2, 3)
_YCBCR = np.array(
    [
        [0.299, 0.587, 0.114],
        [-0.299 / 1.772, -0.587 / 1.772, 0.5],
        [0.5, -0.587 / 1.402, -0.114 / 1.402],
    ]
)
"""Full-range BT.601 as in JFIF, without the chroma offset of 128."""
_RGB = np.linalg.inv(_YCBCR)
_DCT = np.sqrt(2 / 8) * np.cos(np.pi / 16 * np.outer(np.arange(8), 2 * np.arange(8) + 1))
_DCT[0] = np.sqrt(1 / 8)
"""Orthonormal DCT-II: faster for 8 x 8 blocks than scipy.fft, which is also slow to import."""
_SIZE = struct.Struct(">HH")

Choose = Callable[[np.ndarray, int], np.ndarray]
"""Maps coefficients (N, rows, columns, 8, 8) and 0 for luma or 1 for chroma to indices of the same shape."""


def nearest_beyond_dead_zone(coefficients: np.ndarray, steps: np.ndarray, dead_zone: np.ndarray) -> np.ndarray:
    """Index 0 below the threshold ``dead_zone`` in steps, else the nearest index.

    Args:
        coefficients: float (..., 8, 8).
        steps: (8, 8).
        dead_zone: (8, 8), at least 0.5, so that the nearest index beyond it is not 0.
    """
    scaled = np.abs(coefficients) / steps
    return np.sign(coefficients) * np.where(scaled < dead_zone, 0, np.floor(scaled + 0.5))


def sampled(coefficients: np.ndarray, steps: np.ndarray, alpha: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Indices drawn with probability proportional to exp(-alpha (z - index x step)^2) from the 5 nearest.

    Args:
        coefficients: float (..., 8, 8), z.
        steps, alpha: (8, 8).
        random: draws one number per coefficient.
    """
    levels = np.rint(coefficients / steps)[..., None] + _SAMPLED_LEVELS
    distances = np.square(coefficients[..., None] - levels * steps[..., None])
    # relative to the nearest level, so that the largest weight is 1 at any sharpness
    likely = np.exp(-alpha[..., None] * (distances - distances.min(axis=-1, keepdims=True))).cumsum(axis=-1)
    drawn = random.random(coefficients.shape)[..., None] * likely[..., -1:]
    return np.take_along_axis(levels, (drawn >= likely).sum(axis=-1, keepdims=True), axis=-1)[..., 0]


def encode_with_tables(image: np.ndarray, tables: QuantisationTables, subsampling: str, rounding: str) -> bytes:
    """A baseline JPEG file.

    Args:
        image: uint8 (H, W, 3), or (H, W) if grey.
        tables: steps, and the part that ``rounding`` needs.
        subsampling: ``420`` or ``444``.
        rounding: one of :data:`ROUNDINGS`; ``sample`` is seeded by the pixels.
    """
    grey = image.ndim == 2
    if grey:
        subsampling = "444"
    if rounding == "nearest":
        return _write(image, tables, subsampling)
    height, width = image.shape[:2]
    if grey:
        image = three_channels(image)
    cell = 16 if subsampling == "420" else 8
    padded = np.pad(image, ((0, -height % cell), (0, -width % cell), (0, 0)), mode="edge")
    pixels = _quantised_pixels(padded, tables, subsampling, _chooser(tables, rounding, image), (height, width))
    return _resized(_write(pixels[..., 0] if grey else pixels, tables, subsampling), height, width)


def _chooser(tables: QuantisationTables, rounding: str, image: np.ndarray) -> Choose:
    steps = tables.steps
    if rounding == "deadzone":
        dead_zone = tables.dead_zone
        assert dead_zone is not None
        return lambda coefficients, table: nearest_beyond_dead_zone(coefficients, steps[table], dead_zone[table])
    alpha = tables.alpha
    assert alpha is not None
    random = np.random.default_rng(zlib.crc32(image.tobytes()))
    return lambda coefficients, table: sampled(coefficients, steps[table], alpha[table], random)


def _quantised_pixels(
    padded: np.ndarray, tables: QuantisationTables, subsampling: str, choose: Choose, size: tuple[int, int]
) -> np.ndarray:
    """The pixels, uint8 (H, W, 3), decoded from the chosen indices; ``size`` is the image size before padding."""
    planes = np.moveaxis((padded.astype(np.float64) - 128) @ _YCBCR.T, -1, 0)
    luma, chroma = planes[:1], planes[1:]
    halved = subsampling == "420"
    if halved:
        _, height, width = chroma.shape
        chroma = chroma.reshape(2, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    indices = [choose(_coefficients(plane), table) for table, plane in enumerate((luma, chroma))]
    _blank_outside(indices[0][0], *(-(-side // 8) for side in size))
    luma, chroma = (_plane(index * step) for index, step in zip(indices, tables.steps, strict=True))
    if halved:
        chroma = chroma.repeat(2, axis=1).repeat(2, axis=2)
    rgb = np.moveaxis(np.concatenate([luma, chroma]), 0, -1) @ _RGB.T + 128
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def _coefficients(planes: np.ndarray) -> np.ndarray:
    """Orthonormal 8 x 8 DCT: (N, H, W) to (N, H / 8, W / 8, 8, 8)."""
    count, height, width = planes.shape
    blocks = planes.reshape(count, height // 8, 8, width // 8, 8).swapaxes(2, 3)
    return _DCT @ blocks @ _DCT.T


def _plane(coefficients: np.ndarray) -> np.ndarray:
    """The inverse of :func:`_coefficients`."""
    count, rows, columns = coefficients.shape[:3]
    blocks = _DCT.T @ coefficients @ _DCT
    return blocks.swapaxes(2, 3).reshape(count, 8 * rows, 8 * columns)


def _blank_outside(indices: np.ndarray, rows: int, columns: int) -> None:
    """Set luma blocks outside the image, which occur with 4:2:0, to the cheapest values, as libjpeg does.

    They get no AC, and the DC of the previous block in coding order. ``indices`` (R, C, 8, 8) is changed in place.
    """
    if columns < indices.shape[1]:
        indices[:, columns] = 0
        indices[:, columns, 0, 0] = indices[:, columns - 1, 0, 0]
    if rows < indices.shape[0]:
        indices[rows] = 0
        indices[rows, :, 0, 0] = indices[rows - 1, 1::2, 0, 0].repeat(2)


def _write(image: np.ndarray, tables: QuantisationTables, subsampling: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(
        file,
        "JPEG",
        qtables=[table.ravel().tolist() for table in (tables.luma, tables.chroma)[: 1 + (image.ndim == 3)]],
        subsampling={"444": 0, "420": 2}[subsampling],
        optimize=False,  # headers are shared, so individual Huffman tables would cost more than they save
    )
    return file.getvalue()


def _resized(file: bytes, height: int, width: int) -> bytes:
    """The file with another size of the same number of blocks in its frame header, so that decoders crop padding."""
    at = next(start for marker, start, _ in segments(file) if marker == BASELINE)
    return file[: at + 5] + _SIZE.pack(height, width) + file[at + 9 :]


def _open(path: str, rounding: str, digest: str | None = None) -> QuantisationTables:
    """Read the table file and check it for the rounding.

    Raises:
        UsageError: a missing or invalid file, tables with another digest, or without what the rounding needs.
    """
    try:
        tables = read_tables(path)
    except UsageError as error:
        where = "learned-jpeg can only decode here" if digest else "learned-jpeg"
        raise UsageError(f"{where}: {error}") from error
    if digest not in (None, tables.digest):
        raise UsageError(
            f"learned-jpeg: {path} contains other tables ({tables.digest}) than digest={digest}: "
            "restore the file, or remove digest to use these tables"
        )
    needed = _NEEDED.get(rounding)
    if needed and getattr(tables, needed) is None:
        raise UsageError(f"learned-jpeg: rounding={rounding} needs {needed} in the tables, but {path} has none")
    return tables


def _learned_jpeg(
    subsampling: str,
    rounding: str,
    entropy: str,
    shared: bool,
    tables: str | None = None,
    digest: str | None = None,
) -> FileCodec:
    """Without ``digest`` the tables are read now, otherwise on first encoding; decoding does not need them."""
    if tables is None:
        raise UsageError("learned-jpeg needs tables=FILE: write one with recallrate jpeg export RUN -o tables.json")
    opened = functools.cache(functools.partial(_open, tables, rounding, digest))
    values: dict[str, Value | None] = {
        "tables": tables,
        "digest": digest or opened().digest,
        "subsampling": subsampling,
        "rounding": rounding,
        "entropy": entropy if shared else None,
        "shared": shared,
    }

    def write(image: np.ndarray) -> bytes:
        return encode_with_tables(image, opened(), chroma_subsampling(subsampling, image), rounding)

    return FileCodec(
        LEARNED_JPEG,
        values,
        write,
        imagecodecs.jpeg8_decode,
        jpeg_size,
        extension="jpg",
        grey=True,
        slow=rounding != "nearest" or (shared and entropy == "context"),
        packing=jpeg_packing(entropy),
    )


def _check(tables: str, rounding: str, digest: str, **_: Value) -> None:
    _open(tables, rounding, digest)


LEARNED_JPEG = CodecKind(
    "learned-jpeg",
    "baseline JPEG with tables from a file",
    _learned_jpeg,
    {
        "tables": Parameter(Path, help="a table file; specs store its absolute path"),
        "digest": Parameter(
            str,
            pattern=rf"[0-9a-f]{{{DIGEST_DIGITS}}}",
            words=f"{DIGEST_DIGITS} hexadecimal digits",
            help="digest of the tables; added automatically",
        ),
        "subsampling": SUBSAMPLING,
        "rounding": Parameter(str, "nearest", choices=ROUNDINGS, help="how coefficients are rounded to indices"),
        "entropy": ENTROPY,
        "shared": SHARE,
    },
    check=_check,
)
