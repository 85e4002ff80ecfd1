"""The catalog: which datasets there are and which file each has, and what became of jobs, in SQLite.

What a job has done and that it is done are one transaction, so after a crash there is no dataset without its
job, and no job that was done for nothing.  What is written is on the disk when a call returns (write-ahead
log, `synchronous=FULL`).

`Catalog` is for Trio: each call runs in a worker thread, one after the other, on one connection that nobody
else has.  A call that has begun is waited for, also when it is cancelled.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import apsw
import msgspec
import trio

from .job import Fault, JobRecord, JobState
from .tables import Table

FILE = "datasets.sqlite"
SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE datasets (
    name TEXT PRIMARY KEY,
    file TEXT NOT NULL UNIQUE,
    imported REAL NOT NULL,
    layout TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    record TEXT NOT NULL
) STRICT;
"""
_BUSY_MS = 5000

_T = TypeVar("_T")


class StoreError(Exception):
    """What is stored cannot be read or written.  The cause says more."""


class StoreFullError(StoreError):
    """The disk is full."""


class DatasetsFullError(Exception):
    """There are as many datasets as are allowed."""


class Dataset(NamedTuple):
    """A dataset: the file its rows are in, when they were imported (Unix time), and what the file holds."""

    name: str
    file: str
    imported: float
    table: Table


class SqliteCatalog:
    """The catalog itself, for one thread at a time.

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
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "FULL")
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

    def jobs(self) -> list[JobRecord]:
        """All jobs, oldest first."""
        found = self._connection.execute("SELECT record FROM jobs ORDER BY number")
        return [msgspec.json.decode(record, type=JobRecord) for (record,) in found]

    def end_jobs(self) -> None:
        """Let those that an earlier process left running have failed: what they did is gone with it."""
        for record in self.jobs():
            if record.ended is None:
                record.state, record.ended = JobState.FAILED, time.time()
                record.fault = Fault("job_interrupted", "The server was stopped while the job ran.")
                self.save_job(record)

    def save_job(self, record: JobRecord, forget: Sequence[str] = ()) -> None:
        """Keep `record`, and no longer those with the ids `forget`."""
        with self._connection:
            # First, since `record` may be of a new job that has the id of a forgotten one.
            self._connection.executemany("DELETE FROM jobs WHERE id = ?", [(old,) for old in forget])
            self._save_job(record)

    def forget_job(self, id: str) -> None:
        """Keep the job no longer."""
        self._connection.execute("DELETE FROM jobs WHERE id = ?", (id,))

    def dataset(self, name: str) -> Dataset | None:
        """The dataset of that name."""
        query = "SELECT name, file, imported, layout FROM datasets WHERE name = ?"
        return next((_dataset(*row) for row in self._connection.execute(query, (name,))), None)

    def datasets(self, after: str, limit: int) -> list[Dataset]:
        """Datasets by name, from behind `after`."""
        query = "SELECT name, file, imported, layout FROM datasets WHERE name > ? ORDER BY name LIMIT ?"
        return [_dataset(*row) for row in self._connection.execute(query, (after, limit))]

    def files(self) -> set[str]:
        """The files of all datasets."""
        return {file for (file,) in self._connection.execute("SELECT file FROM datasets")}

    def replace(self, dataset: Dataset, record: JobRecord, most: int) -> str | None:
        """Put `dataset` in the place of the one of its name, and keep `record`, both or none.  Returns the
        file that is no longer used.

        Raises:
            DatasetsFullError: it would be one more than `most`.
        """
        with self._connection:
            old: str | None = self._connection.execute(
                "SELECT file FROM datasets WHERE name = ?", (dataset.name,)
            ).get
            if old is None and self._connection.execute("SELECT count(*) FROM datasets").get >= most:
                raise DatasetsFullError
            layout = msgspec.json.encode(dataset.table).decode()
            self._connection.execute(
                "INSERT OR REPLACE INTO datasets (name, file, imported, layout) VALUES (?, ?, ?, ?)",
                (dataset.name, dataset.file, dataset.imported, layout),
            )
            self._save_job(record)
        return old

    def delete(self, name: str) -> str | None:
        """Keep the dataset no longer.  Returns its file, None where it is not known."""
        file: str | None = self._connection.execute(
            "DELETE FROM datasets WHERE name = ? RETURNING file", (name,)
        ).get
        return file

    def _save_job(self, record: JobRecord) -> None:
        self._connection.execute(
            "INSERT INTO jobs (id, record) VALUES (?, ?) "
            "ON CONFLICT (id) DO UPDATE SET record = excluded.record",
            (record.id, msgspec.json.encode(record).decode()),
        )


def _dataset(name: str, file: str, imported: float, layout: str) -> Dataset:
    return Dataset(name, file, imported, msgspec.json.decode(layout, type=Table))


class Catalog:
    """`SqliteCatalog` for Trio.

    Raises:
        StoreError, StoreFullError: from every method.
    """

    def __init__(self, catalog: SqliteCatalog) -> None:
        self._catalog = catalog
        self._alone = trio.CapacityLimiter(1)

    async def save_job(self, record: JobRecord, forget: Sequence[str] = ()) -> None:
        """See `SqliteCatalog.save_job`."""
        await self._in_thread(lambda: self._catalog.save_job(record, forget))

    async def forget_job(self, id: str) -> None:
        """See `SqliteCatalog.forget_job`."""
        await self._in_thread(lambda: self._catalog.forget_job(id))

    async def dataset(self, name: str) -> Dataset | None:
        """See `SqliteCatalog.dataset`."""
        return await self._in_thread(lambda: self._catalog.dataset(name))

    async def datasets(self, after: str, limit: int) -> list[Dataset]:
        """See `SqliteCatalog.datasets`."""
        return await self._in_thread(lambda: self._catalog.datasets(after, limit))

    async def replace(self, dataset: Dataset, record: JobRecord, most: int) -> str | None:
        """See `SqliteCatalog.replace`."""
        return await self._in_thread(lambda: self._catalog.replace(dataset, record, most))

    async def delete(self, name: str) -> str | None:
        """See `SqliteCatalog.delete`."""
        return await self._in_thread(lambda: self._catalog.delete(name))

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        with storage_errors():
            return await trio.to_thread.run_sync(call, limiter=self._alone)


@contextmanager
def storage_errors() -> Iterator[None]:
    """What SQLite and the system say of the disk, as `StoreFullError` or `StoreError`."""
    try:
        yield
    except apsw.FullError as error:
        raise StoreFullError(str(error)) from error
    except apsw.Error as error:
        raise StoreError(str(error)) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (StoreFullError if full else StoreError)(str(error)) from error


@contextmanager
def open_catalog(directory: Path) -> Iterator[SqliteCatalog]:
    """The catalog in `directory`, until the block is left.  No call may be under way then.

    Raises:
        OSError: the file cannot be opened, or is no catalog.
    """
    path = directory / FILE
    try:
        catalog = SqliteCatalog(path)
    except apsw.Error as error:
        raise OSError(f"cannot open {path}: {error}") from error
    try:
        yield catalog
    finally:
        catalog.close()
