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
from typing import Self

import trio

from .sockets import TcpStream

_EVENTS_A_PASS = 4096


class Hangups:
    """Watches connections for their peer's FIN, reset or death.

    One for a server.  Within its `with` block `run` must be running; outside of one each connection is read.
    """

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._callbacks: dict[int, Callable[[], object]] = {}

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
                # Edge-triggered: said once.  One that left `run_until` in this very pass is in the list and
                # not in the table.
                callback = self._callbacks.get(descriptor)
                if callback is not None:
                    callback()
            await trio.lowlevel.checkpoint()

    async def run_until(self, stream: trio.abc.Stream, work: Callable[[], Awaitable[object]]) -> bool:
        """Await `work`, cancelled when the peer of `stream` hangs up.  True where it came to its own end."""
        if isinstance(stream, TcpStream) and self._epoll is not None:
            return await self._run_watched(stream, self._epoll, work)
        done = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_discard_until_hangup, stream, nursery.cancel_scope)
            await work()
            done = True
            nursery.cancel_scope.cancel()
        return done

    async def _run_watched(
        self, stream: TcpStream, epoll: select.epoll, work: Callable[[], Awaitable[object]]
    ) -> bool:
        descriptor = stream.fileno()
        with trio.CancelScope() as scope:
            self._callbacks[descriptor] = scope.cancel
            try:
                epoll.register(descriptor, select.EPOLLRDHUP | select.EPOLLET)
                await work()
                return True
            finally:
                del self._callbacks[descriptor]
                # A closed descriptor has left the epoll by itself, and its number may be another's by now.
                if stream.fileno() != -1:
                    epoll.unregister(descriptor)
        return False


async def _discard_until_hangup(stream: trio.abc.Stream, scope: trio.CancelScope) -> None:
    try:
        while await stream.receive_some(65536):
            pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()
