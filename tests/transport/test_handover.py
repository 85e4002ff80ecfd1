"""The handover: a streaming answer has the connection to itself, and ends well or visibly not."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from server.lifecycle import CloseReason, OpenStream, RequestHead
from server.transport import AsgiApp, ByteStream, Framing, RunStream
from tests.support.cancel import cancel_at_each_step
from tests.transport.served import Site, streaming

HEAD = RequestHead("GET", "/", "", ())


def framed(stream: ByteStream, data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data) if stream.framing is Framing.CHUNKED else data


async def say_two_things(stream: ByteStream) -> None:
    await stream.send_all(framed(stream, b"one,"))
    await trio.sleep(1)
    await stream.send_all(framed(stream, b"two"))


async def say_nothing(stream: ByteStream) -> None:
    await trio.lowlevel.checkpoint()


async def break_off(stream: ByteStream) -> None:
    await stream.send_all(framed(stream, b"one,"))
    raise trio.BrokenResourceError


async def fail(stream: ByteStream) -> None:
    await stream.send_all(framed(stream, b"one,"))
    raise ValueError


@pytest.mark.parametrize(
    ("version", "headers", "framing"),
    [
        ("1.1", [], "chunked"),
        ("1.0", [], None),
        ("1.1", [(b"content-length", b"7")], None),
    ],
)
async def test_the_framing_is_the_clients(
    version: str, headers: list[tuple[bytes, bytes]], framing: str | None, autojump_clock: MockClock
) -> None:
    site = Site(streaming(say_two_things, *headers))
    async with site.connection() as client:
        await client.get(version=version)
        answer = await client.answer()
        assert (answer.body, answer.complete) == (b"one,two", True)
        assert answer.headers.get("transfer-encoding") == framing
        assert answer.closes
        assert await client.rest() == b""
    assert [status for _, status, _ in site.answers] == [200]


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_stream_that_says_nothing_is_an_answer_all_the_same(
    version: str, autojump_clock: MockClock
) -> None:
    async with Site(streaming(say_nothing)).connection() as client:
        await client.get(version=version)
        answer = await client.answer()
        assert (answer.status, answer.body, answer.complete) == (200, b"", True)


async def test_head_and_first_bytes_leave_in_one_write(autojump_clock: MockClock) -> None:
    async with Site(streaming(say_two_things)).connection() as client:
        assert client.server_side is not None
        send_stream = client.server_side.send_stream
        deliver = send_stream.send_all_hook
        assert deliver is not None
        writes = 0

        async def count() -> None:
            nonlocal writes
            writes += 1
            await deliver()

        send_stream.send_all_hook = count
        await client.get()
        first = bytes(await client.stream.receive_some(65536))
        assert writes == 1
        assert first.startswith(b"HTTP/1.1 200 ")
        assert first.endswith(b"4\r\none,\r\n")


async def test_no_head_leaves_before_the_stream_says_something(autojump_clock: MockClock) -> None:
    opened = trio.Event()

    async def wait_then_speak(stream: ByteStream) -> None:
        await opened.wait()
        await stream.send_all(framed(stream, b"open"))

    async with Site(streaming(wait_then_speak)).connection() as client:
        await client.get()
        with trio.move_on_after(60) as waited:
            await client.stream.receive_some()
        assert waited.cancelled_caught
        opened.set()
        assert (await client.answer()).body == b"open"


@pytest.mark.parametrize(("run", "failures"), [(break_off, 0), (fail, 1)], ids=["broken off", "failed"])
async def test_an_aborted_stream_never_looks_complete(
    run: RunStream, failures: int, autojump_clock: MockClock
) -> None:
    site = Site(streaming(run))
    async with site.connection() as client:
        await client.get()
        answer = await client.answer()
        assert (answer.body, answer.complete) == (b"one,", False)
    assert site.server.failures == failures


async def test_what_is_pipelined_behind_a_stream_is_dropped(autojump_clock: MockClock) -> None:
    site = Site(streaming(say_two_things))
    async with site.connection() as client:
        await client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.answer()).body == b"one,two"
        assert await client.rest() == b""
    assert [path for path, _, _ in site.answers] == ["/1"]


async def test_who_talks_during_a_stream_is_not_heard_and_does_no_harm(autojump_clock: MockClock) -> None:
    async with Site(streaming(say_two_things)).connection() as client:
        await client.get()
        for _ in range(100):
            await client.send(b"chatter" * 1000)
        assert (await client.answer()).body == b"one,two"


def registered(site: list[Site], opened: list[OpenStream]) -> AsgiApp:
    """An app whose streams stand in the registry of the only site in `site`, until their client leaves."""

    async def run(stream: ByteStream) -> None:
        with site[0].registry.open_stream("events", HEAD) as entry, entry.hold("subscription"):
            opened.append(entry)
            await stream.send_all(framed(stream, b"open"))
            await trio.sleep_forever()

    return streaming(run)


@pytest.mark.parametrize("half", [True, False], ids=["half-closes", "closes"])
async def test_a_client_that_leaves_ends_its_stream(half: bool, autojump_clock: MockClock) -> None:
    sites: list[Site] = []
    sites.append(Site(registered(sites, [])))
    async with sites[0].connection() as client:
        await client.get()
        await client.stream.receive_some()
        await (client.stream.send_eof() if half else client.stream.aclose())
        await client.over.wait()
        assert sites[0].ended == [CloseReason.CLIENT_DISCONNECTED]
        assert trio.current_time() < 1
    assert sites[0].server.failures == 0


async def test_a_client_that_half_closed_before_has_left(autojump_clock: MockClock) -> None:
    sites: list[Site] = []
    sites.append(Site(registered(sites, [])))
    async with sites[0].connection() as client:
        await client.get()
        await client.stream.send_eof()
        await client.rest()
    assert sites[0].registry.streams == {}
    assert sites[0].ended in ([], [CloseReason.CLIENT_DISCONNECTED])


async def test_cancelled_anywhere_a_stream_is_gone_and_counted_once(autojump_clock: MockClock) -> None:
    sites: list[Site] = []
    opened: list[OpenStream] = []

    async def run(stream: ByteStream) -> None:
        with sites[-1].registry.open_stream("events", HEAD) as entry, entry.hold("subscription"):
            opened.append(entry)
            await stream.send_all(framed(stream, b"one"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, 1)
            await stream.send_all(framed(stream, b"two"))

    async def visit() -> None:
        opened.clear()
        sites.append(Site(streaming(run)))
        async with sites[-1].connection() as client:
            await client.get()
            assert (await client.answer()).complete

    def check(step: int) -> None:
        site = sites.pop()
        assert site.registry.streams == {}
        assert site.registry.leaked == 0
        assert len(site.ended) == len(opened)
        assert site.server.failures == 0

    assert await cancel_at_each_step(visit, after=check) > 20
