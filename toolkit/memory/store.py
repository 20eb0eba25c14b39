"""`ExemplarMemory`: compressed exemplars of every class seen, within a byte budget, in one SQLite file.

Every change is one transaction. Within a class, exemplars have ranks 0, 1, 2, ... in selection order; a class is
shrunk by dropping its highest ranks, so ranks stay contiguous. What counts against the budget is what the exemplars
need: payloads, extras (such as logits) that a method keeps with them, :data:`LABEL_BYTES` a label, and the codec's
shared header; and what else the budget has to pay for, such as the weights of a growing network. SQLite's own pages
and the checksums are not counted; :meth:`ExemplarMemory.summary` reports the file's size beside it, and what a
decoder's weights take where the codec is a network.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from toolkit.codecs.base import Codec
from toolkit.codecs.spec import code_alike, parse_codec, require_decoder, short_spec, spec_beside
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.memory.allocation import BudgetTooSmall, allocate
from toolkit.memory.budget import LABEL_BYTES
from toolkit.memory.database import Database
from toolkit.memory.forgetting import delete, identity, require_gone
from toolkit.memory.rows import Damaged, Stored, bytes_of, insert, read_class, stored_sizes


class _Class(NamedTuple):
    exemplars: int
    payload_bytes: int  # extras included
    name: str


class ExemplarMemory:
    """A byte budget of compressed exemplars.

    Args:
        path: the SQLite file; made if it does not exist.
        budget: bytes for payloads, extras, labels, shared headers and what is charged beside. None takes the budget of
            an existing file.
        codec: a codec or spec. None takes the codec of an existing file, and the files that it needs from the memory's
            folder or else the working folder. Exemplars are decoded without those that a codec only encodes with, such
            as tables; to add exemplars where those lie elsewhere, give their new place.

    Raises:
        UsageError: a new memory without budget or codec; an existing one with another budget or codec.
        WorkError: not a memory file, written by a newer version, or not accessible.
    """

    def __init__(self, path: str | Path, budget: int | None = None, codec: Codec | str | None = None) -> None:
        self.path = Path(path)
        is_new = not self.path.exists()
        if is_new and (budget is None or codec is None):
            raise UsageError(f"{path} does not exist: a new memory needs a budget and a codec")
        if budget is not None and budget < 1:
            raise UsageError(f"the budget must be at least 1 byte, got {budget}")
        self._database = Database(self.path)
        try:
            if codec is None:
                codec = spec_beside(self._database.stored_codec(), self.path.parent)
            self.codec = parse_codec(codec) if isinstance(codec, str) else codec
            if is_new or not self._database.has_schema():
                self._create(budget)
            self._load(budget)
        except BaseException:
            self._database.close()
            raise

    def _create(self, budget: int | None) -> None:
        with self._database.transaction():
            spec = short_spec(str(self.codec))  # no paths: they mean nothing on the machine that opens it
            self._database.create(
                {"budget": str(budget).encode(), "codec": spec.encode(), "commits": b"0", "shared": b""}
            )

    def _load(self, budget: int | None) -> None:
        with self._database.readable() as connection:
            self._database.refuse_newer()
            self.budget = int(self._database.meta("budget"))
            spec = self._database.meta("codec").decode()
            shared = self._database.meta("shared")
            checksum = self._database.meta("shared_crc", b"")  # files of earlier versions have none
            self.commits = int(self._database.meta("commits"))
            self.charged = int(self._database.meta("charged", b"0"))  # files of the first version have none
            rows = connection.execute("SELECT label, exemplars, payload_bytes, name FROM classes ORDER BY label")
            self._classes = {label: _Class(count, payload_bytes, name) for label, count, payload_bytes, name in rows}
        if spec != str(self.codec) and not code_alike(spec, str(self.codec)):
            raise UsageError(f"{self.path} was made with {spec}, not with {self.codec}")
        if budget is not None and budget != self.budget:
            raise UsageError(f"{self.path} was made for {self.budget} bytes, not for {budget}")
        if checksum and int(checksum) != zlib.crc32(shared):
            raise WorkError(f"{self.path}: what its exemplars share is damaged: its checksum does not match")
        if shared:
            self.codec.load_shared(shared)

    def close(self) -> None:
        """Close the file; everything committed stays."""
        self._database.close()

    def __enter__(self) -> ExemplarMemory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # -- what is in it -----------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return sum(row.exemplars for row in self._classes.values())

    @property
    def class_counts(self) -> dict[int, int]:
        """Exemplars a class, by label."""
        return {label: row.exemplars for label, row in self._classes.items()}

    @property
    def class_names(self) -> dict[int, str]:
        """Names by label; a class added without one is called by its label."""
        return {label: row.name for label, row in self._classes.items()}

    @property
    def nbytes(self) -> int:
        """Bytes that count against the budget: payloads, extras, labels, shared header, and what is charged beside."""
        if not self._classes:
            return 0
        payloads = sum(row.payload_bytes for row in self._classes.values())
        return payloads + LABEL_BYTES * len(self) + self.codec.shared_bytes() + self.charged

    def summary(self) -> dict[str, Any]:
        """Budget, bytes and counts for people and JSON."""
        return {
            "codec": short_spec(str(self.codec)),
            "budget_bytes": self.budget,
            "memory_bytes": self.nbytes,
            "shared_bytes": self.codec.shared_bytes() if self._classes else 0,
            "weights_bytes": self.codec.weights_bytes() if self._classes else 0,
            "label_bytes": LABEL_BYTES * len(self),
            "charged_bytes": self.charged,
            "file_bytes": self.path.stat().st_size,
            "exemplars": len(self),
            "classes": {str(label): count for label, count in self.class_counts.items()},
            "class_names": list(self.class_names.values()),
            "commits": self.commits,
        }

    # -- changing it -------------------------------------------------------------------------------------------

    def add_images(self, images: Mapping[int, np.ndarray], names: Mapping[int, str] | None = None) -> None:
        """Encode and :meth:`add` new classes' images, uint8 (N, H, W, 3) each, in selection order."""
        self.add({label: self.codec.encode(pixels) for label, pixels in images.items()}, names)

    def add(
        self,
        candidates: Mapping[int, Sequence[bytes]],
        names: Mapping[int, str] | None = None,
        extras: Mapping[int, Sequence[bytes]] | None = None,
        charged: int | None = None,
    ) -> None:
        """Take new classes in and shrink the old ones to their new share, in one transaction.

        Args:
            candidates: for each new class its payloads in selection order; more than fit may be given. A class
                that is already there may be given again with further candidates, ranked after what it has.
            names: of the new classes, for people; by default their labels.
            extras: bytes kept and charged with each candidate, if any.
            charged: bytes of the budget that something else takes from now on; by default as many as until now.

        Raises:
            BudgetTooSmall: one exemplar of every class does not fit; nothing is changed.
            UsageError: a class without candidates, or not one extra for each of its candidates.
            WorkError: the file could not be written; nothing is changed.
        """
        empty = [label for label, payloads in candidates.items() if not payloads]
        if empty:
            raise UsageError(f"classes {empty} have no candidates for the memory")
        extras = extras or {}
        offered = _offered_sizes(candidates, extras)
        charged = self.charged if charged is None else charged
        shared = self.codec.shared_state()
        with self._database.transaction() as connection:
            if extras:
                self._database.require_extras()
            stored = stored_sizes(connection, self._database.has_extras())
            labels = sorted({*self._classes, *stored, *offered})
            sizes = {
                label: [size + LABEL_BYTES for size in (*stored.get(label, ()), *offered.get(label, ()))]
                for label in labels
            }
            kept = allocate(sizes, self.budget, self.codec.shared_bytes() + charged)
            for label in labels:
                had, added = len(stored.get(label, ())), max(0, kept[label] - len(stored.get(label, ())))
                for table in self._database.tables():
                    connection.execute(f"DELETE FROM {table} WHERE label = ? AND rank >= ?", (label, kept[label]))
                insert(connection, "exemplars", label, had, candidates.get(label, ())[:added])
                if label in extras:
                    insert(connection, "extras", label, had, extras[label][:added])
            known = {**self.class_names, **(names or {})}
            classes = {
                label: _Class(count, sum(sizes[label][:count]) - LABEL_BYTES * count, known.get(label, str(label)))
                for label, count in kept.items()
            }
            rows = [(label, *row) for label, row in classes.items()]
            connection.executemany("INSERT OR REPLACE INTO classes VALUES (?, ?, ?, ?)", rows)
            self._database.set_meta("shared", shared)
            self._database.set_meta("shared_crc", str(zlib.crc32(shared)).encode())
            self._database.set_meta("charged", str(charged).encode())
            self._database.set_meta("commits", str(self.commits + 1).encode())
        self._classes, self.charged = classes, charged
        self.commits += 1

    def identities(self, label: int) -> list[str]:
        """A name for each intact exemplar of a class, in selection order: from its content, so that it stays."""
        return [identity(payload) for payload in self.payloads(label)[0]]

    def forget(self, label: int | None = None, image: str | None = None) -> int:
        """Remove a class, or one exemplar, for good: its bytes are overwritten, and the file is searched for them.

        The budget stays; what becomes free is filled by the next classes. A class all of whose exemplars go is gone.

        Args:
            label: of the class to forget.
            image: or the :func:`identity` of an exemplar, all of it or its beginning; the same picture stored more
                than once is forgotten everywhere.

        Returns:
            How many exemplars are gone.

        Raises:
            UsageError: neither or both are given, there is no such class or exemplar, or a beginning that fits several.
            WorkError: the file could not be written, or bytes of what was forgotten are still in it.
        """
        if (label is None) == (image is None):
            raise UsageError("forget either a class or an image")
        gone = self._to_forget(label, image)
        with self._database.readable() as connection:
            has_extras = self._database.has_extras()
            lost = [part for label, rank in gone for part in bytes_of(connection, has_extras, label, rank)]
        with self._database.transaction(secure=True) as connection:
            for table in self._database.tables():
                delete(connection, table, gone)
            left = stored_sizes(connection, has_extras)
            classes = {
                label: row._replace(exemplars=len(left[label]), payload_bytes=sum(left[label]))
                for label, row in self._classes.items() if label in left
            }  # fmt: skip
            connection.execute("DELETE FROM classes")
            rows = [(label, *row) for label, row in classes.items()]
            connection.executemany("INSERT INTO classes VALUES (?, ?, ?, ?)", rows)
        self._classes = classes
        self._database.compact()
        kept = b"".join(stored.payload + stored.extra for label in self._classes for stored in self._read(label)[0])
        require_gone(self.path, lost, kept)
        return len(gone)

    def _to_forget(self, label: int | None, image: str | None) -> list[tuple[int, int]]:
        """Label and rank of what shall go."""
        if label is not None:
            if label not in self._classes:
                known = ", ".join(f"{number} ({row.name})" for number, row in list(self._classes.items())[:8])
                raise UsageError(f"{self.path} has no class {label}; it has {known or 'none'}")
            return [(label, rank) for rank in range(self._classes[label].exemplars)]
        found: dict[str, list[tuple[int, int]]] = {}
        with self._database.readable() as connection:
            for one, rank, payload in connection.execute("SELECT label, rank, payload FROM exemplars"):
                if (name := identity(payload)).startswith(str(image).lower()):
                    found.setdefault(name, []).append((one, rank))
        if not image or not found:
            raise UsageError(f"{self.path} has no exemplar {image!r}; `recallrate memory inspect --images` names them")
        if len(found) > 1:
            raise UsageError(f"{image!r} is the beginning of {len(found)} exemplars' names: write more of it")
        return next(iter(found.values()))

    # -- reading it --------------------------------------------------------------------------------------------

    def payload(self, label: int, rank: int) -> bytes:
        """One stored payload, its checksum verified.

        Raises:
            IndexError: there is no such exemplar.
            WorkError: it is damaged.
        """
        with self._database.readable() as connection:
            row = connection.execute(
                "SELECT crc, payload FROM exemplars WHERE label = ? AND rank = ?", (label, rank)
            ).fetchone()
        if row is None:
            raise IndexError(f"class {label} has no exemplar of rank {rank}")
        if zlib.crc32(row[1]) != row[0]:
            raise WorkError(f"exemplar {rank} of class {label} is damaged: its checksum does not match")
        return row[1]

    def payloads(self, label: int) -> tuple[list[bytes], list[Damaged]]:
        """A class's intact payloads in selection order, and the exemplars left out because they are damaged.

        Warns when any are left out.
        """
        intact, damaged = self._read(label)
        if damaged:
            warnings.warn(f"{self.path}: {len(damaged)} damaged exemplars of class {label} are left out", stacklevel=2)
        return [stored.payload for stored in intact], damaged

    def extras(self) -> list[bytes]:
        """What was kept with each intact exemplar, in the order of :meth:`decode_all`; empty where nothing was."""
        return [stored.extra for label in sorted(self._classes) for stored in self._read(label)[0]]

    def _read(self, label: int) -> tuple[list[Stored], list[Damaged]]:
        with self._database.readable() as connection:
            return read_class(connection, self._database.has_extras(), label)

    def decode(self, label: int) -> np.ndarray:
        """A class's intact exemplars, uint8 (N, H, W, 3), in selection order; see :meth:`verify` for the others."""
        intact, _ = self.payloads(label)
        return self.codec.decode(intact) if intact else np.empty((0, 0, 0, 3), np.uint8)

    def decode_all(self) -> tuple[np.ndarray, np.ndarray, list[Damaged]]:
        """All intact exemplars: images uint8 (N, H, W, 3), labels int64 (N,), and those left out as damaged."""
        payloads, labels, damaged = self.all_payloads()
        if not payloads:
            return np.empty((0, 0, 0, 3), np.uint8), labels, damaged
        return self.codec.decode(payloads), labels, damaged

    def all_payloads(self) -> tuple[list[bytes], np.ndarray, list[Damaged]]:
        """All intact exemplars as they are stored: payloads, labels int64 (N,), and those left out as damaged."""
        read = {label: self.payloads(label) for label in sorted(self._classes)}
        damaged = [item for _, left_out in read.values() for item in left_out]
        payloads = [payload for intact, _ in read.values() for payload in intact]
        labels = np.repeat(list(read), [len(intact) for intact, _ in read.values()]).astype(np.int64)
        return payloads, labels, damaged

    def verify(self) -> list[Damaged]:
        """Check every checksum and decode every exemplar; names those that fail.

        Raises:
            WorkError: the file itself is no longer a readable database, or a model that decoding needs is missing.
        """
        found: list[Damaged] = []
        self._database.check()
        if len(self):
            require_decoder(self.codec)
        for label in sorted(self._classes):
            found += self._read(label)[1]
            known = {item.rank for item in found if item.label == label}
            for rank in (rank for rank in range(self._classes[label].exemplars) if rank not in known):
                try:
                    self.codec.decode([self.payload(label, rank)])
                except (WorkError, IndexError) as error:
                    found.append(Damaged(label, rank, one_line(error)))
        return found


def _offered_sizes(
    candidates: Mapping[int, Sequence[bytes]], extras: Mapping[int, Sequence[bytes]]
) -> dict[int, list[int]]:
    uneven = [label for label, given in extras.items() if len(given) != len(candidates.get(label, ()))]
    if uneven:
        raise UsageError(f"classes {uneven} do not have one extra for each candidate")
    pairs = {label: zip_longest(blobs, extras.get(label, ()), fillvalue=b"") for label, blobs in candidates.items()}
    return {label: [len(payload) + len(extra) for payload, extra in both] for label, both in pairs.items()}


__all__ = ["BudgetTooSmall", "Damaged", "ExemplarMemory"]
