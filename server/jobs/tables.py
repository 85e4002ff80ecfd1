"""The rows of one dataset in one SQLite file, which is written once, in one transaction, and then only read.

An import writes a file of its own, beside the one that the dataset has, and the catalog then names the new
one in its place: so imports wait neither for one another nor for readers, a reader has the rows that it began
with for as long as it takes, and what is cancelled is undone by removing a file, whatever its size.

Nobody reads a file before it is whole and on the disk, so it needs neither a journal nor locks.

Everything here blocks: it is for worker threads.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import apsw
import msgspec

from ..wire.row_batches import Batch

BATCH_BYTES = 256 * 1024
"""What a batch of rows that is read is to take, about."""
BATCH_ROWS = 500
CACHE_KIB = 2048
"""Pages that one connection keeps."""

_EVERYTHING = -1
"""As SQLite's LIMIT."""


class Table(NamedTuple):
    """What a file holds.  `nested` are the columns in which there is JSON that SQLite has no type for."""

    columns: tuple[str, ...]
    nested: tuple[str, ...]
    rows: int
    size: int
    """Bytes of the file."""
    largest: int
    """Bytes of the largest row, roughly."""


def write_table(path: Path, batches: Iterable[Batch]) -> Table:
    """Write the rows of `batches` to a new file at `path`, and bring it to the disk.

    Whatever is raised, of `batches` or of the disk, leaves no file.

    Raises:
        apsw.Error, OSError: the disk is full or broken.
    """
    # Made by us and not by SQLite, which would let others read it.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.pragma("journal_mode", "off")
            connection.pragma("synchronous", "off")
            connection.pragma("locking_mode", "exclusive")
            connection.pragma("cache_size", -CACHE_KIB)
            writer = _Writer(connection)
            connection.execute("BEGIN")
            for batch in batches:
                writer.write(batch)
            connection.execute("COMMIT")
        finally:
            connection.close()
        _sync(path)
        return writer.table(path.stat().st_size)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    for each in (path, path.parent):
        descriptor = os.open(each, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class _Writer:
    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._columns: tuple[str, ...] = ()
        self._nested: frozenset[str] = frozenset()
        self._insert = "INSERT INTO rows (n) VALUES (NULL)"
        self._rows = 0
        self._largest = 0
        connection.execute("CREATE TABLE rows (n INTEGER PRIMARY KEY) STRICT")

    def write(self, batch: Batch) -> None:
        if len(batch.columns) > len(self._columns):
            self._add_columns(batch.columns)
        self._connection.executemany(self._insert, batch.rows)
        self._rows += len(batch.rows)
        self._largest = max(self._largest, batch.largest)
        self._nested = batch.nested

    def _add_columns(self, columns: Sequence[str]) -> None:
        # Named by number: names of columns may be anything, and differ by case alone.
        names = [f"c{index}" for index in range(len(columns))]
        for name in names[len(self._columns) :]:
            self._connection.execute(f"ALTER TABLE rows ADD COLUMN {name} ANY")
        self._columns = tuple(columns)
        marks = ", ".join("?" * len(names))
        self._insert = f"INSERT INTO rows ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 - names of ours

    def table(self, size: int) -> Table:
        nested = tuple(name for name in self._columns if name in self._nested)
        return Table(self._columns, nested, self._rows, size, self._largest)


class TableReader:
    """Reads rows in the order in which they came, from behind row `after` (they count from 1), at most
    `limit`.

    Open until `close`, and with it the read transaction; for one thread at a time, not always the same.
    """

    def __init__(self, path: Path, table: Table, after: int, limit: int | None) -> None:
        """
        Raises:
            apsw.Error: the file cannot be opened.
        """
        self._table = table
        # Immutable: it never changes, so there is nothing to lock and nothing to recover.
        self._connection = apsw.Connection(
            f"{path.as_uri()}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        )
        self._connection.pragma("cache_size", -CACHE_KIB)
        # Without columns there are rows all the same.
        names = ", ".join(f"c{index}" for index in range(len(table.columns))) or "n"
        self._cursor = self._connection.execute(
            f"SELECT {names} FROM rows WHERE n > ? ORDER BY n LIMIT ?",  # noqa: S608 - names of ours
            (after, _EVERYTHING if limit is None else limit),
        )
        self._nested = [index for index, name in enumerate(table.columns) if name in table.nested]

    def read(self) -> Sequence[Sequence[object]]:
        """The next rows: as many as fit into a batch, at least one; none at the end."""
        if self._table.largest * BATCH_ROWS <= 4 * BATCH_BYTES:
            rows = list(itertools.islice(self._cursor, BATCH_ROWS))
        else:
            rows = list(self._read_large())
        if not self._table.columns:
            return [()] * len(rows)
        return [self._shown(row) for row in rows] if self._nested else rows

    def _read_large(self) -> Iterator[Sequence[object]]:
        size = 0
        for row in self._cursor:
            yield row
            size += sum(map(sys.getsizeof, row))
            if size > BATCH_BYTES:
                return

    def _shown(self, row: Sequence[object]) -> Sequence[object]:
        """`row` with its JSON marked as such."""
        values = list(row)
        for index in self._nested:
            value = values[index]
            if isinstance(value, bytes):
                values[index] = msgspec.Raw(value)
        return values

    def close(self) -> None:
        """End the transaction.  Takes no time worth a thread."""
        self._connection.close()
