"""Imports: jobs that turn a body, as it comes in, into a dataset.

The request's task receives the body and hands it over piece by piece (`Upload`); the job's task passes each
piece on to a thread, which reads rows and writes them into a file that nobody knows of yet.  Nobody is ahead
of the other by more than a piece, so a body of any size costs the memory of a few, and is sent as fast as
SQLite takes it.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import trio

from ..wire.row_batches import Batch, RowError, csv_rows, ndjson_rows
from .catalog import Dataset, storage_errors
from .datasets import Datasets
from .job import JobError
from .jobs import Running, Work
from .tables import Table, write_table

ReadRows = Callable[[Iterable[bytes]], Iterator[Batch]]

READERS: dict[str, ReadRows] = {
    "application/x-ndjson": ndjson_rows,
    "application/ndjson": ndjson_rows,
    "application/jsonl": ndjson_rows,
    "text/csv": csv_rows,
}
"""What can be imported, by its media type."""


class Upload:
    """A body on its way from its request to a job: one piece at a time."""

    def __init__(self, *, digested: bool = False) -> None:
        """`digested`: whether the body's digest is wanted."""
        self._send, self._receive = trio.open_memory_channel[bytes](0)
        # Why the rest does not come, once that is known; never where the body is whole.
        self._fault: JobError | None = None
        self._whole = False
        self._digest = hashlib.blake2b(digest_size=32) if digested else None

    # For the request

    async def feed(self, piece: bytes) -> bool:
        """Hand over `piece`, and wait until it has been taken.  False where nobody takes any more."""
        try:
            await self._send.send(piece)
        except trio.BrokenResourceError:
            return False
        if self._digest is not None:
            self._digest.update(piece)
        return True

    def complete(self) -> None:
        """Say that this was all."""
        self._whole = True
        self._send.close()

    def fail(self, code: str, message: str) -> None:
        """Say that the rest will not come, unless it has been said how this ends."""
        if not self._whole and self._fault is None:
            self._fault = JobError(code, message)
        self._send.close()

    @property
    def digest(self) -> bytes | None:
        """Of what has been handed over."""
        return self._digest.digest() if self._digest else None

    # For the job

    async def receive(self) -> bytes | None:
        """The next piece, None at the end.

        Raises:
            JobError: the body did not come whole.
        """
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            if self._whole:
                return None
            assert self._fault is not None
            raise self._fault from None

    def close(self) -> None:
        """Take no more."""
        self._receive.close()


def import_rows(datasets: Datasets, name: str, read: ReadRows, upload: Upload) -> Work:
    """The work of a job that makes `upload` the dataset `name`, in the place of the one there is."""

    async def work(running: Running) -> None:
        path = datasets.directory / f"{secrets.token_hex(16)}.rows"
        try:
            table = await _write(running, path, read, upload)
        finally:
            upload.close()
        dataset = Dataset(name, path.name, time.time(), table)
        try:
            await running.commit(lambda record: datasets.replace(dataset, record))
        except BaseException:
            datasets.remove(path.name)
            raise

    return work


async def _write(running: Running, path: Path, read: ReadRows, upload: Upload) -> Table:
    """Write the rows of `upload` to `path`.

    Raises:
        JobError: they cannot be read, or do not come whole.
        StoreError: they cannot be written.
    """

    async def receive() -> bytes | None:
        piece = await upload.receive()
        if piece is not None:
            await running.advance(len(piece))
        return piece

    def pieces() -> Iterator[bytes]:
        while (piece := trio.from_thread.run(receive)) is not None:
            yield piece

    def batches() -> Iterator[Batch]:
        found = False
        for batch in read(pieces()):
            yield batch
            running.job.record.rows += len(batch.rows)
            found = found or bool(batch.columns or batch.rows)
        if not found:
            raise JobError("import_empty", "There is nothing in the body.")

    try:
        with storage_errors():
            return await trio.to_thread.run_sync(
                write_table, path, batches(), limiter=trio.CapacityLimiter(1)
            )
    except RowError as error:
        raise JobError("row_invalid", str(error), error.line) from None
