"""On-disk cache of a whole coded split, reused by pilots with other seeds and alignments."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np

from toolkit.codecs.base import Codec, image_size
from toolkit.codecs.encoders import encoder_versions
from toolkit.codecs.features import stores_features
from toolkit.codecs.guide import guide_digest
from toolkit.codecs.original import sources_digest
from toolkit.foundation.errors import WorkError, one_line
from toolkit.foundation.files import build_folder, cache_root, write_atomically
from toolkit.foundation.progress import Progress, silent

_CHUNK = 256
_FORMAT = 3
"""Increment when payloads change for the same spec and shared state."""


@dataclass(frozen=True)
class CodedImages:
    """Encoded versions of N images, and decoded ones on demand.

    Attributes:
        codec: decodes them.
        originals: uint8 (N, H, W, 3), the images before coding.
        ends: int64 (N,), end of each payload in ``stream``.
        stream: uint8 (total bytes,), the concatenated payloads, a read-only memory map.
        folder: of the cache.
    """

    codec: Codec
    originals: np.ndarray
    ends: np.ndarray
    stream: np.ndarray
    folder: Path

    def payload(self, index: int) -> bytes:
        """The payload of one image."""
        start = self.ends[index - 1] if index else 0
        return self.stream[start : self.ends[index]].tobytes()

    def images(self, indices: np.ndarray) -> np.ndarray:
        """Decoded images, uint8 (K, H, W, 3), of int64 (K,) ``indices``; of a lossless codec the images themselves.

        For images that are used once: decoded now, unless a copy has been kept, or a network decodes them slowly.
        """
        if self.codec.lossless:
            return np.asarray(self.originals[indices])
        if self._copy.exists() or self.codec.weights_bytes():
            return np.asarray(self.decoded[indices])
        payloads = [self.payload(int(index)) for index in indices]
        shape = (len(payloads), *self.originals.shape[1:])
        return self.codec.decode(payloads, image_size(self.originals)) if payloads else np.empty(shape, np.uint8)

    @cached_property
    def decoded(self) -> np.ndarray:
        """All decoded images, uint8 (N, H, W, 3), a read-only memory map of a copy on disk, which is kept.

        For images that are used many times. Of a lossless codec, the images themselves; stored features, float32.

        Raises:
            WorkError: the copy cannot be written.
        """
        if self.codec.lossless:
            return self.originals
        if stores_features(self.codec):  # decoded in no time
            return self.images(np.arange(len(self.ends)))
        if not self._copy.exists():
            write_atomically(self._copy, self._write_decoded)
        with _damage_named(self.folder):
            return np.memmap(self._copy, np.uint8, "r", shape=self.originals.shape)

    @property
    def _copy(self) -> Path:
        return self.folder / "decoded.rgb"

    def _write_decoded(self, file: IO[bytes]) -> None:
        for start in range(0, len(self.ends), _CHUNK):
            payloads = [self.payload(index) for index in range(start, min(start + _CHUNK, len(self.ends)))]
            file.write(self.codec.decode(payloads, image_size(self.originals)).tobytes())


def coded_images(codec: Codec, images: np.ndarray, name: str, progress: Progress = silent) -> CodedImages:
    """Encode ``images``, or return the cached result.

    Args:
        codec: fitted on ``images`` here unless it has been fitted or loaded; afterwards it can decode the payloads. Its
            guide, if any, is part of the cache key.
        images: uint8 (N, H, W, 3).
        name: identifies the images: a dataset's signature and split.
        progress: called after each batch.

    Raises:
        WorkError: the cache folder cannot be written.
    """
    if not codec.shared_state():
        codec.fit(images)
    seen = f"{_FORMAT}|{name}|{codec}|{encoder_versions()}|{guide_digest(codec)}{sources_digest(codec)}"
    key = hashlib.sha256(seen.encode() + codec.shared_state()).hexdigest()[:32]
    folder = cache_root() / "coded" / key
    if not folder.exists():
        build_folder(folder, lambda building: _code(codec, images, building, progress))
    with _damage_named(folder):
        ends = np.load(folder / "ends.npy", allow_pickle=False)
        stream = np.memmap(folder / "stream.bin", np.uint8, "r", shape=(int(ends[-1]),))
    return CodedImages(codec, images, ends, stream, folder)


@contextmanager
def _damage_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, EOFError, IndexError) as error:
        raise WorkError(f"the cached copy {folder} is damaged ({one_line(error)}): delete that folder") from error


def _code(codec: Codec, images: np.ndarray, building: Path, progress: Progress) -> None:
    sizes: list[int] = []
    with open(building / "stream.bin", "wb") as stream:
        for start in range(0, len(images), _CHUNK):
            payloads = codec.encode(np.asarray(images[start : start + _CHUNK]))
            stream.write(b"".join(payloads))
            sizes += [len(payload) for payload in payloads]
            progress(f"coding with {codec}", len(sizes), len(images))
    np.save(building / "ends.npy", np.cumsum(sizes, dtype=np.int64))
