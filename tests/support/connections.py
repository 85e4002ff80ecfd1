"""Both ends of a `Connection`, of every implementation there is, for tests of what all of them promise."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import trio
from trio.testing import memory_stream_pair

from server.lifecycle import Registry
from server.transport import Acceptance, AsgiMessage, Connection, ConnectionServer, DrainGate, ServerOptions
from server.transport.sockets import TcpStream

from .frames import Frame
from .memory_connection import memory_connection
from .websocket_peer import WebSocketPeer

WRITE_DEADLINE = 0.05
MAX_MESSAGE = 64 * 1024


class Peer(Protocol):
    """The client's end."""

    async def receive(self) -> Frame:
        """The next frame; EOFError at the end."""

    async def send(self, message: str | bytes) -> None:
        """Send a message."""

    async def close(self, code: int = 1000) -> None:
        """Send a close frame."""


@dataclass(frozen=True, slots=True)
class Ends:
    """A connection, its client, and how that client is gone without a close frame."""

    connection: Connection
    peer: Peer
    vanish: Callable[[], Awaitable[None]]
    silence: Callable[[], None]
    """Let the client answer nothing by itself from now on."""


OpenEnds = Callable[[], AbstractAsyncContextManager[Ends]]


@asynccontextmanager
async def in_memory() -> AsyncIterator[Ends]:
    """The connection in memory."""
    connection, peer = memory_connection(write_deadline=WRITE_DEADLINE)

    async def vanish() -> None:
        peer.vanish()
        await trio.lowlevel.checkpoint()

    def silence() -> None:
        peer.answers = False

    yield Ends(connection, peer, vanish, silence)
    peer.vanish()
    connection.cut()


@asynccontextmanager
async def websocket_over_memory() -> AsyncIterator[Ends]:
    """trio-websocket, served over a memory stream."""
    ours, theirs = memory_stream_pair()
    async with _served(ours, theirs) as ends:
        yield ends


@asynccontextmanager
async def websocket_over_sockets() -> AsyncIterator[Ends]:
    """trio-websocket, served over a socket."""
    left, right = socket.socketpair()
    ours, theirs = TcpStream(left, WRITE_DEADLINE), TcpStream(right, WRITE_DEADLINE)
    try:
        async with _served(ours, theirs) as ends:
            yield ends
    finally:
        ours.close()
        theirs.close()


@asynccontextmanager
async def _served(ours: trio.abc.Stream, theirs: trio.abc.Stream) -> AsyncIterator[Ends]:
    accepted = _Accepted()
    registry = Registry()
    server = ConnectionServer(
        _no_app,
        registry,
        DrainGate(lambda: 0, 1.0),
        door=lambda head: None,
        door_when_full=lambda head: None,
        websockets=lambda head: Acceptance(accepted.run, max_message=MAX_MESSAGE),
        on_answer=lambda head, status, seconds: None,
        options=ServerOptions(write_deadline=WRITE_DEADLINE),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_stream, ours, ("127.0.0.1", 50000), ("127.0.0.1", 8000))
        peer = await WebSocketPeer.connect(theirs, "/")
        connection = await accepted.wait()

        def silence() -> None:
            peer.answers = False

        yield Ends(connection, peer, peer.aclose, silence)
        nursery.cancel_scope.cancel()
    await peer.aclose()
    await trio.aclose_forcefully(ours)
    assert server.failures == 0
    assert registry.connections == {"http": 0, "websocket": 0}


class _Accepted:
    """What runs on the connection: nothing but the test."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._has_come = trio.Event()

    async def run(self, connection: Connection) -> None:
        self._connection = connection
        self._has_come.set()
        await trio.sleep_forever()

    async def wait(self) -> Connection:
        await self._has_come.wait()
        assert self._connection is not None
        return self._connection


async def _no_app(scope: AsgiMessage, receive: object, send: object) -> None:
    raise AssertionError("a WebSocket never gets to the app")
