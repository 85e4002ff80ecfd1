"""Streams of one's own routes: how they end."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from server.lifecycle import CloseReason
from server.streams import (
    ByteWriter,
    EventWriter,
    TextWriter,
    stream_bytes,
    stream_events,
    stream_text,
)
from tests.streams.own_routes import HELPERS, KINDS, ask, closed, get, open_own, put, slow_connection
from tests.support.sse import SSEParser

each_helper = pytest.mark.parametrize("helper", list(HELPERS))


async def say_hello(writer: Any) -> None:
    await put(writer, "hello")


async def wait_for_ever(writer: Any) -> None:
    await put(writer, "hello")
    await trio.sleep_forever()


async def say_hello_and_fail(writer: Any) -> None:
    await put(writer, "hello")
    raise ValueError("the inside")


# on_abort, close


async def test_on_abort_is_told_at_once_also_while_the_function_cannot_be_cancelled(
    autojump_clock: MockClock,
) -> None:
    told: list[object] = []

    async def write(text: TextWriter) -> None:
        text.on_abort(lambda: told.append(trio.current_time()))

        async def slowly() -> None:
            await trio.sleep(1)
            told.append("slowly")

        text.on_abort(slowly)
        with trio.CancelScope(shield=True):
            await trio.sleep(100)
        told.append("ended")

    async with open_own(lambda: stream_text(write)) as world:
        peer = world.connect()
        await peer._ask("GET", "/own", b"", {})
        gone = trio.current_time()
        await peer.aclose()
        await trio.sleep(200)
        assert told == [gone, "slowly", "ended"]
        assert closed(world, "text") == {CloseReason.CLIENT_DISCONNECTED: 1}


async def test_on_abort_is_not_told_of_an_end_of_the_functions_own(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def write(text: TextWriter) -> None:
        text.on_abort(lambda: pytest.fail("it was no abort"))
        await text.write("x")
        if fails:
            raise ValueError

    async with open_own(lambda: stream_text(write)) as world:
        for fails in (False, True):
            assert (await get(world))[3] is not fails
    assert "callback" not in caplog.text


async def test_a_callback_that_fails_or_hangs_keeps_nobody(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def write(text: TextWriter) -> None:
        text.on_abort(lambda: 1 / 0)
        text.on_abort(trio.sleep_forever)
        await wait_for_ever(text)

    async with open_own(lambda: stream_text(write)) as world:
        peer = world.connect()
        await peer._ask("GET", "/own", b"", {})
        await peer.aclose()
        await trio.sleep(5.1)
        await world.wait_no_stream()
        assert "ZeroDivisionError" in caplog.text


@each_helper
async def test_close_completes_the_answer_and_ends_the_function(
    autojump_clock: MockClock, helper: str
) -> None:
    after: list[object] = []

    async def write(writer: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await put(writer, "hello")
            writer.close()
            with trio.CancelScope(shield=True):
                try:
                    await put(writer, "more")
                except trio.ClosedResourceError as error:
                    after.append(str(error))
            await trio.sleep_forever()

    async with open_own(lambda: HELPERS[helper](write)) as world:
        _, _, body, whole = await get(world)
        assert (b"hello" in body, b"more" in body, whole) == (True, False, True)
        assert after == ["the stream was ended by close()"]
        assert closed(world, KINDS[helper]) == {CloseReason.COMPLETED: 1}


async def test_close_lets_a_write_of_another_task_come_to_its_end(autojump_clock: MockClock) -> None:
    async def write(out: ByteWriter) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(out.write, b"x" * 5000)
            await trio.sleep(1)
            out.close()

    async with open_own(lambda: stream_bytes(write)) as world:
        _, client = slow_connection(world, room=1000)
        await ask(client)
        await trio.sleep(2)
        received = b""
        while data := await client.receive_some():
            received += data
        assert received.endswith(b"x\r\n0\r\n\r\n")
        assert received.count(b"x") >= 5000


async def test_a_writer_that_outlives_its_function_writes_nothing(autojump_clock: MockClock) -> None:
    kept: list[TextWriter] = []

    async def write(text: TextWriter) -> None:
        kept.append(text)

    async with open_own(lambda: stream_text(write)) as world:
        await get(world)
        with pytest.raises(trio.ClosedResourceError, match="its function has returned"):
            await kept[0].write("x")


async def test_tasks_that_write_at_once_do_not_tear_each_other_apart(autojump_clock: MockClock) -> None:
    async def write(text: TextWriter) -> None:
        async with trio.open_nursery() as nursery:
            for letter in "abc":
                nursery.start_soon(text.writeln, letter * 3000)

    async with open_own(lambda: stream_text(write)) as world:
        _, client = slow_connection(world, room=500)
        await ask(client)
        received = b""
        while data := await client.receive_some():
            received += data
        for letter in b"abc":
            assert bytes([letter]) * 3000 + b"\n" in received


async def test_a_write_that_the_function_gave_up_cuts_the_answer_off(autojump_clock: MockClock) -> None:
    async def write(out: ByteWriter) -> None:
        with trio.move_on_after(5):
            await out.write(b"x" * 100_000)

    async with open_own(lambda: stream_bytes(write)) as world:
        _, client = slow_connection(world, room=1000)
        await ask(client)
        await trio.sleep(6)
        await world.wait_no_stream()
        assert closed(world, "file") == {CloseReason.SLOW_CONSUMER: 1}


# Failures


async def test_an_event_stream_that_fails_says_so_and_nothing_of_the_inside(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_own(lambda: stream_events(say_hello_and_fail)) as world:
        _, _, body, whole = await get(world)
        assert whole
        assert body == (
            b'data: hello\n\nevent: error\ndata: {"code":"server_failed","message":"The server failed."}\n\n'
        )
        assert closed(world, "events") == {CloseReason.FAILED: 1}
        assert "ValueError: the inside" in caplog.text


@pytest.mark.parametrize("helper", ["bytes", "text"])
async def test_bytes_and_text_that_fail_are_cut_off(autojump_clock: MockClock, helper: str) -> None:
    async with open_own(lambda: HELPERS[helper](say_hello_and_fail)) as world:
        _, _, body, whole = await get(world)
        assert (body, whole) == (b"hello", False)
        assert closed(world, KINDS[helper]) == {CloseReason.FAILED: 1}


async def test_over_http_1_0_what_is_cut_off_ends_with_a_reset(autojump_clock: MockClock) -> None:
    """There the end of the connection is the end of the answer."""

    async def write(text: TextWriter) -> None:
        await text.write("hello")
        await trio.sleep(1)
        if fails:
            raise ValueError

    async with open_own(lambda: stream_text(write)) as world:
        for fails in (False, True):
            _, client = slow_connection(world, room=100_000)
            await ask(client, version="1.0")
            received = b""
            while not received.endswith(b"hello"):
                received += await client.receive_some()
            if fails:
                with pytest.raises(trio.BrokenResourceError):
                    await client.receive_some()
            else:
                assert await client.receive_some() == b""


@each_helper
async def test_an_error_handler_is_given_the_error_and_still_writes(
    autojump_clock: MockClock, helper: str
) -> None:
    given: list[Exception] = []

    async def on_error(error: Exception, writer: Any) -> None:
        given.append(error)
        await put(writer, "sorry")

    async with open_own(lambda: HELPERS[helper](say_hello_and_fail, on_error)) as world:
        _, _, body, whole = await get(world)
        assert [str(error) for error in given] == ["the inside"]
        assert b"sorry" in body
        assert whole is (helper == "events")
        if helper == "events":
            assert SSEParser().feed(body)[-1].event == "error"
        assert closed(world, KINDS[helper]) == {CloseReason.FAILED: 1}


async def test_an_error_handler_that_fails_is_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def on_error(error: Exception, writer: EventWriter) -> None:
        raise KeyError("handler")

    async with open_own(lambda: stream_events(say_hello_and_fail, on_error)) as world:
        _, _, body, whole = await get(world)
        assert whole
        assert SSEParser().feed(body)[-1].event == "error"
        assert "the error handler of a stream failed" in caplog.text


async def test_an_error_handler_is_not_called_for_a_client_that_is_gone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def on_error(error: Exception, writer: Any) -> None:
        pytest.fail("it was no error")

    async def write(text: TextWriter) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(text.write, "x" * 100_000)
            nursery.start_soon(trio.sleep_forever)

    async with open_own(lambda: stream_text(write, on_error)) as world:
        _, client = slow_connection(world, room=1000, write_deadline=1)
        await ask(client)
        await trio.sleep(5)
        assert closed(world, "text") == {CloseReason.SLOW_CONSUMER: 1}
        assert "failed" not in caplog.text


async def test_what_fails_on_the_way_out_is_logged_and_no_failure_of_the_connection(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def write(text: TextWriter) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("cleanup")

    async with open_own(lambda: stream_text(write)) as world:
        peer = world.connect()
        await peer._ask("GET", "/own", b"", {})
        await peer.aclose()
        await world.wait_no_stream()
        assert closed(world, "text") == {CloseReason.CLIENT_DISCONNECTED: 1}
        assert "KeyError: 'cleanup'" in caplog.text


async def test_a_connection_of_the_functions_own_that_breaks_is_a_failure(autojump_clock: MockClock) -> None:
    """It raises what a write raises whose client is gone, and the client is there."""

    async def write(events: EventWriter) -> None:
        await events.send("hello")
        raise trio.BrokenResourceError("upstream")

    async with open_own(lambda: stream_events(write)) as world:
        _, _, body, whole = await get(world)
        assert whole
        assert SSEParser().feed(body)[-1].event == "error"
        assert closed(world, "events") == {CloseReason.FAILED: 1}


# The server stops


async def test_an_event_stream_ends_with_closing_when_the_server_stops(autojump_clock: MockClock) -> None:
    told: list[str] = []

    async def write(events: EventWriter) -> None:
        events.on_abort(lambda: told.append("abort"))
        await wait_for_ever(events)

    async with open_own(lambda: stream_events(write)) as world:
        peer = world.connect()
        reader = await peer.open_events("/own")
        assert (await reader.next()).data == "hello"
        (stream,) = world.application.registry.streams.values()
        stream.end(CloseReason.SERVER_DRAINING)
        rest = await reader.rest()
        assert [event.event for event in rest] == ["closing"]
        assert reader.complete
        assert told == ["abort"]
        assert closed(world, "events") == {CloseReason.SERVER_DRAINING: 1}


async def test_an_event_under_way_is_whole_before_closing(autojump_clock: MockClock) -> None:
    async def write(events: EventWriter) -> None:
        while True:
            await events.send("x" * 3000)

    async with open_own(lambda: stream_events(write)) as world:
        _, client = slow_connection(world, room=1000)
        await ask(client)
        await trio.sleep(1)
        (stream,) = world.application.registry.streams.values()
        stream.end(CloseReason.SERVER_DRAINING)
        received = b""
        while data := await client.receive_some():
            received += data
        assert received.endswith(b"0\r\n\r\n")
        assert received.count(b"event: closing") == 1
        assert received.count(b"data: " + b"x" * 3000 + b"\n\n") == 1


@pytest.mark.parametrize("helper", ["bytes", "text"])
async def test_text_and_bytes_go_on_to_their_own_end_when_the_server_stops(
    autojump_clock: MockClock, helper: str
) -> None:
    async def write(writer: Any) -> None:
        await put(writer, "a")
        await trio.sleep(seconds)
        await put(writer, "b")

    async with open_own(lambda: HELPERS[helper](write)) as world:
        for seconds in (10, 100):
            async with trio.open_nursery() as nursery:

                async def drain() -> None:
                    await trio.sleep(1)
                    (stream,) = world.application.registry.streams.values()
                    stream.end(CloseReason.SERVER_DRAINING)
                    await trio.sleep(20)
                    stream.scope.cancel()

                nursery.start_soon(drain)
                _, _, body, whole = await get(world)
                assert (body, whole) == ((b"ab", True) if seconds == 10 else (b"a", False))
        assert closed(world, KINDS[helper]) == {CloseReason.COMPLETED: 1, CloseReason.SERVER_DRAINING: 1}


async def test_while_draining_no_stream_begins(autojump_clock: MockClock) -> None:
    for helper, accept, expected in [
        ("text", "*/*", 503),
        ("bytes", "text/event-stream", 503),
        ("events", "*/*", 503),
        ("events", "text/event-stream", 200),
    ]:
        async with open_own(lambda helper=helper: HELPERS[helper](say_hello)) as world:  # type: ignore[misc]
            world.application.gate.close()
            status, headers, body, _ = await get(world, accept=accept)
            assert status == expected
            if expected == 503:
                assert int(headers["retry-after"]) >= 1
            else:
                assert [event.event for event in SSEParser().feed(body)][-1] == "closing"


async def test_a_write_cancelled_before_its_first_byte_leaves_the_error_to_be_told(
    autojump_clock: MockClock,
) -> None:
    """As where two tasks of one function write and another one fails."""

    async def fail() -> None:
        raise ValueError("the inside")

    async def write(events: EventWriter) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(events.send, "hello")
            nursery.start_soon(fail)

    async with open_own(lambda: stream_events(write)) as world:
        # In whichever order the two begin.
        for _ in range(20):
            _, _, body, whole = await get(world)
            assert whole
            assert body.endswith(
                b'event: error\ndata: {"code":"server_failed","message":"The server failed."}\n\n'
            )
        assert closed(world, "events") == {CloseReason.FAILED: 20}
