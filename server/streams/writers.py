"""The writers that one's own routes are given: bytes, text, events.

Below the three is one `Output`, which holds nothing back: a write returns when the connection has taken all
of it, so a function is never ahead of its client by more than what it is just writing.  Several tasks may
write; each write leaves whole.  What ends the stream while a write is under way (a client that is gone, or
that took no byte within the write deadline) raises in that write, and cancels the function besides, so that
one which swallows the error does not go on for nobody.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass

import trio

from ..lifecycle import CloseReason, OpenStream, WriteDeadlineError
from ..transport import ByteStream, HeadHolder
from ..wire import json_text, sse
from ..wire.problem import CONTENT_TYPE, Problem
from .forms import framed
from .sources import open_items

PIECE = 64 * 1024
"""Most bytes that are framed, and so copied, at once."""
CLEANUP_SECONDS = 5.0
"""How long the callbacks of `on_abort` may take, all together for each stream."""

_log = logging.getLogger("sluiceway.streams")


class Output:
    """One stream's way out: takes turns, frames, and knows when there is no more use in writing."""

    def __init__(self, stream: ByteStream, opened: OpenStream, nursery: trio.Nursery) -> None:
        self._stream = stream
        self._opened = opened
        self._nursery = nursery
        self._lock = trio.Lock()
        self._ended: str | None = None
        self.left: int | None = None
        """Bytes that are still to come, where a length was promised."""
        self.started = False
        """Whether anything was sent, and the head with it."""
        self.gone = False
        """Whether a write failed or was cancelled: the client is gone, or has an unknown part."""
        self.touched = True
        self.silent_ticks = 0
        self.scope = trio.CancelScope()
        """What the function runs in."""
        self.complete = False
        """Whether `close` said that this was all."""
        self.over = False
        """Whether the function has come to its own end, and its callbacks are no longer to be called."""
        self._aborted = trio.Event()

    async def write(self, payload: bytes | bytearray | memoryview) -> None:
        """Send `payload`, and wait until the connection has taken all of it.

        Raises:
            trio.ClosedResourceError: the stream was closed, or its function has returned.
            trio.BrokenResourceError: the client is gone.
        """
        if not payload:
            self._check()
            await trio.lowlevel.checkpoint()
            return
        async with self._lock:
            self._check()
            # Cancelled up to here, nothing has been sent, and an error may still be told.
            await trio.lowlevel.checkpoint_if_cancelled()
            if self.left is not None:
                if len(payload) > self.left:
                    raise ValueError(f"{len(payload)} bytes to write, and {self.left} left of the length")
                self.left -= len(payload)
            await self._send(payload)
            if self.left == 0:
                # The client has all that was promised, and may leave before the function does.
                self._opened.reason = self._opened.reason or CloseReason.COMPLETED

    async def flush(self) -> None:
        """Send what the connection holds: the head, before anything else was sent.

        Raises:
            trio.BrokenResourceError: the client is gone.
        """
        async with self._lock:
            await self._send(b"")

    def flush_after(self, seconds: float) -> None:
        """`flush` then, unless something was sent before."""
        self._nursery.start_soon(self._flush_after, seconds)

    async def _flush_after(self, seconds: float) -> None:
        await trio.sleep(seconds)
        try:
            if not self.started:
                await self.flush()
        except trio.BrokenResourceError:
            pass  # The stream is being cancelled, with its reason.

    async def refuse(self, problem: Problem) -> bool:
        """Answer with `problem` instead, as long as nothing was sent.  False where something was.

        Raises:
            trio.BrokenResourceError: the client is gone.
        """
        self.end("the stream is over: it has been refused")
        async with self._lock:
            if self.started or not isinstance(self._stream, HeadHolder):
                return False
            body = problem.encode()
            headers = {**problem.headers, "content-type": CONTENT_TYPE, "content-length": str(len(body))}
            self._stream.replace_head(
                problem.status, [(name.lower().encode(), value.encode()) for name, value in headers.items()]
            )
            await self._send(body)
            return True

    async def last(self, payload: bytes) -> None:
        """Send `payload`, and take nothing after it."""
        self.end("the stream is over: its function has ended")
        async with self._lock:
            await self._send(payload)

    def end(self, why: str) -> None:
        """Take nothing more."""
        self._ended = self._ended or why

    def close(self) -> None:
        """Cancel the function, whose answer is complete."""
        self.complete = True
        self.end("the stream was ended by close()")
        self._cancel()

    def stop(self) -> None:
        """Cancel the function before its own end; the output stays, for a last word."""
        self._aborted.set()
        self._cancel()

    def _cancel(self) -> None:
        # Between two writes: one that is cut in half is the end of the connection.
        if self._lock.locked():
            self._nursery.start_soon(self._cancel_between_writes)
        else:
            self.scope.cancel()

    async def _cancel_between_writes(self) -> None:
        async with self._lock:
            self.scope.cancel()

    def heartbeat(self) -> None:
        """Send a comment, in a task of its own.  Never waits."""
        if not self._lock.locked():
            self._nursery.start_soon(self._beat)

    async def _beat(self) -> None:
        try:
            async with self._lock:
                if self._ended is None and not self.gone:
                    await self._send(sse.HEARTBEAT)
        except trio.BrokenResourceError:
            pass  # The stream is being cancelled, with its reason.

    def on_abort(self, callback: Callable[[], object]) -> None:
        """See `Writer.on_abort`."""
        self._nursery.start_soon(self._wait_abort, callback)

    async def _wait_abort(self, callback: Callable[[], object]) -> None:
        try:
            await self._aborted.wait()
        finally:
            if not self.over:
                with trio.move_on_after(CLEANUP_SECONDS, shield=True):
                    await self._call(callback)

    async def _call(self, callback: Callable[[], object]) -> None:
        try:
            result = callback()
            if inspect.isawaitable(result):
                await result
        except Exception:  # noqa: BLE001 - the others are called all the same
            _log.exception("a callback of on_abort failed on %s", self._opened.head.path)

    def _check(self) -> None:
        if self._ended is not None:
            raise trio.ClosedResourceError(self._ended)
        if self.gone:
            raise trio.BrokenResourceError("the client is gone, or an earlier write was cancelled")

    async def _send(self, payload: bytes | bytearray | memoryview) -> None:
        self.touched = self.started = True
        framing = self._stream.framing
        try:
            if len(payload) <= PIECE:
                await self._stream.send_all(framed(bytes(payload), framing) if payload else b"")
                return
            with memoryview(payload).cast("B") as view:
                for start in range(0, len(view), PIECE):
                    await self._stream.send_all(framed(bytes(view[start : start + PIECE]), framing))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.gone = True
            slow = isinstance(error, WriteDeadlineError)
            self._opened.close(CloseReason.SLOW_CONSUMER if slow else CloseReason.CLIENT_DISCONNECTED)
            raise
        except BaseException:
            # Cancelled: an unknown part was sent, and nothing can follow it.
            self.gone = True
            raise


