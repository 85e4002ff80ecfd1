"""The registry of what is open, and the one place through which every stream ends.

A stream is a cancel scope.  `Registry.open_stream` opens it, and its exit records, whatever happened, one
close reason and counts it.  What a stream acquires it declares with `OpenStream.hold`; a thing still held
when the stream has ended outlived it and is counted as leaked, which `/stats` shows and which is a bug
wherever it is not 0.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self, get_args

import trio

from .reasons import CloseReason
from .request_head import RequestHead

StreamKind = Literal["events", "room", "generation", "job", "rows", "file", "text"]
STREAM_KINDS: tuple[StreamKind, ...] = get_args(StreamKind)
ConnectionKind = Literal["http", "websocket"]

_log = logging.getLogger("sluiceway.lifecycle")


class WriteDeadlineError(trio.BrokenResourceError):
    """The peer took no byte within the write deadline.  The stream is good for nothing but to be closed."""


class OpenStream:
    """One open stream: its scope, its reason, and what it holds.

    Made by `Registry.open_stream`, used with `with`.
    """

    __slots__ = (
        "_held",
        "_on_end",
        "_registry",
        "bytes_sent",
        "head",
        "id",
        "kind",
        "opened_at",
        "reason",
        "scope",
    )

    def __init__(self, registry: Registry, id: int, kind: StreamKind, head: RequestHead) -> None:
        self._registry = registry
        # A tuple: a stream holds one or two things, and a Counter for them would weigh more than they do.
        self._held: tuple[str, ...] = ()
        self._on_end: Callable[[], object] | None = None
        self.id = id
        self.kind = kind
        self.head = head
        self.bytes_sent = 0
        """Of an upload: received."""
        self.opened_at = trio.current_time()
        self.reason: CloseReason | None = None
        self.scope = trio.CancelScope()

    def close(self, reason: CloseReason) -> None:
        """End the stream now: name the reason, unless one is named, and cancel.

        Never waits; calling it again is safe.
        """
        if self.reason is None:
            self.reason = reason
        self.scope.cancel()

    def end(self, reason: CloseReason) -> None:
        """Ask the stream to end at its next message boundary, so that it can say goodbye.

        A stream that has not said how it does that (`on_end`) is closed at once.
        """
        if self.reason is None:
            self.reason = reason
        if self._on_end is None:
            self.scope.cancel()
        else:
            self._on_end()

    def on_end(self, callback: Callable[[], object]) -> None:
        """Let `end` call `callback` in place of cancelling.

        It must not wait, and must bear being called more than once.  Where `end` came first, it is called
        now; the stream is cancelled by then, and can say no goodbye.
        """
        self._on_end = callback
        if self.reason is not None:
            callback()

    def hold(self, what: str) -> _Hold:
        """A context manager for as long as the stream holds a resource named `what`."""
        return _Hold(self, what)

    def __enter__(self) -> Self:
        self._registry._add(self)
        self.scope.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if self.reason is None:
            self.reason = _reason_of(error)
        try:
            return self.scope.__exit__(exc_type, error, traceback)
        finally:
            self._on_end = None
            self._registry._remove(self, self.reason, self._held)


class _Hold:
    __slots__ = ("_stream", "_what")

    def __init__(self, stream: OpenStream, what: str) -> None:
        self._stream = stream
        self._what = what

    def __enter__(self) -> None:
        self._stream._held += (self._what,)

    def __exit__(self, *exc_info: object) -> None:
        held = list(self._stream._held)
        held.remove(self._what)
        self._stream._held = tuple(held)


class Registry:
    """Every open stream and connection of this process, and the count of how the ended ones ended."""

    def __init__(self, on_closed: Callable[[OpenStream, CloseReason], object] | None = None) -> None:
        """`on_closed` is called with each stream that has ended; it must neither wait nor raise."""
        self._ids = itertools.count(1)
        self._on_closed = on_closed
        self.streams: dict[int, OpenStream] = {}
        self.connections: dict[ConnectionKind, int] = {"http": 0, "websocket": 0}
        self.closed: dict[StreamKind, Counter[CloseReason]] = {}
        self.leaked = 0

    def open_stream(self, kind: StreamKind, head: RequestHead) -> OpenStream:
        """A stream of `kind` asked for by `head`, to be entered with `with`.

        Leaving the block records the reason: the one that was named, else `completed`, `client_disconnected`
        for a cancellation or a broken connection, `slow_consumer` for a missed write deadline, `failed` for
        any other exception. A cancellation by `OpenStream.close` ends there; every exception goes on.
        """
        return OpenStream(self, next(self._ids), kind, head)

    def upgraded(self) -> _Upgraded:
        """A context manager: as long as it is open, one of the HTTP connections counts as a WebSocket."""
        return _Upgraded(self.connections)

    def count_open(self) -> dict[StreamKind, int]:
        """How many streams of each kind are open."""
        counts = Counter(stream.kind for stream in self.streams.values())
        return {kind: counts[kind] for kind in STREAM_KINDS}

    def _add(self, stream: OpenStream) -> None:
        self.streams[stream.id] = stream

    def _remove(self, stream: OpenStream, reason: CloseReason, held: tuple[str, ...]) -> None:
        del self.streams[stream.id]
        self.closed.setdefault(stream.kind, Counter())[reason] += 1
        if held:
            self.leaked += len(held)
            _log.error("stream %d (%s) ended and still holds %s", stream.id, stream.kind, dict(Counter(held)))
        if self._on_closed is not None:
            self._on_closed(stream, reason)


class _Upgraded:
    __slots__ = ("_connections",)

    def __init__(self, connections: dict[ConnectionKind, int]) -> None:
        self._connections = connections

    def __enter__(self) -> None:
        self._connections["http"] -= 1
        self._connections["websocket"] += 1

    def __exit__(self, *exc_info: object) -> None:
        self._connections["websocket"] -= 1
        self._connections["http"] += 1


def _reason_of(error: BaseException | None) -> CloseReason:
    if error is None:
        return CloseReason.COMPLETED
    if isinstance(error, BaseExceptionGroup):
        reasons = {_reason_of(member) for member in error.exceptions}
        for reason in (CloseReason.FAILED, CloseReason.SLOW_CONSUMER):
            if reason in reasons:
                return reason
        return CloseReason.CLIENT_DISCONNECTED
    if isinstance(error, WriteDeadlineError):
        return CloseReason.SLOW_CONSUMER
    if isinstance(error, trio.Cancelled | trio.BrokenResourceError | trio.ClosedResourceError):
        return CloseReason.CLIENT_DISCONNECTED
    return CloseReason.FAILED
