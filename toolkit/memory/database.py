"""The SQLite file of a memory: schema, transactions, and errors of SQLite or damaged rows as ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.memory.disk import PAGE_BYTES
from toolkit.memory.state import State, read_state, write_state

PATIENCE_SECONDS = 60.0
"""How long a change waits for another process's change before it fails with an error."""
_APPLICATION_ID = 0x52526D31  # "RRm1"
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE classes (
    label INTEGER PRIMARY KEY, exemplars INTEGER NOT NULL, payload_bytes INTEGER NOT NULL, name TEXT NOT NULL
);
CREATE TABLE packs (
    id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, label INTEGER NOT NULL, first INTEGER NOT NULL,
    head BLOB NOT NULL, data BLOB NOT NULL
);
CREATE INDEX places ON packs (kind, label, first);
"""
_DAMAGE = (OSError, sqlite3.Error, TypeError, ValueError, KeyError, OverflowError)
"""Errors from reading a file with a flipped bit: values may not have their column's type."""


class Database:
    """A connection to a memory file, which is created if it does not exist.

    Raises:
        WorkError: here and in every method, if the file cannot be opened, read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._named("cannot be opened as an exemplar memory"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
            )
            if not path.stat().st_size:  # in other files they have no effect but to count as a change
                self._connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
                self._connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA cache_size = -65536")

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _named(self, problem: str) -> Iterator[None]:
        """Turn errors inside the block into a WorkError that names the file."""
        try:
            yield
        except UsageError:  # also a ValueError, but the caller's mistake
            raise
        except _DAMAGE as error:
            raise WorkError(f"{self.path} {problem}: {one_line(error)}") from error

    @contextmanager
    def readable(self) -> Iterator[sqlite3.Connection]:
        """The connection, for reading a snapshot: changes by other processes become visible afterwards.

        Within a :meth:`transaction`, its own changes are visible.
        """
        alone = not self._connection.in_transaction
        try:
            with self._named("cannot be read as an exemplar memory"):
                if alone:
                    self._connection.execute("BEGIN")
                yield self._connection
        finally:
            if alone:
                self._roll_back()

    @contextmanager
    def transaction(self, *, secure: bool = False) -> Iterator[sqlite3.Connection]:
        """The connection, for changes that succeed or fail together; ``secure`` overwrites deleted data.

        Other processes can read meanwhile but not write: read whatever the change depends on inside the transaction.
        """
        try:
            with self._named("could not be written"):
                if secure:
                    self._connection.execute("PRAGMA secure_delete = ON")
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                trimmed_bytes(self._connection)
                self._connection.execute("COMMIT")
        finally:
            self._roll_back()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # after a full disk, SQLite has already rolled back
            self._connection.execute("ROLLBACK")

    def compact(self) -> None:
        """Rewrite the file without its free pages."""
        with self._named("could not be rewritten without its free pages"):
            self._connection.execute("VACUUM")

    def changes(self) -> int:
        """A number that changes with the commits of other processes, but not with this connection's own."""
        with self._named("cannot be read as an exemplar memory"):
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def is_empty(self) -> bool:
        """Whether the file has no tables yet."""
        with self.readable() as connection:
            return not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]

    def create(self, state: State) -> None:
        """Create the tables, unless another process has just created them."""
        with self.transaction() as connection:
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                write_state(connection, state)

    def state(self) -> State:
        """Facts and classes as of the last commit."""
        with self.readable() as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
                raise WorkError(f"{self.path} is another kind of SQLite database, not an exemplar memory")
            return read_state(connection, self.path)

    def check(self) -> None:
        """Run SQLite's own check of its pages and indices."""
        with self.readable() as connection:
            problem = connection.execute("PRAGMA quick_check").fetchone()[0]
        if problem != "ok":
            raise WorkError(f"{self.path} is damaged: {' '.join(problem.split())}")


def trimmed_bytes(connection: sqlite3.Connection) -> int:
    """Release free pages within a transaction; the size of the file if it were committed now, in bytes."""
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    for _ in range(free):  # Python's sqlite3 takes one step of the statement, which releases one page
        connection.execute("PRAGMA incremental_vacuum")
    return int(connection.execute("PRAGMA page_count").fetchone()[0]) * PAGE_BYTES


def journal_bytes(connection: sqlite3.Connection) -> int:
    """Bytes that the transaction has taken beside the file so far."""
    (_, _, path) = connection.execute("PRAGMA database_list").fetchone()
    journal = Path(f"{path}-journal")
    return journal.stat().st_size if path and journal.exists() else 0
