"""Cancelled at whatever moment, an event stream leaves nothing open and is counted with one reason."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from server.hub import Draft
from server.lifecycle import CloseReason
from tests.streams.wires import Wire, event_stream, open_services, publish
from tests.support.cancel import cancel_at_each_step


@pytest.mark.parametrize("catch_up", [False, True])
async def test_a_stream_cancelled_at_any_step_leaves_nothing(
    autojump_clock: MockClock, catch_up: bool
) -> None:
    async with open_services() as services:
        registry, hub = services.registry, services.hub
        await publish(services, *map(str, range(100)))
        wire = Wire()
        opened = ended = 0

        async def live() -> None:
            nonlocal wire, opened
            wire = Wire()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(publish_and_drain)
                opened += 1
                await event_stream(services, catch_up=catch_up).run(wire)

        async def publish_and_drain() -> None:
            await trio.sleep(1)
            await publish(services, "a", "b")
            await trio.sleep(20)
            for stream in list(registry.streams.values()):
                stream.end(CloseReason.SERVER_DRAINING)

        def nothing_left(step: int) -> None:
            nonlocal ended
            assert registry.streams == {}
            assert (hub.subscriptions, hub.buffered_bytes, registry.leaked) == (0, 0, 0)
            assert not services.heartbeats._ticker.kept
            reasons = registry.closed["events"] if opened else {}
            assert sum(reasons.values()) in (ended, ended + 1)
            ended = sum(reasons.values())
            assert set(reasons) <= {CloseReason.CLIENT_DISCONNECTED, CloseReason.SERVER_DRAINING}

        assert await cancel_at_each_step(live, after=nothing_left) > 10
        assert wire.data[-2:] == ["a", "b"]
        assert [event.event for event in wire.events[-1:]] == ["closing"]
        assert any(event.comment is not None for event in wire.events)


async def test_the_first_reason_wins_and_is_counted_once(autojump_clock: MockClock) -> None:
    async with open_services() as services, trio.open_nursery() as nursery:
        nursery.start_soon(event_stream(services).run, Wire())
        await trio.sleep(1)
        (stream,) = services.registry.streams.values()
        stream.end(CloseReason.SERVER_DRAINING)
        stream.end(CloseReason.ADMIN)
        await trio.sleep(1)
        assert services.registry.closed == {"events": {CloseReason.SERVER_DRAINING: 1}}


async def test_a_stream_that_was_closed_cuts_the_answer_off(autojump_clock: MockClock) -> None:
    async with open_services() as services, trio.open_nursery() as nursery:
        wire = Wire()

        async def run() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await event_stream(services).run(wire)

        nursery.start_soon(run)
        await trio.sleep(1)
        (stream,) = services.registry.streams.values()
        stream.close(CloseReason.SLOW_CONSUMER)
        await trio.sleep(1)
        assert services.registry.closed == {"events": {CloseReason.SLOW_CONSUMER: 1}}
        assert all(event.event != "closing" for event in wire.events)


async def test_a_topic_that_finds_no_room_after_all_is_told_with_closing(autojump_clock: MockClock) -> None:
    async with open_services(max_topics=1) as services:
        await services.hub.publish([Draft("other", "x")])
        wire = Wire()
        await event_stream(services).run(wire)
        assert [event.event for event in wire.events] == ["closing"]
        assert services.registry.closed == {"events": {CloseReason.LIMIT: 1}}


async def test_an_exception_of_the_connection_is_counted_and_goes_on(autojump_clock: MockClock) -> None:
    class Failing(Wire):
        async def send_all(self, data: bytes) -> None:
            await trio.lowlevel.checkpoint()
            raise RuntimeError("fault")

    async with open_services() as services:
        with pytest.raises(RuntimeError, match="fault"):
            await event_stream(services).run(Failing())
        assert services.registry.closed == {"events": {CloseReason.FAILED: 1}}
        assert services.hub.subscriptions == 0
