"""The helpers and their writers, used wrongly: each says how they are to be used."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from quart import Response
from quart_trio import QuartTrio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.lifecycle import CloseReason
from server.streams import (
    ServerSentEvent,
    stream_bytes,
    stream_events,
    stream_text,
)
from tests.streams.own_routes import HELPERS, KINDS, closed, get, open_own, put


async def say_hello(writer: Any) -> None:
    await put(writer, "hello")


async def wait_for_ever(writer: Any) -> None:
    await put(writer, "hello")
    await trio.sleep_forever()


# Used wrongly


def bad_uses() -> list[tuple[Any, type[Exception], str]]:
    async def fine(writer: Any) -> None:
        pass

    async def generates(writer: Any) -> AsyncIterator[str]:
        yield ""

    def generates_too(writer: Any) -> Any:
        yield ""

    return [
        (lambda: stream_text(fine(None)), TypeError, "leave out the"),  # type: ignore[arg-type]
        (lambda: stream_text(generates), TypeError, "generates is a generator"),  # type: ignore[arg-type]
        (lambda: stream_bytes(generates_too), TypeError, "pipe"),
        (lambda: stream_events("text"), TypeError, "not str"),  # type: ignore[arg-type]
        (lambda: stream_events(fine, 5), TypeError, "the error handler of stream_events"),  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize("number", range(len(bad_uses())))
async def test_a_helper_that_is_called_wrongly_says_how(
    autojump_clock: MockClock, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    call, kind, words = bad_uses()[number]

    def make() -> Response:
        with pytest.raises(kind, match=words):
            call()
        return Response("as expected")

    async with open_own(make) as world:
        assert (await get(world))[2] == b"as expected"


async def test_outside_of_a_route_a_helper_says_what_it_needs() -> None:
    with pytest.raises(RuntimeError, match="called by a route"):
        stream_text(say_hello)


async def test_in_an_app_without_streams_a_helper_says_how_to_have_them() -> None:
    async with QuartTrio("bare").test_request_context("/"):
        with pytest.raises(RuntimeError, match=r"server\.run\(blueprints"):
            stream_text(say_hello)


@pytest.mark.parametrize(
    ("helper", "misuse", "words"),
    [
        ("text", lambda writer: writer.write(b"x"), "stream_bytes writes bytes"),
        ("text", lambda writer: writer.writeln(5), "not int"),
        ("bytes", lambda writer: writer.write("x"), "stream_text writes text"),
        ("events", lambda writer: writer.send(b"x"), "decode the bytes"),
        ("events", lambda writer: writer.send("x", event="a\nb"), "line end"),
        ("events", lambda writer: writer.send("x", event=5), "event is a str"),
        ("events", lambda writer: writer.send("x", retry=1.5), "milliseconds"),
        ("events", lambda writer: writer.send("x", retry=-1), "milliseconds"),
        ("text", lambda writer: writer.pipe(["a"]), "not list"),
        ("text", lambda writer: writer.on_abort("x"), "on_abort takes a function"),
        ("text", lambda writer: None, "has to be async"),
    ],
)
async def test_a_writer_that_is_used_wrongly_says_how(
    autojump_clock: MockClock, helper: str, misuse: Any, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_own(lambda: HELPERS[helper](misuse)) as world:
        await get(world)
        assert closed(world, KINDS[helper]) == {CloseReason.FAILED: 1}
    assert words in caplog.text


async def test_events_as_values(autojump_clock: MockClock) -> None:
    async def source() -> AsyncIterator[object]:
        yield ServerSentEvent("a", event="e", id="1")
        yield {"b": 2}
        yield "c"

    async with open_own(lambda: stream_events(lambda events: events.pipe(source()))) as world:
        assert (await get(world))[2] == b'id: 1\nevent: e\ndata: a\n\ndata: {"b":2}\n\ndata: c\n\n'


async def test_streams_are_in_the_stats_by_kind(autojump_clock: MockClock) -> None:
    for helper, kind in KINDS.items():
        async with open_own(lambda helper=helper: HELPERS[helper](wait_for_ever)) as world:  # type: ignore[misc]
            peer = world.connect()
            await peer._ask("GET", "/own", b"", {})
            await wait_all_tasks_blocked()
            assert (await world.stats())["streams"][kind] == 1
            await peer.aclose()
            await world.wait_no_stream()
            assert (await world.stats())["closed"] == {kind: {"client_disconnected": 1}}
