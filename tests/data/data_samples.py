"""Small images, folders and archives made for the data tests."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def noise(seed: int, height: int = 16, width: int = 16) -> np.ndarray:
    """Independent random pixels: uint8 (height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: Image.Image | np.ndarray, file_format: str = "PNG", **options: Any) -> bytes:
    """The image as a file in memory."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def write_files(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write each path under ``root``."""
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """A deflated zip of the files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def pngs(counts: Mapping[str, int], side: int = 16, seed: int = 0) -> dict[str, bytes]:
    """PNG files with different noise: ``{"train/cat": 3}`` gives ``train/cat/0.png`` to ``train/cat/2.png``."""
    names = [f"{folder}/{number}.png" for folder, count in counts.items() for number in range(count)]
    return {name: encoded(noise(seed + index, side, side)) for index, name in enumerate(names)}


def pixels_of(data: bytes) -> np.ndarray:
    """The pixels of an RGB file, decoded by Pillow alone."""
    return np.asarray(Image.open(io.BytesIO(data)))


def files_under(folder: Path) -> list[Path]:
    """Every file under ``folder``, which may be missing."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_by_hand(samples: np.ndarray, colour_type: int, width: int, height: int, extra: bytes = b"") -> bytes:
    """A PNG built by its specification: filter byte 0 before each row of big-endian samples."""
    header = struct.pack(">IIBBBBB", width, height, 8 * samples.dtype.itemsize, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(samples.dtype.newbyteorder(">")).tobytes() for row in samples)
    chunks = [png_chunk(b"IHDR", header), extra, png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
