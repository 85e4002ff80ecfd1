"""Streams of one's own routes: what is written is the answer, and who goes away is noticed."""

from __future__ import annotations

import tracemalloc
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from server.application import open_application
from server.lifecycle import CloseReason
from server.settings import Settings
from server.streams import (
    ByteWriter,
    EventWriter,
    TextWriter,
    stream_bytes,
    stream_events,
    stream_text,
)
from tests.streams.own_routes import HELPERS, KINDS, ask, closed, get, open_own, put, routes, slow_connection
from tests.streams.test_without_handover import AsgiClient, piece

each_helper = pytest.mark.parametrize("helper", list(HELPERS))


async def wait_for_ever(writer: Any) -> None:
    await put(writer, "hello")
    await trio.sleep_forever()


# What is written is the answer


async def test_text_is_what_was_written(autojump_clock: MockClock) -> None:
    async def write(text: TextWriter) -> None:
        await text.write("zwölf")
        await text.writeln(" Boxkämpfer")
        await text.writeln()
        await text.write("")

    async with open_own(lambda: stream_text(write)) as world:
        status, headers, body, whole = await get(world)
        assert (status, body.decode(), whole) == (200, "zwölf Boxkämpfer\n\n", True)
        assert headers["content-type"] == "text/plain; charset=utf-8"
        assert headers["cache-control"] == "no-store, no-transform"
        assert closed(world, "text") == {CloseReason.COMPLETED: 1}


async def test_bytes_are_what_was_written(autojump_clock: MockClock) -> None:
    async def write(out: ByteWriter) -> None:
        await out.write(b"a")
        await out.write(bytearray(b"b"))
        await out.write(memoryview(b"c" * 200_000))

    async with open_own(lambda: stream_bytes(write, content_type="image/png")) as world:
        _, headers, body, whole = await get(world)
        assert (body, whole) == (b"ab" + b"c" * 200_000, True)
        assert headers["content-type"] == "image/png"


async def test_events_are_what_was_sent(autojump_clock: MockClock) -> None:
    async def write(events: EventWriter) -> None:
        await events.send("two\nlines", event="said", id="7", retry=1500)
        await events.send({"b": [1, None]})
        await events.send(id="8")

    async with open_own(lambda: stream_events(write)) as world:
        _, headers, body, whole = await get(world)
        assert whole
        assert headers["content-type"] == "text/event-stream"
        assert body == (
            b'retry: 1500\nid: 7\nevent: said\ndata: two\ndata: lines\n\ndata: {"b":[1,null]}\n\nid: 8\n\n'
        )


@each_helper
async def test_the_head_leaves_before_the_function_writes(autojump_clock: MockClock, helper: str) -> None:
    async def write(writer: Any) -> None:
        await trio.sleep(100)

    async with open_own(lambda: HELPERS[helper](write)) as world:
        with trio.fail_after(1):
            response = await world.connect()._ask("GET", "/own", b"", {})
        assert response.status_code == 200


@each_helper
async def test_head_is_answered_without_running_the_function(autojump_clock: MockClock, helper: str) -> None:
    async def write(writer: Any) -> None:
        raise AssertionError("it runs")

    async with open_own(lambda: HELPERS[helper](write)) as world:
        answer = await world.request("HEAD", "/own")
        assert (answer.status, answer.body) == (200, b"")
        assert closed(world, KINDS[helper]) == {}


