"""`GET /text/{topic}`: a topic as lines, for `curl -N` and pipes."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.application import open_application
from server.hub import Cursor, Gap
from server.lifecycle import CloseReason
from server.settings import Settings, TopicRule
from server.streams.text import line
from tests.streams.own_routes import ask, closed, slow_connection
from tests.streams.test_without_handover import AsgiClient, piece
from tests.support.http_peer import HttpPeer, World, open_world


async def open_text(world: World, target: str, **headers: str) -> HttpPeer:
    peer = world.connect()
    response = await peer._ask("GET", target, b"", headers)
    assert response.status_code == 200
    assert dict(response.headers)[b"content-type"] == b"text/plain; charset=utf-8"
    return peer


async def read(peer: HttpPeer, enough: int) -> str:
    text = b""
    while text.count(b"\n") < enough:
        event = await peer.next_http_event()
        text += bytes(event.data)  # type: ignore[union-attr]
    return text.decode()


async def test_each_message_is_a_line_as_it_was_published(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        peer = await open_text(world, "/text/log")
        await world.publish("log", {"disk": [91]})
        await world.publish("log", "u")
        await world.request("POST", "/topics/log", "plain\nzwölf".encode(), content_type="text/plain")
        assert await read(peer, 4) == '{"disk":[91]}\n"u"\nplain\nzwölf\n'
        assert (await world.stats())["streams"]["text"] == 1
        await peer.aclose()
        await world.wait_no_stream()
        assert closed(world, "text") == {CloseReason.CLIENT_DISCONNECTED: 1}


async def test_it_resumes_and_rewinds_and_says_what_is_missing(autojump_clock: MockClock) -> None:
    settings = Settings(topic=(TopicRule("log", history=3),))
    async with open_world(settings) as world:
        ids = [await world.publish("log", number) for number in range(6)]
        for target, lines in [
            ("/text/log?rewind=2", "4\n5\n"),
            (f"/text/log?last_event_id={ids[3]}", "4\n5\n"),
            (f"/text/log?last_event_id={ids[0]}", "# gap: evicted\n3\n4\n5\n"),
            ("/text/log?last_event_id=none", "# gap: epoch\n3\n4\n5\n"),
        ]:
            peer = await open_text(world, target)
            assert await read(peer, lines.count("\n")) == lines
            await peer.aclose()


def test_a_gap_says_how_many_where_that_is_known() -> None:
    gap = Gap(Cursor("e", 5), "overflow", (("a", 3),))
    assert line(gap) == b"# gap: overflow, 3 missed\n"


async def test_it_ends_with_a_line_that_says_why(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        peer = await open_text(world, "/text/log")
        await wait_all_tasks_blocked()
        (stream,) = world.application.registry.streams.values()
        stream.end(CloseReason.SERVER_DRAINING)
        assert await read(peer, 1) == "# closing: server_draining\n"
        assert closed(world, "text") == {CloseReason.SERVER_DRAINING: 1}


async def test_silence_is_silent(autojump_clock: MockClock) -> None:
    async with open_world(Settings(heartbeat=1)) as world:
        peer = await open_text(world, "/text/log")
        await trio.sleep(100)
        await world.publish("log", 1)
        assert await read(peer, 1) == "1\n"


async def test_a_reader_that_takes_nothing_is_given_up(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        _, client = slow_connection(world, room=1000, write_deadline=7)
        await ask(client, "/text/log")
        await wait_all_tasks_blocked()
        await world.publish("log", "x" * 5000)
        await trio.sleep(8)
        await world.wait_no_stream()
        assert closed(world, "text") == {CloseReason.SLOW_CONSUMER: 1}


async def test_head_and_mistakes(autojump_clock: MockClock) -> None:
    async with open_world(Settings(max_topics=1)) as world:
        assert (await world.request("HEAD", "/text/log")).status == 200
        assert (await world.request("GET", "/text/.log")).problem == (400, "name_invalid")
        assert (await world.request("GET", "/text/log?envelope=1")).problem == (400, "query_invalid")
        assert (await world.request("POST", "/text/log")).problem == (405, "method_unknown")
        peer = await open_text(world, "/text/log")
        assert (await world.request("GET", "/text/other")).problem == (503, "topics_full")
        await peer.aclose()
        world.application.gate.close()
        answer = await world.request("GET", "/text/log")
        assert answer.problem == (503, "server_draining")
        assert int(answer.headers["retry-after"]) >= 1


async def test_under_another_server(autojump_clock: MockClock) -> None:
    async with open_application(Settings()) as application:
        client = AsgiClient(application, "/text/clock", body=[piece(b"", more=False)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run)
            await trio.sleep(2.5)
            assert client.body.count(b'{"time":') == 3
            client.gone.set()
