"""Members of a room that blocks, over the whole application: who waits is not taken for gone."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from server.application import Application, open_application
from server.settings import Settings, TopicRule
from tests.support.house import hear, hear_until, saying
from tests.support.memory_socket import memory_tcp
from tests.support.websocket_peer import WebSocketPeer

LAGGARD = 35.0
"""Seconds that a member which takes nothing has."""


async def join(application: Application, nursery: trio.Nursery, on_the_way: int) -> WebSocketPeer:
    """A member, to which `on_the_way` bytes may be on their way."""
    end, stream = memory_tcp(on_the_way, LAGGARD)

    async def serve() -> None:
        await application.server().serve_stream(stream, ("127.0.0.1", 50000), ("127.0.0.1", 8000))
        await trio.aclose_forcefully(stream)

    nursery.start_soon(serve)
    peer = await WebSocketPeer.connect(end, "/rooms/lobby")
    await hear_until(peer, "welcome")
    return peer


async def test_a_member_that_waits_to_speak_is_heard_once_there_is_room(autojump_clock: MockClock) -> None:
    rules = (TopicRule("lobby", capacity=5, overflow="block"),)
    settings = Settings(room=rules, write_deadline=LAGGARD)
    async with open_application(settings) as application, trio.open_nursery() as nursery:
        speaker = await join(application, nursery, 64 * 1024)
        await join(application, nursery, 2000)

        async def talk() -> None:
            for number in range(40):
                await speaker.send(saying("x" * 1000 + str(number)))

        nursery.start_soon(talk)
        heard: list[str] = []
        while len(heard) < 40:
            frame = await hear(speaker)
            if frame["type"] == "message":
                heard.append(frame["data"].lstrip("x"))
        assert heard == [str(number) for number in range(40)]
        assert trio.current_time() > 29
        nursery.cancel_scope.cancel()
