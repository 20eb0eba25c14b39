"""The metadata of a memory file: facts and classes, under one checksum.

A flipped bit in the budget or in a class's row would silently break the memory's guarantees, so both tables are
sealed: every write updates the checksum of all their rows, and every read verifies it.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from toolkit.foundation.errors import WorkError, newer

SCHEMA_VERSION = 4


class ClassRow(NamedTuple):
    """A class: number of exemplars, bytes of their payloads and extras, and name."""

    exemplars: int
    payload_bytes: int
    name: str


@dataclass(frozen=True)
class State:
    """The facts of a memory at one commit.

    Attributes:
        budget: bytes.
        codec: spec, without paths.
        size: (height, width) of every exemplar; None until a commit sets it.
        shared: the codec's shared state; empty before the first commit.
        charged: bytes of the budget reserved for other data.
        commits: number of commits that added exemplars.
        extras: whether any exemplar has had an extra.
        encoders: versions of the libraries that have encoded exemplars, in order of appearance.
        journal: most bytes that a commit has taken beside the file.
        classes: by label, ascending.
    """

    budget: int
    codec: str
    size: tuple[int, int] | None = None
    shared: bytes = b""
    charged: int = 0
    commits: int = 0
    extras: bool = False
    encoders: tuple[str, ...] = ()
    journal: int = 0
    classes: dict[int, ClassRow] = field(default_factory=dict)

    @property
    def exemplars(self) -> int:
        """Number of exemplars in all classes."""
        return sum(row.exemplars for row in self.classes.values())


def write_state(connection: sqlite3.Connection, state: State) -> None:
    """Write facts, classes and their checksum, within the caller's transaction."""
    facts = {
        "schema": str(SCHEMA_VERSION).encode(),
        "budget": str(state.budget).encode(),
        "codec": state.codec.encode(),
        "size": b"" if state.size is None else "x".join(map(str, state.size)).encode(),
        "shared": state.shared,
        "charged": str(state.charged).encode(),
        "commits": str(state.commits).encode(),
        "extras": str(int(state.extras)).encode(),
        "encoders": "\n".join(state.encoders).encode(),
        "journal": str(state.journal).encode(),
    }
    facts["seal"] = str(_checksum(facts, state.classes)).encode()
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", facts.items())
    connection.execute("DELETE FROM classes")
    connection.executemany(
        "INSERT INTO classes VALUES (?, ?, ?, ?)", [(label, *row) for label, row in state.classes.items()]
    )


def read_state(connection: sqlite3.Connection, path: Path) -> State:
    """Read facts and classes and verify their checksum; ``path`` is for messages.

    Raises:
        WorkError: written by a newer version, or damaged.
        sqlite3.Error, ValueError, TypeError: the rows are too damaged to read;
            :class:`~toolkit.memory.database.Database` turns these into a WorkError.
    """
    facts = dict(connection.execute("SELECT key, value FROM meta"))
    rows = connection.execute("SELECT label, exemplars, payload_bytes, name FROM classes ORDER BY label")
    classes = {label: ClassRow(*row) for label, *row in rows}
    if (version := int(facts.get("schema", b"0"))) > SCHEMA_VERSION:
        raise WorkError(newer(path, "schema", version, SCHEMA_VERSION))
    seal = facts.pop("seal", b"")
    if str(_checksum(facts, classes)).encode() != seal:
        raise WorkError(f"{path} is damaged: the checksum of its facts and classes does not match")
    if version < SCHEMA_VERSION:
        raise WorkError(f"{path} has schema {version}, which this version no longer reads: build the memory again")
    size = facts["size"].decode()
    return State(
        budget=int(facts["budget"]),
        codec=facts["codec"].decode(),
        size=None if not size else _height_width(size),
        shared=facts["shared"],
        charged=int(facts["charged"]),
        commits=int(facts["commits"]),
        extras=facts["extras"] == b"1",
        encoders=tuple(facts["encoders"].decode().splitlines()),
        journal=int(facts.get("journal", b"0")),
        classes=classes,
    )


def _height_width(text: str) -> tuple[int, int]:
    height, width = map(int, text.split("x"))
    return height, width


def _checksum(facts: Mapping[str, bytes], classes: Mapping[int, ClassRow]) -> int:
    """CRC-32 of all sealed values, each with its type and length, so that different contents never look the same."""
    seal = 0
    for row in (*sorted(facts.items()), *((label, *row) for label, row in classes.items())):
        seal = zlib.crc32(ascii(row).encode(), seal)  # not repr, whose escapes depend on the Python version
    return seal
