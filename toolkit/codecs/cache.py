"""On-disk cache of a whole coded split, reused by pilots with other seeds and alignments."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolkit.codecs.base import Codec, image_size
from toolkit.codecs.encoders import encoder_versions
from toolkit.codecs.guide import guide_digest
from toolkit.foundation.errors import WorkError, one_line
from toolkit.foundation.files import build_folder, cache_root
from toolkit.foundation.progress import Progress, silent

_CHUNK = 256
_FORMAT = 2
"""Increment when payloads change for the same spec and shared state."""


@dataclass(frozen=True)
class CodedImages:
    """Encoded and decoded versions of N images.

    Attributes:
        decoded: uint8 (N, H, W, 3), a read-only memory map; of a lossless codec the images themselves.
        ends: int64 (N,), end of each payload in ``stream``.
        stream: uint8 (total bytes,), the concatenated payloads, a read-only memory map.
    """

    decoded: np.ndarray
    ends: np.ndarray
    stream: np.ndarray

    def payload(self, index: int) -> bytes:
        """The payload of one image."""
        start = self.ends[index - 1] if index else 0
        return self.stream[start : self.ends[index]].tobytes()


def coded_images(codec: Codec, images: np.ndarray, name: str, progress: Progress = silent) -> CodedImages:
    """Encode and decode ``images``, or return the cached result.

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
    seen = f"{_FORMAT}|{name}|{codec}|{encoder_versions()}|{guide_digest(codec)}"
    key = hashlib.sha256(seen.encode() + codec.shared_state()).hexdigest()[:32]
    folder = cache_root() / "coded" / key
    if not folder.exists():
        build_folder(folder, lambda building: _code(codec, images, building, progress))
    try:
        ends = np.load(folder / "ends.npy", allow_pickle=False)
        decoded = images
        if not codec.lossless:
            decoded = np.memmap(folder / "decoded.rgb", np.uint8, "r", shape=images.shape)
        stream = np.memmap(folder / "stream.bin", np.uint8, "r", shape=(int(ends[-1]),))
    except (OSError, ValueError, EOFError, IndexError) as error:
        raise WorkError(f"the cached copy {folder} is damaged ({one_line(error)}): delete that folder") from error
    return CodedImages(decoded, ends, stream)


def _code(codec: Codec, images: np.ndarray, building: Path, progress: Progress) -> None:
    sizes: list[int] = []
    with open(building / "decoded.rgb", "wb") as pixels, open(building / "stream.bin", "wb") as stream:
        for start in range(0, len(images), _CHUNK):
            chunk = np.asarray(images[start : start + _CHUNK])
            payloads = codec.encode(chunk)
            if not codec.lossless:
                pixels.write(codec.decode(payloads, image_size(chunk)).tobytes())
            stream.write(b"".join(payloads))
            sizes += [len(payload) for payload in payloads]
            progress(f"coding with {codec}", len(sizes), len(images))
    np.save(building / "ends.npy", np.cumsum(sizes, dtype=np.int64))
