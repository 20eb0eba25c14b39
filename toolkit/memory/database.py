"""The SQLite file under a memory: schema, versions, transactions, and SQLite's errors as ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from toolkit.foundation.errors import WorkError, one_line

SCHEMA_VERSION = 2
"""2 has the table of extras; a file without extras stays at 1, which older versions read."""
_APPLICATION_ID = 0x52526D31  # "RRm1"
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE classes (
    label INTEGER PRIMARY KEY, exemplars INTEGER NOT NULL, payload_bytes INTEGER NOT NULL, name TEXT NOT NULL
);
CREATE TABLE exemplars (
    label INTEGER NOT NULL, rank INTEGER NOT NULL, crc INTEGER NOT NULL, payload BLOB NOT NULL,
    PRIMARY KEY (label, rank)
) WITHOUT ROWID;
"""
_EXTRAS = """
CREATE TABLE extras (
    label INTEGER NOT NULL, rank INTEGER NOT NULL, crc INTEGER NOT NULL, extra BLOB NOT NULL,
    PRIMARY KEY (label, rank)
) WITHOUT ROWID
"""


class Database:
    """A connection to a memory file; made if it does not exist.

    Raises:
        WorkError: here and in every method, when the file cannot be opened, read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA cache_size = -65536")
        except (OSError, sqlite3.Error) as error:
            raise WorkError(f"cannot open the memory {path}: {one_line(error)}") from error

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def readable(self) -> Iterator[sqlite3.Connection]:
        """The connection, for reading."""
        try:
            yield self._connection
        except sqlite3.Error as error:
            raise WorkError(f"{self.path} cannot be read as an exemplar memory: {one_line(error)}") from error

    @contextmanager
    def transaction(self, *, secure: bool = False) -> Iterator[sqlite3.Connection]:
        """The connection, for changes that happen together or not at all; ``secure`` overwrites what is deleted."""
        try:
            if secure:
                self._connection.execute("PRAGMA secure_delete = ON")
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise WorkError(f"the memory {self.path} could not be written: {one_line(error)}") from error
        finally:
            if self._connection.in_transaction:  # SQLite has already rolled back when the disk was full
                self._connection.execute("ROLLBACK")

    def compact(self) -> None:
        """Rewrite the file without the pages that are free."""
        try:
            self._connection.execute("VACUUM")
        except sqlite3.Error as error:
            raise WorkError(f"{self.path} could not be rewritten without its free pages: {one_line(error)}") from error

    def has_schema(self) -> bool:
        """Whether the tables are there."""
        with self.readable() as connection:
            return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone())

    def create(self, facts: Mapping[str, bytes]) -> None:
        """Make the tables, inside a transaction of the caller's."""
        if self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise WorkError(f"{self.path} is another kind of SQLite database")
        for statement in _SCHEMA.split(";"):
            self._connection.execute(statement)
        self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        for key, value in {"schema": b"1", **facts}.items():
            self.set_meta(key, value)

    def stored_codec(self) -> str:
        """The codec spec of an existing memory."""
        if not self.has_schema():
            raise WorkError(f"{self.path} is not an exemplar memory")
        with self.readable():
            self.refuse_newer()
            return self.meta("codec").decode()

    def refuse_newer(self) -> None:
        """Stop at a file that a later version of this program has written."""
        version = int(self.meta("schema"))
        if version > SCHEMA_VERSION:
            raise WorkError(
                f"{self.path} was written by a newer Recall Rate (schema {version}, this one reads up to "
                f"{SCHEMA_VERSION}): update recallrate to open it"
            )

    def meta(self, key: str, default: bytes | None = None) -> bytes:
        """A fact about the memory."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if row is None and default is not None:
            return default
        if row is None:
            raise WorkError(f"{self.path} is damaged: it has no {key}")
        return row[0]

    def set_meta(self, key: str, value: bytes) -> None:
        """Change a fact, inside a transaction of the caller's."""
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def require_extras(self) -> None:
        """Make the table of extras if it is not there, inside a transaction of the caller's."""
        if not self.has_extras():
            self._connection.execute(_EXTRAS)
            self.set_meta("schema", b"2")

    def has_extras(self) -> bool:
        """Whether some exemplars have extras."""
        return int(self.meta("schema")) > 1

    def tables(self) -> tuple[str, ...]:
        """Those whose rows are an exemplar's, by its label and rank."""
        return ("exemplars", "extras") if self.has_extras() else ("exemplars",)

    def check(self) -> None:
        """SQLite's own check of its pages and indices."""
        with self.readable() as connection:
            problem = connection.execute("PRAGMA quick_check").fetchone()[0]
        if problem != "ok":
            raise WorkError(f"{self.path} is damaged: {' '.join(problem.split())}")
