"""Rooms over HTTP alone: what was said, page by page, and listening where WebSockets are blocked."""

from __future__ import annotations

import json
from typing import Any

from trio.testing import MockClock, memory_stream_pair

from server.settings import Settings
from tests.support.house import hear_until, saying
from tests.support.http_peer import EventReader, World, open_world
from tests.support.websocket_peer import WebSocketPeer


async def say(world: World, room: str, data: object, **more: object) -> str:
    answer = await world.request("POST", f"/rooms/{room}", json_body={"data": data, **more})
    said: str = answer.json()["id"]
    return said


async def get(world: World, target: str) -> Any:
    return (await world.request("GET", target)).json()


async def join(world: World, room: str) -> tuple[WebSocketPeer, str]:
    ours, theirs = memory_stream_pair()
    world.nursery.start_soon(world.serve, ours)
    peer = await WebSocketPeer.connect(theirs, f"/rooms/{room}")
    return peer, (await hear_until(peer, "welcome"))["member"]


async def next_frame(events: EventReader) -> Any:
    """The next event as the frame it holds; its name is the frame's type."""
    while (event := await events.next_data()).data is None:
        pass
    frame = json.loads(event.data)
    assert event.event == frame["type"]
    assert event.id == frame.get("id", frame.get("cursor", event.id))
    return frame


async def test_what_was_said_is_read_backwards_and_forwards(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        assert (await world.request("GET", "/rooms/lobby/messages")).problem == (404, "room_unknown")
        peer, member = await join(world, "lobby")
        await peer.send(saying({"a": 1.50}, "r"))
        await hear_until(peer, "message")
        ids = [await say(world, "lobby", number, label="build") for number in range(4)]
        newest = await get(world, "/rooms/lobby/messages?limit=2")
        assert [message["data"] for message in newest["messages"]] == [2, 3]
        older = await get(world, f"/rooms/lobby/messages?before={ids[2]}&limit=2")
        assert [message["data"] for message in older["messages"]] == [0, 1]
        assert older["messages"][0]["label"] == "build"
        oldest = await get(world, f"/rooms/lobby/messages?before={older['next']}&limit=2")
        (first,) = oldest["messages"]
        assert (first["from"], first["data"], first["ref"]) == (member, {"a": 1.5}, "r")
        assert (oldest["next"], oldest["gap"]) == (None, None)
        newer = await get(world, f"/rooms/lobby/messages?after={ids[1]}")
        assert [message["data"] for message in newer["messages"]] == [2, 3]
        assert newer["next"] == ids[3]
        gone = await get(world, "/rooms/lobby/messages?after=elsewhere:1")
        assert (gone["gap"]["reason"], gone["gap"]["missed"]) == ("epoch", None)
        answer = await world.request("GET", "/rooms/lobby/messages?limit=0")
        assert answer.problem == (400, "query_invalid")


async def test_a_room_is_heard_over_an_event_stream(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        events = await world.connect().open_events("/rooms/lobby/events")
        first = await events.next()
        assert first.id
        peer, member = await join(world, "lobby")
        assert await next_frame(events) == {"type": "joined", "member": member, "name": "guest", "state": {}}
        await peer.send(json.dumps({"type": "presence", "state": {"a": 1}}))
        assert await next_frame(events) == {"type": "presence", "member": member, "state": {"a": 1}}
        await peer.send(json.dumps({"type": "signal", "data": "psst"}))
        assert await next_frame(events) == {"type": "signal", "from": member, "data": "psst"}
        await peer.send(saying("hello", "r"))
        heard = await hear_until(peer, "message")
        assert await next_frame(events) == heard
        # Who listens is no member.
        assert (await get(world, "/rooms/lobby"))["member_count"] == 1
        await peer.close(1000)
        assert await next_frame(events) == {"type": "left", "member": member}


async def test_listening_is_resumed_behind_the_last_id(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ids = [await say(world, "lobby", number) for number in range(5)]
        for target, headers in (
            ("/rooms/lobby/events", {"last-event-id": ids[1]}),
            (f"/rooms/lobby/events?last_event_id={ids[1]}", {}),
            ("/rooms/lobby/events?rewind=3", {}),
        ):
            events = await world.connect().open_events(target, **headers)
            assert [(await next_frame(events))["data"] for _ in range(3)] == [2, 3, 4]
            await events.peer.aclose()
        events = await world.connect().open_events("/rooms/lobby/events?last_event_id=elsewhere:1")
        assert (await next_frame(events))["reason"] == "epoch"
        assert (await next_frame(events))["data"] == 0


async def test_what_was_missed_is_a_gap_as_on_a_websocket(autojump_clock: MockClock) -> None:
    settings = Settings.load(["--room", "lobby:history=2"], {})
    async with open_world(settings) as world:
        ids = [await say(world, "lobby", number) for number in range(5)]
        events = await world.connect().open_events(f"/rooms/lobby/events?last_event_id={ids[0]}")
        gap = await next_frame(events)
        assert (gap["reason"], gap["missed"]) == ("evicted", None)
        assert [(await next_frame(events))["data"] for _ in range(2)] == [3, 4]


async def test_silence_is_broken_by_a_heartbeat(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        events = await world.connect().open_events("/rooms/lobby/events?heartbeat=event")
        await events.next()
        beat = await events.next_data()
        assert (beat.event, beat.data) == ("heartbeat", "{}")


async def test_a_parameter_that_means_nothing_is_refused(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        for query in ("envelope=1", "name=Ann", "session=x"):
            answer = await world.request("GET", f"/rooms/lobby/events?{query}")
            assert answer.problem == (400, "query_invalid")
