"""Documents that outlive the process: their updates in SQLite.

A row is an update as an editor sent it, or many merged into one.  What has been appended is on the disk when
`append` returns (write-ahead log, `synchronous=FULL`); a process that is killed in the middle leaves it out
as a whole.  Several updates, of any documents, are appended in one transaction, since the disk's confirmation
is what takes time.

`DocumentStore` is for Trio: each call runs in a worker thread, one after the other, on one connection that
nobody else has.  A call that has begun is waited for, also when it is cancelled.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import apsw
import trio

FILE = "documents.sqlite"
SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE documents (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE updates (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    document INTEGER NOT NULL REFERENCES documents,
    data BLOB NOT NULL
) STRICT;
CREATE INDEX updates_of_documents ON updates (document, row);
"""
_BUSY_MS = 5000
_VACUUM_PAGES = 1000

_T = TypeVar("_T")


class StoreError(Exception):
    """The store failed: the disk is full or broken, or what is in it is.  The cause says more."""


class StoredUpdate(NamedTuple):
    """An update, and the row it is in."""

    row: int
    data: bytes


class StoredDocument(NamedTuple):
    """A document in the store, and the bytes of its updates."""

    name: str
    size: int


class SqliteDocuments:
    """The store itself, for one thread at a time.

    Raises:
        apsw.Error: from every method.
    """

    def __init__(self, path: Path) -> None:
        # Made by us and not by SQLite, which would let others read it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        connection = self._connection
        connection.set_busy_timeout(_BUSY_MS)
        # Has to come before the first table.
        connection.pragma("auto_vacuum", 2)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "FULL")
        connection.pragma("foreign_keys", 1)
        version = connection.pragma("user_version")
        if version == 0:
            with connection:
                connection.execute(_SCHEMA)
                connection.pragma("user_version", SCHEMA_VERSION)
        elif version != SCHEMA_VERSION:
            raise OSError(f"{FILE} was written by another version of the server (schema {version})")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def load(self, name: str) -> list[StoredUpdate]:
        """The updates of the document, oldest first; none where it is not known."""
        query = (
            "SELECT row, data FROM updates WHERE document = (SELECT id FROM documents WHERE name = ?) "
            "ORDER BY row"
        )
        return [StoredUpdate(*found) for found in self._connection.execute(query, (name,))]

    def append(self, updates: Sequence[tuple[str, bytes]]) -> list[int]:
        """Keep updates, each with its document's name: all or none.  Returns their rows."""
        rows = []
        with self._connection:
            for name, data in updates:
                rows.append(self._insert(name, data))
        return rows

    def replace(self, name: str, last: int, merged: bytes) -> int:
        """Put `merged` in place of all rows of the document up to `last`.  Returns its row."""
        with self._connection:
            row = self._insert(name, merged)
            self._connection.execute(
                "DELETE FROM updates WHERE row <= ? AND document = (SELECT id FROM documents WHERE name = ?)",
                (last, name),
            )
        self._connection.pragma("incremental_vacuum", _VACUUM_PAGES)
        return row

    def sizes(self, after: str, limit: int) -> list[StoredDocument]:
        """Documents by name, from behind `after`."""
        query = (
            "SELECT name, (SELECT sum(length(data)) FROM updates WHERE document = id) FROM documents "
            "WHERE name > ? ORDER BY name LIMIT ?"
        )
        return [StoredDocument(*found) for found in self._connection.execute(query, (after, limit))]

    def size(self, name: str) -> int | None:
        """The bytes of the document's updates, None where it is not known."""
        query = (
            "SELECT sum(length(data)) FROM updates WHERE document = (SELECT id FROM documents WHERE name = ?)"
        )
        size: int | None = self._connection.execute(query, (name,)).get
        return size

    def _insert(self, name: str, data: bytes) -> int:
        connection = self._connection
        connection.execute("INSERT INTO documents (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
        connection.execute(
            "INSERT INTO updates (document, data) SELECT id, ? FROM documents WHERE name = ?", (data, name)
        )
        return connection.last_insert_rowid()


class DocumentStore:
    """`SqliteDocuments` for Trio.

    Raises:
        StoreError: from every method.
    """

    def __init__(self, documents: SqliteDocuments) -> None:
        self._documents = documents
        self._alone = trio.CapacityLimiter(1)

    async def load(self, name: str) -> list[StoredUpdate]:
        """See `SqliteDocuments.load`."""
        return await self._in_thread(lambda: self._documents.load(name))

    async def append(self, updates: Sequence[tuple[str, bytes]]) -> list[int]:
        """See `SqliteDocuments.append`."""
        return await self._in_thread(lambda: self._documents.append(updates))

    async def replace(self, name: str, last: int, merged: bytes) -> int:
        """See `SqliteDocuments.replace`."""
        return await self._in_thread(lambda: self._documents.replace(name, last, merged))

    async def sizes(self, after: str, limit: int) -> list[StoredDocument]:
        """See `SqliteDocuments.sizes`."""
        return await self._in_thread(lambda: self._documents.sizes(after, limit))

    async def size(self, name: str) -> int | None:
        """See `SqliteDocuments.size`."""
        return await self._in_thread(lambda: self._documents.size(name))

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        try:
            return await trio.to_thread.run_sync(call, limiter=self._alone)
        except apsw.Error as error:
            raise StoreError(str(error)) from error


@contextmanager
def open_document_store(directory: Path) -> Iterator[DocumentStore]:
    """The store in `directory`, until the block is left.  No call may be under way then.

    Raises:
        OSError: the file cannot be opened, or is no store.
    """
    path = directory / FILE
    try:
        documents = SqliteDocuments(path)
    except apsw.Error as error:
        raise OSError(f"cannot open {path}: {error}") from error
    try:
        yield DocumentStore(documents)
    finally:
        documents.close()