async def test_a_known_length_is_announced_and_kept(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def write(count: int, out: ByteWriter) -> None:
        for _ in range(count):
            await out.write(b"x")

    lengths = iter([3, 2, 4])
    async with open_own(lambda: stream_bytes(partial(write, next(lengths)), length=3)) as world:
        _, headers, body, whole = await get(world)
        assert (headers["content-length"], body, whole) == ("3", b"xxx", True)
        assert (await get(world))[2:] == (b"xx", False)
        assert "1 bytes short" in caplog.text
        # All that was promised has come; what was too much has not.
        assert (await get(world))[2:] == (b"xxx", True)
        assert closed(world, "file") == {CloseReason.COMPLETED: 2, CloseReason.FAILED: 1}
        assert "1 bytes to write, and 0 left of the length" in caplog.text


# Whoever goes away


@each_helper
async def test_a_function_that_waits_is_cancelled_as_soon_as_its_client_is_gone(
    autojump_clock: MockClock, helper: str
) -> None:
    ended: list[float] = []

    async def write(writer: Any) -> None:
        try:
            await wait_for_ever(writer)
        finally:
            ended.append(trio.current_time())

    async with open_own(lambda: HELPERS[helper](write)) as world:
        peer = world.connect()
        await peer._ask("GET", "/own", b"", {})
        await trio.sleep(3)
        gone = trio.current_time()
        await peer.aclose()
        await world.wait_no_stream()
        assert ended == [gone]
        assert closed(world, KINDS[helper]) == {CloseReason.CLIENT_DISCONNECTED: 1}


@each_helper
async def test_one_that_swallows_the_news_is_cancelled_all_the_same(
    autojump_clock: MockClock, helper: str
) -> None:
    written = 0

    async def write(writer: Any) -> None:
        nonlocal written
        while True:
            try:
                await put(writer, "x" * 5000)
                written += 1
            except trio.BrokenResourceError:
                await trio.sleep(1)

    async with open_own(lambda: HELPERS[helper](write)) as world:
        _, client = slow_connection(world, room=2000, write_deadline=7)
        await ask(client)
        await trio.sleep(8)
        await world.wait_no_stream()
        assert closed(world, KINDS[helper]) == {CloseReason.SLOW_CONSUMER: 1}
        assert written == 0


@each_helper
async def test_a_client_that_takes_nothing_is_given_up_at_the_write_deadline(
    autojump_clock: MockClock, helper: str
) -> None:
    ended: list[float] = []

    async def write(writer: Any) -> None:
        started = trio.current_time()
        try:
            while True:
                await put(writer, "x" * 1000)
        finally:
            ended.append(trio.current_time() - started)

    async with open_own(lambda: HELPERS[helper](write)) as world:
        _, client = slow_connection(world, room=3000, write_deadline=7)
        await ask(client)
        await trio.sleep(6.5)
        assert ended == []
        await trio.sleep(1)
        assert ended == [7.0]
        assert closed(world, KINDS[helper]) == {CloseReason.SLOW_CONSUMER: 1}


async def test_a_slow_reader_holds_the_function_back_and_costs_no_memory(autojump_clock: MockClock) -> None:
    """Ten kilobytes a second, from a function that would write a gigabyte."""
    block = b"x" * 65_536
    written = 0

    async def write(out: ByteWriter) -> None:
        nonlocal written
        for _ in range(16_384):
            await out.write(block)
            written += len(block)

    async with open_own(lambda: stream_bytes(write)) as world:
        peer, client = slow_connection(world, room=16_384)
        await ask(client)
        await client.receive_some(1000)
        tracemalloc.start()
        try:
            for _ in range(100):
                await trio.sleep(1)
                await client.receive_some(10_000)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert 800_000 < client.received < 1_100_000
        assert written <= client.received + 65_536
        assert most < 1_000_000
        await peer.aclose()


# Silence


async def test_a_silent_event_stream_has_a_heartbeat(autojump_clock: MockClock) -> None:
    async def write(events: EventWriter) -> None:
        await events.send("first")
        await trio.sleep(40)
        await events.send("last")

    async with open_own(lambda: stream_events(write), Settings(heartbeat=15)) as world:
        _, _, body, _ = await get(world)
        assert body == b"data: first\n\n:\n\n:\n\ndata: last\n\n"


async def test_a_heartbeat_waits_behind_an_event_that_is_being_written(autojump_clock: MockClock) -> None:
    async def write(events: EventWriter) -> None:
        for _ in range(2):
            await events.send("x" * 3000)
            await trio.sleep(3)

    async with open_own(lambda: stream_events(write), Settings(heartbeat=1)) as world:
        _, client = slow_connection(world, room=1000)
        await ask(client)
        received = b""
        await trio.sleep(10)
        while data := await client.receive_some():
            received += data
            await trio.sleep(0.5)
        assert received.endswith(b"0\r\n\r\n")
        assert received.count(b"data: " + b"x" * 3000 + b"\n\n") == 2
        assert received.count(b"3\r\n:\n\n\r\n") >= 3


@pytest.mark.parametrize("helper", ["bytes", "text"])
async def test_nothing_is_put_into_text_and_bytes(autojump_clock: MockClock, helper: str) -> None:
    async def write(writer: Any) -> None:
        await trio.sleep(100)

    async with open_own(lambda: HELPERS[helper](write), Settings(heartbeat=1)) as world:
        assert (await get(world))[2:] == (b"", True)


# Without a handover


@each_helper
async def test_under_another_server_all_is_the_same(autojump_clock: MockClock, helper: str) -> None:
    async def write(writer: Any) -> None:
        await put(writer, "hello")
        if waits:
            await trio.sleep_forever()

    async with open_application(
        Settings(heartbeat=2), extension=routes(lambda: HELPERS[helper](write))
    ) as app:
        for waits in (False, True):
            client = AsgiClient(app, "/own", body=[piece(b"", more=False)])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.run)
                await trio.sleep(5)
                assert client.sent[0]["status"] == 200
                assert b"hello" in client.body
                assert client.complete is not waits
                assert (b":\n\n" in client.body) is (waits and helper == "events")
                client.gone.set()
        assert app.registry.closed[KINDS[helper]] == {
            CloseReason.COMPLETED: 1,
            CloseReason.CLIENT_DISCONNECTED: 1,
        }
