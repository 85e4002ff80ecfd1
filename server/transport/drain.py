"""The drain: how a server stops without losing anybody.

`DrainGate` is what the rest asks ("are we draining?") and waits for.  `IdleConnections` are the kept-alive
connections on which nothing is under way; they are ended first, since nobody would miss them.  `spread` ends
streams one after another, so that their clients do not come back all at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from types import TracebackType

import trio

from ..lifecycle import CloseReason, OpenStream

ENDS_A_SECOND = 200
"""Streams that are ended a second, unless the drain's time asks for more."""
SHARE_OF_DRAIN = 0.6
"""The share of the drain's time within which every stream has been asked to end; the rest is for slow
readers.
"""


class DrainGate:
    """Open while the server takes new streams.  Closing it is the first thing that a drain does."""

    def __init__(self, streams: Callable[[], int], drain_seconds: float) -> None:
        """`streams` counts the open ones, `drain_seconds` bounds the time over which clients are told to come
        back.
        """
        self._closed = trio.Event()
        self._streams = streams
        self._drain_seconds = drain_seconds

    @property
    def draining(self) -> bool:
        """Whether the server is shutting down."""
        return self._closed.is_set()

    def close(self) -> None:
        """Begin the drain."""
        self._closed.set()

    async def wait_draining(self) -> None:
        """Wait for the drain to begin."""
        await self._closed.wait()

    def retry_ms(self) -> int:
        """When a client that is sent away now should come back: milliseconds, drawn so that they spread."""
        window = min(max(4.0, self._streams() / ENDS_A_SECOND), max(4.0, self._drain_seconds))
        return int(random.uniform(1.0, 1.0 + window) * 1000)


class IdleConnections:
    """The connections that wait for their next request, so that a drain can end them."""

    def __init__(self) -> None:
        self._scopes: set[trio.CancelScope] = set()
        self._closed = False

    def scope(self, deadline: float) -> _IdleScope:
        """A context manager around the wait for a request.

        It is left early at `deadline` (Trio's clock) or when idle connections are closed.
        """
        return _IdleScope(self, deadline)

    def close(self) -> None:
        """End every idle connection, and from now on each one that becomes idle."""
        self._closed = True
        for scope in self._scopes:
            scope.cancel()


class _IdleScope:
    # A class, as a generator would cost each request several times as much.
    __slots__ = ("_idle", "_scope")

    def __init__(self, idle: IdleConnections, deadline: float) -> None:
        self._idle = idle
        self._scope = trio.CancelScope(deadline=deadline)

    def __enter__(self) -> None:
        self._scope.__enter__()
        if self._idle._closed:
            self._scope.cancel()
        self._idle._scopes.add(self._scope)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._idle._scopes.discard(self._scope)
        return self._scope.__exit__(exc_type, error, traceback)


async def spread_ends(streams: Iterable[OpenStream], drain_seconds: float) -> None:
    """Ask every stream to end, at an even pace that is done well within `drain_seconds`."""
    waiting = list(streams)
    random.shuffle(waiting)
    pace = max(ENDS_A_SECOND, len(waiting) / max(drain_seconds * SHARE_OF_DRAIN, 0.001))
    started = trio.current_time()
    for position, stream in enumerate(waiting):
        stream.end(CloseReason.SERVER_DRAINING)
        ahead = (position + 1) / pace - (trio.current_time() - started)
        # Sleeping for less than a tick would make the pace one of wake-ups.
        if ahead > 0.05:
            await trio.sleep(ahead)
    await trio.lowlevel.checkpoint()
