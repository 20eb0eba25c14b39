"""Outputs of a frozen trunk, kept on disk by the content of the image, for every run, seed, codec and class order."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import closing

import numpy as np
import torch

from toolkit.data.images import content_digest
from toolkit.foundation.errors import WorkError, one_line
from toolkit.foundation.files import cache_root, make_folder
from toolkit.foundation.progress import Progress, silent
from toolkit.training.trunk import Trunk, views

_CHUNK = 64
"""Images computed between two commits."""
_MOST_VARIABLES = 500
_WAIT_SECONDS = 120.0
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS outputs (image BLOB, view INTEGER, output BLOB, PRIMARY KEY (image, view))",
    "CREATE TABLE IF NOT EXISTS facts (shape TEXT PRIMARY KEY)",
)


class Activations:
    """A trunk with a cache of its outputs.

    Args:
        trunk: computes what is not in the cache.
        progress: receives the number of images computed.

    Attributes:
        path: of the cache, a SQLite database.
        digest: bytes that identify the layers.
    """

    def __init__(self, trunk: Trunk, progress: Progress = silent) -> None:
        self._trunk = trunk
        self._progress = progress
        self.digest = trunk.layers
        self.path = cache_root() / "activations" / f"{trunk.digest}.sqlite"
        self._lock = threading.Lock()

    def of(self, images: np.ndarray, count: int = 1) -> torch.Tensor:
        """Outputs of the first ``count`` views: bfloat16 (N, count, ...) on the CPU.

        Args:
            images: uint8 (N, H, W, 3).
            count: number of views, see :func:`~toolkit.training.trunk.views`.

        Raises:
            WorkError: the cache cannot be written or read.
        """
        keys = [content_digest(np.asarray(image)) for image in images]
        with self._lock:  # also read by the thread that prepares the next batch
            try:
                make_folder(self.path.parent)
                with closing(sqlite3.connect(self.path, _WAIT_SECONDS, isolation_level=None)) as connection:
                    connection.execute("PRAGMA journal_mode = WAL")
                    for table in _SCHEMA:
                        connection.execute(table)
                    self._fill(connection, images, keys, count)
                    return self._read(connection, keys, count)
            except (sqlite3.Error, OSError) as error:
                raise WorkError(
                    f"the cache of activations {self.path} cannot be used ({one_line(error)}): delete that file"
                ) from error

    def outputs(self, images: np.ndarray) -> np.ndarray:
        """Outputs of images uint8 (N, H, W, 3) without augmentation, float32 (N, C) or (N, C, h, w)."""
        return self.of(images)[:, 0].float().numpy()

    def _fill(self, connection: sqlite3.Connection, images: np.ndarray, keys: Sequence[bytes], count: int) -> None:
        missing = _missing(connection, keys, count)
        if not missing:
            return
        total, done = len(missing), 0
        indices = list(missing)
        for start in range(0, total, _CHUNK):
            chunk = indices[start : start + _CHUNK]
            pixels = torch.from_numpy(np.stack([np.asarray(images[index]) for index in chunk]))
            wanted = [(row, view) for row, index in enumerate(chunk) for view in missing[index]]
            every = views(pixels, 1 + max(view for _, view in wanted))
            outputs = self._trunk(torch.stack([every[row, view] for row, view in wanted]))
            if not start:
                self._require_room(outputs[0].nbytes * sum(map(len, missing.values())))
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT OR IGNORE INTO outputs VALUES (?, ?, ?)",
                [
                    (keys[chunk[row]], view, _packed(output))
                    for (row, view), output in zip(wanted, outputs, strict=True)
                ],
            )
            if not start:
                shape = ",".join(map(str, outputs.shape[1:]))
                connection.execute("INSERT OR IGNORE INTO facts VALUES (?)", (shape,))
            connection.execute("COMMIT")
            done += len(chunk)
            self._progress("computing the frozen layers", done, total)

    def _read(self, connection: sqlite3.Connection, keys: Sequence[bytes], count: int) -> torch.Tensor:
        shape = [int(side) for side in connection.execute("SELECT shape FROM facts").fetchone()[0].split(",")]
        found = torch.empty((len(keys), count, *shape), dtype=torch.bfloat16)
        query = "SELECT view, output FROM outputs WHERE image = ? AND view < ?"
        for row, key in enumerate(keys):
            outputs = connection.execute(query, (key, count)).fetchall()
            for view, output in outputs:
                if len(output) != found[row, view].nbytes:
                    raise sqlite3.DatabaseError(f"an output has {len(output)} bytes")
                found[row, view] = torch.frombuffer(bytearray(output), dtype=torch.bfloat16).view(shape)
        return found

    def _require_room(self, needed: int) -> None:
        """Refuse to fill the disk.

        Raises:
            WorkError: less than twice the bytes to write are free, which the journal may take as well.
        """
        free = shutil.disk_usage(self.path.parent).free
        if free < 2 * needed:
            raise WorkError(
                f"the cached activations need {needed / 1e9:.1f} GB in {self.path.parent}, where {free / 1e9:.1f} GB "
                "are free: train the head only, or use fewer views or images"
            )


class RememberedRows:
    """Rows of activations in the machine's memory by key, so that their images are not decoded again; thread-safe.

    Args:
        most_bytes: rows beyond are computed each time.
    """

    def __init__(self, most_bytes: float) -> None:
        self._left = most_bytes
        self._rows: dict[Hashable, torch.Tensor] = {}
        self._lock = threading.Lock()

    def of(self, keys: Sequence[Hashable], compute: Callable[[np.ndarray], torch.Tensor]) -> torch.Tensor:
        """The rows of ``keys``, (K, ...) on the CPU; ``compute`` gives those at places, int64 (M,), in ``keys``."""
        with self._lock:
            known = {key: self._rows[key] for key in keys if key in self._rows}
        missing = np.array([place for place, key in enumerate(keys) if key not in known], np.int64)
        if len(missing):
            computed = compute(missing).cpu()
            new = dict(zip((keys[place] for place in missing.tolist()), computed, strict=True))
            self._keep(new)
            known |= new
        return torch.stack([known[key] for key in keys])

    def _keep(self, rows: dict[Hashable, torch.Tensor]) -> None:
        with self._lock:
            for key, row in rows.items():
                if key not in self._rows and row.nbytes <= self._left:
                    self._left -= row.nbytes
                    self._rows[key] = row.clone()


def _packed(output: torch.Tensor) -> bytes:
    return output.contiguous().view(torch.int16).numpy().tobytes()


def _missing(connection: sqlite3.Connection, keys: Sequence[bytes], count: int) -> dict[int, list[int]]:
    """Views to compute by index of the image; of equal images only the first."""
    known: set[tuple[bytes, int]] = set()
    distinct = list(dict.fromkeys(keys))
    for start in range(0, len(distinct), _MOST_VARIABLES):
        part = distinct[start : start + _MOST_VARIABLES]
        marks = ",".join("?" * len(part))
        query = f"SELECT image, view FROM outputs WHERE image IN ({marks}) AND view < ?"
        known.update((bytes(image), view) for image, view in connection.execute(query, (*part, count)))
    missing: dict[int, list[int]] = {}
    first = {key: index for index, key in reversed(list(enumerate(keys)))}
    for key, index in first.items():
        if wanted := [view for view in range(count) if (key, view) not in known]:
            missing[index] = wanted
    return dict(sorted(missing.items()))
