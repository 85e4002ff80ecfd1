"""Order: whatever the kernel takes and whenever the reader runs, what arrives is what was published.

Two things could change it: the seam between write-through and queue, and the seam between history and live.
Both are searched by Hypothesis: the answers of the connection, the pauses of the reader, the bursts of the
publisher.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from server.hub import After, Cursor, Earliest, HistoryLimits, Hub
from server.transport import Sent
from tests.hub.readers import Sink, Subscriber, drafts
from tests.support.hubs import open_hub

ANSWERS = st.lists(st.sampled_from([Sent.SENT, Sent.KEPT, Sent.BUSY]), max_size=40)
PAUSES = st.lists(st.sampled_from([0.0, 0.0, 0.1, 1.0, 3.0]), max_size=30)
BURSTS = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 2.0]), st.integers(1, 5)), max_size=20)


def in_virtual_time(fn: Callable[..., Any], *args: object) -> None:
    """Run `fn(*args)` on a clock of its own: Hypothesis runs many to a test."""
    trio.run(fn, *args, clock=MockClock(autojump_threshold=0))


async def publish_bursts(hub: Hub, bursts: list[tuple[float, int]], first: int = 0) -> list[str]:
    published: list[str] = []
    for pause, count in bursts:
        await trio.sleep(pause)
        start = first + len(published)
        texts = [str(n) for n in range(start, start + count)]
        await hub.publish(drafts(*texts))
        published += texts
    return published


@given(ANSWERS, PAUSES, BURSTS)
def test_nothing_changes_places_between_write_through_and_queue(
    answers: list[Sent], pauses: list[float], bursts: list[tuple[float, int]]
) -> None:
    async def run() -> None:
        hub = open_hub()
        reader = Subscriber(hub, Sink(answers))
        async with trio.open_nursery() as nursery:
            with reader.subscription:
                nursery.start_soon(reader.run, pauses)
                published = await publish_bursts(hub, bursts)
                await trio.sleep(1000)
                reader.subscription.heartbeat()
                await trio.sleep(1000)
                assert reader.wire == [*published, "heartbeat"]
                assert hub.buffered_bytes == 0
                nursery.cancel_scope.cancel()

    in_virtual_time(run)


@given(
    st.integers(0, 300),
    st.none() | st.integers(0, 300),
    ANSWERS,
    PAUSES,
    BURSTS,
)
def test_between_history_and_live_nothing_is_lost_doubled_or_reordered(
    backlog: int,
    after: int | None,
    answers: list[Sent],
    pauses: list[float],
    bursts: list[tuple[float, int]],
) -> None:
    async def run() -> None:
        hub = open_hub()
        old = [str(n) for n in range(backlog)]
        ids = [message.id for message in await hub.publish(drafts(*old))]
        skipped = min(after or 0, backlog)
        behind = ids[skipped - 1] if skipped else Cursor(hub.head.epoch, 0)
        start = Earliest() if after is None else After(behind)
        reader = Subscriber(hub, Sink(answers), start=start)
        async with trio.open_nursery() as nursery:
            with reader.subscription:
                nursery.start_soon(reader.run, pauses)
                published = await publish_bursts(hub, bursts, backlog)
                await trio.sleep(1000)
                assert reader.wire == [*old[skipped:], *published]
                assert hub.buffered_bytes == 0
                nursery.cancel_scope.cancel()

    in_virtual_time(run)


async def test_one_who_catches_up_has_nothing_queued_however_much_is_published(
    autojump_clock: MockClock,
) -> None:
    hub = open_hub(HistoryLimits(messages=10_000), capacity=10)
    await hub.publish(drafts(*map(str, range(100))))
    reader = Subscriber(hub, start=Earliest())
    with reader.subscription:
        published = 100
        while len(reader.wire) < published:
            await reader.write_once()
            if published < 1000:
                await hub.publish(drafts(*(str(n) for n in range(published, published + 60))))
                published += 60
            assert hub.buffered_bytes == 0
            assert hub.watchers("t") == 0
    assert reader.wire == [str(n) for n in range(published)]
    assert reader.closed == []


async def test_what_is_evicted_under_a_slow_catch_up_is_a_gap_and_nothing_else_is_missing() -> None:
    hub = open_hub(HistoryLimits(messages=100))
    await hub.publish(drafts(*map(str, range(100))))
    reader = Subscriber(hub, start=Earliest())
    with reader.subscription:
        await reader.write_once()
        await hub.publish(drafts(*map(str, range(100, 190))))
        await reader.write_once()
        await reader.write_once()
    assert reader.wire == [*map(str, range(64)), "gap evicted", *map(str, range(90, 190))]
