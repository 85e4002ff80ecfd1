"""Datasets: tables that are imported whole, listed, read as a stream of rows, and deleted.

Who reads a dataset has the rows that were there when it began, also when they are replaced or deleted
meanwhile: a file goes when the last of its readers has.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import trio

from ..streams import Batch, Rows, RowSource
from .catalog import Catalog, Dataset, storage_errors
from .job import JobRecord
from .tables import TableReader

_log = logging.getLogger("sluiceway.jobs")


class ReadersFullError(Exception):
    """There are as many readers as there may be."""


class DatasetUnknownError(Exception):
    """There is no dataset of that name."""


@dataclass(frozen=True, slots=True)
class DatasetLimits:
    """How many datasets there may be, and how many readers of all of them at once."""

    datasets: int = 1000
    readers: int = 64


class Datasets:
    """All datasets, their files in `directory`."""

    def __init__(self, catalog: Catalog, directory: Path, limits: DatasetLimits) -> None:
        self.directory = directory
        self._catalog = catalog
        self._limits = limits
        self._room = trio.CapacityLimiter(limits.readers)
        self._threads = trio.CapacityLimiter(limits.readers)
        self._readers: Counter[str] = Counter()
        # How many know a file's name and are about to count among its readers.
        self._looking = 0
        self._unused: set[str] = set()
        self._wake = trio.Event()

    async def run(self) -> None:
        """Remove files that are no longer used, until cancelled.

        What it leaves is removed at the next start.
        """
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            for file in sorted(self._unused):
                if not self._looking and file not in self._readers:
                    self._unused.discard(file)
                    await self._unlink(file)

    async def _unlink(self, file: str) -> None:
        path = self.directory / file
        try:
            # A large one takes a while.
            await trio.to_thread.run_sync(lambda: path.unlink(missing_ok=True))
        except OSError as error:
            _log.error("a file of rows cannot be removed: %s", error)

    @property
    def readers(self) -> int:
        """How many streams of rows are open."""
        return sum(self._readers.values())

    @property
    def full(self) -> bool:
        """Whether there are as many readers as there may be."""
        return self._room.available_tokens <= 0

    async def look(self, name: str) -> Dataset:
        """The dataset of that name.

        Raises:
            DatasetUnknownError: there is none.
            StoreError: it cannot be said.
        """
        found = await self._catalog.dataset(name)
        if found is None:
            raise DatasetUnknownError
        return found

    async def list(self, after: str, limit: int) -> list[Dataset]:
        """Datasets by name, from behind `after`.

        Raises:
            StoreError: it cannot be said.
        """
        return await self._catalog.datasets(after, limit)

    async def replace(self, dataset: Dataset, record: JobRecord) -> None:
        """Put `dataset` in the place of the one of its name, and keep `record`: both or none.

        Raises:
            DatasetsFullError, StoreError: nothing was done.
        """
        old = await self._catalog.replace(dataset, record, self._limits.datasets)
        if old is not None:
            self.remove(old)

    async def delete(self, name: str) -> None:
        """Delete the dataset of that name.

        Raises:
            DatasetUnknownError: there is none.
            StoreError: it is still there.
        """
        file = await self._catalog.delete(name)
        if file is None:
            raise DatasetUnknownError
        self.remove(file)

    def remove(self, file: str) -> None:
        """Remove `file`, which no dataset has, once nobody reads it."""
        self._unused.add(file)
        self._wake.set()

    def rows(self, name: str, after: int = 0, limit: int | None = None) -> RowSource:
        """A source of the dataset's rows, from behind row `after` (they count from 1), at most `limit`.

        Opening it raises DatasetUnknownError, ReadersFullError or StoreError.
        """

        @asynccontextmanager
        async def open_rows() -> AsyncGenerator[Rows, None]:
            async with self._reader(name, after, limit) as (dataset, reader):
                yield Rows(dataset.table.columns, _Batches(reader, self._threads))

        return open_rows

    @asynccontextmanager
    async def _reader(
        self, name: str, after: int, limit: int | None
    ) -> AsyncGenerator[tuple[Dataset, TableReader], None]:
        stream = object()
        try:
            self._room.acquire_on_behalf_of_nowait(stream)
        except trio.WouldBlock:
            raise ReadersFullError from None
        try:
            with self._named() as named:
                dataset = await self.look(name)
                named(dataset.file)
                reader = await self._open(dataset, after, limit)
                try:
                    yield dataset, reader
                finally:
                    # The transaction ends in this very step.  In a thread it would wait for one.
                    reader.close()
        finally:
            self._room.release_on_behalf_of(stream)

    async def _open(self, dataset: Dataset, after: int, limit: int | None) -> TableReader:
        path = self.directory / dataset.file
        with storage_errors():
            # Waited for, also when cancelled: there is no checkpoint between what it opens and who closes it.
            return await trio.to_thread.run_sync(
                TableReader, path, dataset.table, after, limit, limiter=self._threads
            )

    @contextmanager
    def _named(self) -> Iterator[Callable[[str], None]]:
        """Keep every file from being removed until one is named, and that one until the block is left."""
        file: str | None = None
        self._looking += 1

        def name(found: str) -> None:
            nonlocal file
            file = found
            self._readers[file] += 1
            self._looking -= 1

        try:
            yield name
        finally:
            if file is None:
                self._looking -= 1
            else:
                self._readers[file] -= 1
                if not self._readers[file]:
                    del self._readers[file]
            self._wake.set()


class _Batches:
    """What a reader reads.  A thread for each batch and none between them: a slow client holds no thread.

    No generator: where its reader leaves it in the middle there is nothing that has to be closed.
    """

    def __init__(self, reader: TableReader, threads: trio.CapacityLimiter) -> None:
        self._reader = reader
        self._threads = threads

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        with storage_errors():
            batch = await trio.to_thread.run_sync(self._reader.read, limiter=self._threads)
        if not batch:
            raise StopAsyncIteration
        return batch
