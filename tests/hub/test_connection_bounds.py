"""What all topics of one connection may have waiting together, whatever each of them allows."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.hub import Draft, Hub, Overflow
from server.lifecycle import CloseReason
from server.transport import Sent
from tests.hub.readers import Sink, Subscriber
from tests.support.hubs import open_hub

TOPICS = ("a", "b", "c", "d")


async def publish(hub: Hub, topic: str, text: str = "x") -> None:
    await hub.publish([Draft(topic, text)])


async def test_latest_of_many_topics_is_bounded_too(autojump_clock: MockClock) -> None:
    hub = open_hub(overflow=Overflow.LATEST, max_queued=3)
    stalled = Subscriber(hub, Sink(then=Sent.BUSY), *TOPICS)
    with stalled.subscription:
        for topic in TOPICS[:3] * 2:
            await publish(hub, topic)
        assert stalled.closed == []
        await publish(hub, TOPICS[3])
        assert stalled.closed == [CloseReason.SLOW_CONSUMER]


async def test_latest_of_many_topics_is_bounded_in_bytes(autojump_clock: MockClock) -> None:
    hub = open_hub(overflow=Overflow.LATEST, max_queued_bytes=10_000)
    stalled = Subscriber(hub, Sink(then=Sent.BUSY), *TOPICS)
    with stalled.subscription:
        for _ in range(3):
            await publish(hub, "a", "x" * 4000)
        assert stalled.closed == []
        await publish(hub, "b", "x" * 4000)
        assert stalled.closed == [CloseReason.SLOW_CONSUMER]
        assert hub.buffered_bytes <= 10_000


async def test_a_publisher_waits_also_for_what_other_topics_have_waiting(autojump_clock: MockClock) -> None:
    hub = open_hub(overflow=Overflow.BLOCK, max_queued=3)
    reader = Subscriber(hub, Sink([Sent.BUSY] * 3), *TOPICS)
    done = []

    async def publish_all() -> None:
        for topic in TOPICS:
            await publish(hub, topic, topic)
            done.append(topic)

    with reader.subscription:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish_all)
            await wait_all_tasks_blocked()
            assert done == list(TOPICS[:3])
            nursery.start_soon(reader.run)
            await wait_all_tasks_blocked()
            assert done == list(TOPICS)
            assert reader.wire == list(TOPICS)
            assert reader.closed == []
            nursery.cancel_scope.cancel()
