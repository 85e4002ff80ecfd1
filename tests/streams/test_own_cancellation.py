"""Streams of one's own routes, cancelled at whatever moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from server.lifecycle import CloseReason, RequestHead
from server.settings import Settings
from server.streams import (
    ByteWriter,
    EventWriter,
    OwnStream,
    TextWriter,
)
from tests.streams.own_routes import HELPERS, KINDS, ask, put, routes, slow_connection
from tests.streams.wires import Wire, open_services
from tests.support.cancel import cancel_at_each_step
from tests.support.http_peer import open_world

each_helper = pytest.mark.parametrize("helper", list(HELPERS))


# Cancelled anywhere


@each_helper
@pytest.mark.time_limit(1_000_000)
@pytest.mark.parametrize("how", ["returns", "fails", "closes", "is drained"])
async def test_cancelled_at_any_step_a_stream_leaves_nothing(
    autojump_clock: MockClock, helper: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    begun = finished = aborted = 0

    async def source() -> AsyncIterator[Any]:
        nonlocal begun, finished
        begun += 1
        try:
            for number in range(3):
                await trio.sleep(3)
                yield str(number).encode() if helper == "bytes" else str(number)
        finally:
            finished += 1

    def abort() -> None:
        nonlocal aborted
        aborted += 1

    async def write(writer: Any) -> None:
        writer.on_abort(abort)
        await writer.pipe(source())
        match how:
            case "fails":
                raise ValueError
            case "closes":
                writer.close()
                await trio.sleep_forever()
            case "is drained":
                (stream,) = world.application.registry.streams.values()
                stream.end(CloseReason.SERVER_DRAINING)
                await trio.sleep(1)

    async def one() -> None:
        _, client = slow_connection(world, room=40)
        async with client:
            await ask(client)
            try:
                while await client.receive_some(10):
                    await trio.sleep(0.1)
            except trio.BrokenResourceError:
                pass

    def nothing_left(step: int) -> None:
        assert begun == finished

    async def settle(step: int) -> None:
        await world.wait_no_stream()
        nothing_left(step)

    settings = Settings(heartbeat=1)
    async with open_world(settings, extension=routes(lambda: HELPERS[helper](write))) as world:
        assert await cancel_at_each_step(one, after=settle) > 10


@each_helper
@pytest.mark.time_limit(1_000_000)
async def test_a_run_cancelled_at_any_step_is_counted_once(autojump_clock: MockClock, helper: str) -> None:
    """As above, with the cancellation within the stream rather than at its client."""
    makers: dict[str, Any] = {"bytes": ByteWriter, "text": TextWriter, "events": EventWriter}
    async with open_services() as services:
        registry = services.registry
        before = runs = 0
        told: list[int] = []

        async def write(writer: Any) -> None:
            writer.on_abort(lambda: told.append(runs))
            await put(writer, "a")
            await trio.sleep(20)
            await put(writer, "b")

        async def live() -> None:
            nonlocal runs
            runs += 1
            own = OwnStream(
                services, RequestHead("GET", "/own", "", ()), KINDS[helper], write, makers[helper]
            )
            await own.run(Wire())

        def counted(step: int) -> None:
            nonlocal before
            assert registry.streams == {}
            assert registry.leaked == 0
            assert not services.heartbeats._ticker.kept
            reasons = registry.closed.get(KINDS[helper], Counter())
            assert sum(reasons.values()) in (before, before + 1)
            before = sum(reasons.values())
            assert set(reasons) <= {CloseReason.CLIENT_DISCONNECTED, CloseReason.COMPLETED}

        assert await cancel_at_each_step(live, after=counted) > 6
        assert told
        assert runs not in told
