"""Echo: what comes back, and how it ends."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from server.lifecycle import CloseReason, Registry, RequestHead
from server.rooms import run_echo
from tests.support.frames import Binary, Close, Text
from tests.support.memory_connection import memory_connection

HEAD = RequestHead("GET", "/echo", "", ())


async def test_messages_come_back_as_they_came_until_the_client_closes(autojump_clock: MockClock) -> None:
    registry = Registry()
    connection, peer = memory_connection()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_echo, registry, HEAD, connection)
        await peer.send("text")
        assert await peer.receive() == Text("text")
        await peer.send(b"bytes")
        assert await peer.receive() == Binary(b"bytes")
        await peer.close(1000)
    assert registry.closed["room"] == {CloseReason.CLIENT_DISCONNECTED: 1}


async def test_a_drain_closes_1012(autojump_clock: MockClock) -> None:
    registry = Registry()
    connection, peer = memory_connection()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_echo, registry, HEAD, connection)
        await trio.testing.wait_all_tasks_blocked()
        (stream,) = registry.streams.values()
        stream.end(CloseReason.SERVER_DRAINING)
        assert await peer.receive() == Close(1012, "server_draining")
    assert registry.closed["room"] == {CloseReason.SERVER_DRAINING: 1}
