"""The drain: idle connections first, streams at a pace, and nobody for longer than was said."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.lifecycle import CloseReason, OpenStream, Registry, RequestHead
from server.transport import AsgiMessage, ByteStream, DrainGate, ServerOptions
from server.transport.drain import ENDS_A_SECOND, SHARE_OF_DRAIN, IdleConnections, spread_ends
from tests.transport.served import Receive, Send, Site, connected, echo, respond, streaming

HEAD = RequestHead("GET", "/", "", ())

OPTIONS = ServerOptions(drain_seconds=25, drain_notice=5)


def test_reconnect_times_spread_within_bounds() -> None:
    for streams, seconds, longest in [(0, 25, 5.0), (10_000, 25, 26.0), (2_000, 25, 11.0), (10_000, 0, 5.0)]:
        gate = DrainGate(lambda streams=streams: streams, seconds)  # type: ignore[misc]
        times = [gate.retry_ms() for _ in range(500)]
        assert 1000 <= min(times) < 1000 + longest * 500
        assert longest * 500 < max(times) <= longest * 1000


async def test_who_waits_for_the_drain_learns_of_it(autojump_clock: MockClock) -> None:
    gate = DrainGate(lambda: 0, 25)
    assert not gate.draining
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate.wait_draining)
        await wait_all_tasks_blocked()
        gate.close()
        gate.close()
    assert gate.draining


async def test_idle_connections_end_with_the_drain_and_from_then_on(autojump_clock: MockClock) -> None:
    idle = IdleConnections()

    async def wait() -> None:
        with idle.scope(trio.current_time() + 60):
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        idle.close()
    await wait()
    assert trio.current_time() == 0


@pytest.mark.parametrize(("count", "seconds"), [(100, 25), (1000, 25), (10_000, 25), (1000, 0)])
async def test_streams_are_asked_to_end_at_an_even_pace(
    count: int, seconds: float, autojump_clock: MockClock
) -> None:
    registry = Registry()
    ended_at: list[float] = []
    streams = [registry.open_stream("events", HEAD) for _ in range(count)]
    for stream in streams:
        stream.on_end(lambda: ended_at.append(trio.current_time()))
    await spread_ends(streams, seconds)
    assert len(ended_at) == count
    assert {stream.reason for stream in streams} == {CloseReason.SERVER_DRAINING}
    took = max(ended_at)
    assert took <= min(count / ENDS_A_SECOND, seconds * SHARE_OF_DRAIN) + 0.1
    by_half = sum(at <= took / 2 for at in ended_at)
    assert took == 0 or 0.4 * count < by_half < 0.6 * count


async def drained(site: Site, begin: trio.Event) -> float:
    """Run the server without listeners until its drain is over; how long that took, by its clock."""
    async with trio.open_nursery() as nursery:
        await nursery.start(site.server.run, [])
        await begin.wait()
        started = trio.current_time()
        site.gate.close()
        await site.server.wait_stopped()
    return trio.current_time() - started


async def test_with_nothing_open_a_drain_lasts_as_long_as_its_notice(autojump_clock: MockClock) -> None:
    begin = trio.Event()
    begin.set()
    assert await drained(Site(echo, OPTIONS), begin) == pytest.approx(5)


# Over real listeners, in real time: a drain then has no notice, and nothing in it waits for the clock.


@pytest.mark.time_limit(20)
async def test_idle_connections_are_ended_and_no_new_ones_accepted() -> None:
    site = Site(echo)
    async with site.listening() as address, connected(address) as idle, connected(address) as fresh:
        await idle.get()
        await idle.answer()
        await wait_all_tasks_blocked(0.01)
        site.gate.close()
        assert await idle.rest() == b""
        assert await fresh.rest() == b""
        await idle.stream.aclose()
        await fresh.stream.aclose()
        await site.server.wait_stopped()
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream(*address)


@pytest.mark.time_limit(20)
async def test_a_request_under_way_gets_its_answer_and_then_the_end() -> None:
    asked, go_on = trio.Event(), trio.Event()

    async def app(scope: AsgiMessage, receive: Receive, send: Send) -> None:
        asked.set()
        await go_on.wait()
        await respond(send, b"done")

    site = Site(app)
    async with site.listening() as address, connected(address) as client:
        await client.get()
        await asked.wait()
        site.gate.close()
        await wait_all_tasks_blocked(0.01)
        go_on.set()
        assert (await client.answer()).body == b"done"
        assert await client.rest() == b""
        await client.stream.aclose()
        await site.server.wait_stopped()


@pytest.mark.time_limit(20)
async def test_a_stream_says_goodbye() -> None:
    sites: list[Site] = []
    begun = trio.Event()

    async def run(stream: ByteStream) -> None:
        told = trio.Event()
        with sites[0].registry.open_stream("events", HEAD) as entry:
            entry.on_end(told.set)
            await stream.send_all(b"5\r\nhello\r\n")
            begun.set()
            await told.wait()
            await stream.send_all(b"3\r\nbye\r\n")

    sites.append(Site(streaming(run)))
    async with sites[0].listening() as address, connected(address) as client:
        await client.get()
        await begun.wait()
        sites[0].gate.close()
        answer = await client.answer()
        assert (answer.body, answer.complete) == (b"hellobye", True)
        await client.stream.aclose()
        await sites[0].server.wait_stopped()
    assert sites[0].ended == [CloseReason.SERVER_DRAINING]


@pytest.mark.time_limit(20)
@pytest.mark.parametrize("deaf", ["stream", "request"])
async def test_who_does_not_end_is_cancelled_when_the_time_is_over(deaf: str) -> None:
    sites: list[Site] = []
    entries: list[OpenStream] = []
    begun = trio.Event()

    async def run(stream: ByteStream) -> None:
        with sites[0].registry.open_stream("events", HEAD) as entry:
            entries.append(entry)
            entry.on_end(lambda: None)
            begun.set()
            await trio.sleep_forever()

    async def app(scope: AsgiMessage, receive: Receive, send: Send) -> None:
        if deaf == "request":
            begun.set()
            await trio.sleep_forever()
        await streaming(run)(scope, receive, send)

    sites.append(Site(app, ServerOptions(drain_seconds=0.1)))
    async with sites[0].listening() as address, connected(address) as client:
        await client.get()
        await begun.wait()
        sites[0].gate.close()
        await sites[0].server.wait_stopped()
        assert await client.rest() == b""
    assert sites[0].ended == ([CloseReason.SERVER_DRAINING] if deaf == "stream" else [])
    assert sites[0].registry.connections["http"] == 0