class Writer:
    """What all writers have: ends, and what to do about an early one."""

    __slots__ = ("_output",)

    def __init__(self, output: Output) -> None:
        self._output = output

    def on_abort(self, callback: Callable[[], object]) -> None:
        """Call `callback` where the stream ends before its function has come to its own end: the client is
        gone, took no byte for too long, or the server stops.

        It is called at once, also while the function is in a thread or a shielded part, which it can tell to
        stop.  It may be async, is shielded, and has five seconds; what it raises is logged.
        """
        if not callable(callback):
            raise TypeError(f"on_abort takes a function, not {type(callback).__name__}")
        self._output.on_abort(callback)

    def close(self) -> None:
        """End the stream here: the answer is complete, and the function is cancelled at its next checkpoint.

        Never waits.  Returning from the function does the same.
        """
        self._output.close()


class ByteWriter(Writer):
    """The writer of `stream_bytes`."""

    __slots__ = ()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`, and wait until the connection has taken all of it.

        A cancelled write leaves an unknown part sent: nothing can follow it.

        Raises:
            trio.BrokenResourceError: the client is gone, or took no byte within the write deadline; the
                function is cancelled as well.
            trio.ClosedResourceError: the stream was closed.
            TypeError: `data` are no bytes.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"stream_bytes writes bytes, not {type(data).__name__}; stream_text writes text")
        await self._output.write(data)

    async def pipe(self, source: object) -> None:
        """Send each item of `source`: an async iterable or receive channel of bytes, or a file opened in
        binary mode.

        The next item is asked for when the client has taken the one before.  `source` is closed at the end,
        whatever the end is.

        Raises:
            Exception: as `write`, and whatever `source` raises.
        """
        async with open_items(source) as items:
            async for item in items:
                await self.write(item)


class TextWriter(Writer):
    """The writer of `stream_text`."""

    __slots__ = ()

    async def write(self, text: str) -> None:
        """Send `text` in UTF-8.  As `ByteWriter.write`, otherwise."""
        if not isinstance(text, str):
            raise TypeError(f"stream_text writes str, not {type(text).__name__}; stream_bytes writes bytes")
        await self._output.write(text.encode())

    async def writeln(self, text: str = "") -> None:
        """Send `text` and a line end."""
        if not isinstance(text, str):
            raise TypeError(f"stream_text writes str, not {type(text).__name__}; stream_bytes writes bytes")
        await self._output.write(text.encode() + b"\n")

    async def pipe(self, source: object) -> None:
        """Send each item of `source`: an async iterable or receive channel of str, or a file opened in text
        mode.  As `ByteWriter.pipe`, otherwise.
        """
        async with open_items(source) as items:
            async for item in items:
                await self.write(item)


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event as a value, for sources that are piped.  The fields are those of `EventWriter.send`."""

    data: object = None
    event: str | None = None
    id: str | None = None
    retry: int | None = None

    def encode(self) -> bytes:
        """This event, its closing blank line included.

        Raises:
            TypeError, ValueError: a field is not what it has to be.
        """
        for name, value in (("event", self.event), ("id", self.id)):
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} is a str, not {type(value).__name__}")
        if self.retry is not None and (type(self.retry) is not int or self.retry < 0):
            raise ValueError(f"retry is a whole number of milliseconds, not {self.retry!r}")
        if isinstance(self.data, bytes | bytearray | memoryview):
            raise TypeError("an event carries text: decode the bytes first")
        data = self.data if self.data is None or isinstance(self.data, str) else json_text.encode(self.data)
        return sse.encode_event(data=data, event=self.event, id=self.id, retry=self.retry)


class EventWriter(Writer):
    """The writer of `stream_events`."""

    __slots__ = ()

    async def send(
        self,
        data: object = None,
        *,
        event: str | None = None,
        id: str | None = None,
        retry: int | None = None,
    ) -> None:
        """Send one event.  As `ByteWriter.write`, otherwise.

        Args:
            data: a str as it is, each of its lines a field; anything else as JSON on one line.  None sends no
                data: the event then sets `id` and `retry` in the client, and is not shown to its code.
            event: the event's name; "message" for EventSource where there is none.
            id: what the client sends back as Last-Event-ID.
            retry: milliseconds after which the client comes back once the stream has ended.

        Raises:
            ValueError: `event` or `id` holds a line end or NUL, or `retry` is negative.
            TypeError: a field has the wrong type, or `data` cannot be written as JSON.
        """
        await self._output.write(ServerSentEvent(data, event, id, retry).encode())

    async def pipe(self, source: object) -> None:
        """Send each item of `source`, an async iterable or receive channel: a `ServerSentEvent`, or the data
        of one.  As `ByteWriter.pipe`, otherwise.
        """
        async with open_items(source) as items:
            async for item in items:
                event = item if isinstance(item, ServerSentEvent) else ServerSentEvent(item)
                await self._output.write(event.encode())
