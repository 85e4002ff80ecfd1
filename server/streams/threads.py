"""Rows from libraries that block: read in a thread of the stream's own, through a memory channel.

The thread opens what it reads, hands over one batch at a time, and waits until it has been taken: it is at
most one batch ahead.  When the stream ends early, the thread is woken at its next handover and leaves its
`with` blocks; where it is in the middle of a call, `interrupt` ends that.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass

import trio

from .rows import Batch, Rows, RowSource

INTERRUPT_SECONDS = 5.0
"""How long an interruption may take before the thread is left to its own end."""

_log = logging.getLogger("sluiceway.streams")


@dataclass(frozen=True, slots=True)
class BlockingRows:
    """What has been opened in the thread: column names, and an iterable of batches that blocks.

    `interrupt` is called from another thread while one is in the making, and makes it raise.
    """

    columns: Sequence[str]
    batches: Iterable[Batch]
    interrupt: Callable[[], object] | None = None


OpenBlocking = Callable[[], AbstractContextManager[BlockingRows]]


def rows_from_thread(open_rows: OpenBlocking, *, limiter: trio.CapacityLimiter | None = None) -> RowSource:
    """A row source that reads what `open_rows` opens, a context manager entered and left in one thread.

    Each open stream holds a thread, also while its client is slow.  `limiter` bounds them, Trio's own for
    threads (40) where it is None; streams beyond it wait.
    """

    def source() -> AbstractAsyncContextManager[Rows]:
        return _open_in_thread(open_rows, limiter)

    return source


@asynccontextmanager
async def _open_in_thread(
    open_rows: OpenBlocking, limiter: trio.CapacityLimiter | None
) -> AsyncGenerator[Rows, None]:
    reading = _Reading(open_rows)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reading.run, limiter)
        nursery.start_soon(reading.interrupt_when_cancelled)
        try:
            yield Rows(await reading.columns(), reading.batches())
        finally:
            reading.close()
            nursery.cancel_scope.cancel()


class _Reading:
    def __init__(self, open_rows: OpenBlocking) -> None:
        self._open_rows = open_rows
        self._send, self._receive = trio.open_memory_channel[Batch](0)
        self._opened = trio.Event()
        self._rows: BlockingRows | None = None
        self._error: Exception | None = None
        self._in_call = False
        """Whether the thread is in the library, and not waiting for its batch to be taken."""

    async def run(self, limiter: trio.CapacityLimiter | None) -> None:
        """Read until all is read, or cancelled.  What is raised in the thread is kept for the reader."""
        with self._send:
            try:
                await trio.to_thread.run_sync(self._read, limiter=limiter)
            except Exception as error:  # noqa: BLE001 - raised again where the rows are read
                self._error = error
            finally:
                self._opened.set()
        # The error of an interruption is none: this raises Cancelled.
        await trio.lowlevel.checkpoint_if_cancelled()

    def _read(self) -> None:
        with self._open_rows() as rows:
            trio.from_thread.run_sync(self._started, rows)
            self._in_call = True
            try:
                for batch in rows.batches:
                    self._in_call = False
                    trio.from_thread.run(self._send.send, batch)
                    self._in_call = True
            finally:
                self._in_call = False

    def _started(self, rows: BlockingRows) -> None:
        self._rows = rows
        self._opened.set()

    async def columns(self) -> Sequence[str]:
        """The columns, once all is open.

        Raises:
            Exception: what opening raised.
        """
        await self._opened.wait()
        if self._rows is None:
            assert self._error is not None
            raise self._error
        return self._rows.columns

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """The batches, and then what the thread has raised."""
        async for batch in self._receive:
            yield batch
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Take no more batches."""
        self._receive.close()

    async def interrupt_when_cancelled(self) -> None:
        """Wait to be cancelled, and interrupt the thread where that alone would not reach it."""
        try:
            await trio.sleep_forever()
        finally:
            rows = self._rows
            if self._in_call and rows is not None and rows.interrupt is not None:
                with trio.move_on_after(INTERRUPT_SECONDS, shield=True):
                    await _interrupt(rows.interrupt)


async def _interrupt(interrupt: Callable[[], object]) -> None:
    try:
        await trio.to_thread.run_sync(interrupt, abandon_on_cancel=True)
    except Exception:  # noqa: BLE001 - the thread is then left to its own end
        _log.exception("rows that are read in a thread could not be interrupted")
