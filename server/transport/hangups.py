"""Hangups: learning at once that a peer is gone, without reading and without a task a connection.

A stream that has been handed over reads nothing: what a client sends behind its request is of no interest.  A
task parked in a read for each would cost more memory than all the rest of a subscriber, and would be blind
behind unread bytes.  Linux tells a hangup apart from readable bytes (EPOLLRDHUP), so one epoll object holds
all of them, and one task waits for it. Where there is no epoll, and for streams that are no sockets (TLS,
memory), a task reads and discards.
"""

from __future__ import annotations

import select
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeGuard

import trio

from .sockets import TcpStream

_EVENTS_A_PASS = 4096


class Hangups:
    """Watches connections for their peer's FIN, reset or death.

    One for a server.  Within its `with` block `run` must be running; outside of one each connection is read.
    """

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._scopes: dict[int, trio.CancelScope] = {}

    def __enter__(self) -> Self:
        if hasattr(select, "epoll"):
            self._epoll = select.epoll()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None

    async def run(self) -> None:
        """Call back for every hangup, until cancelled."""
        if self._epoll is None:
            await trio.sleep_forever()
            return
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for descriptor, _ in self._epoll.poll(0, _EVENTS_A_PASS):
                # Edge-triggered: said once.  One that left its `watch` in this very pass is in the list and
                # not in the table.
                scope = self._scopes.get(descriptor)
                if scope is not None:
                    scope.cancel()
            await trio.lowlevel.checkpoint()

    def can_watch(self, stream: trio.abc.Stream) -> TypeGuard[TcpStream]:
        """Whether `watch` may be called for `stream`."""
        return self._epoll is not None and isinstance(stream, TcpStream)

    def watch(self, stream: TcpStream) -> _Watch:
        """A context manager that yields a cancel scope, cancelled when the peer of `stream` hangs up.

        It is no coroutine around the stream's work, which would have to be kept for as long.
        """
        return _Watch(self, stream)

    def _add(self, descriptor: int, scope: trio.CancelScope) -> None:
        assert self._epoll is not None
        self._scopes[descriptor] = scope
        self._epoll.register(descriptor, select.EPOLLRDHUP | select.EPOLLET)

    def _remove(self, descriptor: int, scope: trio.CancelScope, *, closed: bool) -> None:
        # A closed descriptor has left the epoll by itself, and its number may be another's by now.
        if self._scopes.get(descriptor) is scope:
            del self._scopes[descriptor]
        if not closed and self._epoll is not None:
            self._epoll.unregister(descriptor)


class _Watch:
    __slots__ = ("_descriptor", "_hangups", "_scope", "_stream")

    def __init__(self, hangups: Hangups, stream: TcpStream) -> None:
        self._hangups = hangups
        self._stream = stream
        self._descriptor = stream.fileno()
        self._scope = trio.CancelScope()

    def __enter__(self) -> trio.CancelScope:
        self._hangups._add(self._descriptor, self._scope)
        return self._scope.__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._hangups._remove(self._descriptor, self._scope, closed=self._stream.fileno() == -1)
        return self._scope.__exit__(exc_type, error, traceback)


async def read_until_hangup(stream: trio.abc.Stream, work: Callable[[], Awaitable[object]]) -> bool:
    """Await `work`, cancelled when the peer of `stream`, which cannot be watched, hangs up.

    True where it came to its own end.
    """
    done = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_discard_until_hangup, stream, nursery.cancel_scope)
        await work()
        done = True
        nursery.cancel_scope.cancel()
    return done


async def _discard_until_hangup(stream: trio.abc.Stream, scope: trio.CancelScope) -> None:
    try:
        while await stream.receive_some(65536):
            pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()
