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


async def test_a_large_message_that_is_being_written_counts_too(autojump_clock: MockClock) -> None:
    hub = open_hub(max_queued_bytes=1024 * 1024, capacity_bytes=1024 * 1024)
    slow = Subscriber(hub, Sink(then=Sent.BUSY))
    with slow.subscription:
        await wait_idle(slow)
        await publish(hub, "t", "x" * 400_000)
        await anext(slow.subscription)
        await publish(hub, "t", "small")
        assert slow.closed == []
        await publish(hub, "t", "x" * 200_000)
        assert slow.closed == [CloseReason.SLOW_CONSUMER]
        assert hub.buffered_bytes - hub.history_bytes <= 1024 * 1024
        slow.subscription.discard()
    assert hub.buffered_bytes == 0


async def test_a_publisher_goes_on_when_the_large_message_is_written(autojump_clock: MockClock) -> None:
    hub = open_hub(overflow=Overflow.BLOCK, max_queued_bytes=1024 * 1024, capacity_bytes=1024 * 1024)
    slow = Subscriber(hub, Sink([Sent.BUSY]))
    with slow.subscription:
        await wait_idle(slow)
        await publish(hub, "t", "x" * 400_000)
        await anext(slow.subscription)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish, hub, "t", "y" * 200_000)
            await wait_all_tasks_blocked()
            assert hub.published == 1
            nursery.start_soon(slow.run)
            await wait_all_tasks_blocked()
            assert hub.published == 2
            assert slow.closed == []
            nursery.cancel_scope.cancel()
    assert trio.current_time() == 0


async def wait_idle(subscriber: Subscriber) -> None:
    """Let its reader wait once, as one does that has written everything."""
    with trio.move_on_after(0):
        await anext(subscriber.subscription)


async def test_one_topic_alone_has_what_its_own_rule_allows(autojump_clock: MockClock) -> None:
    hub = open_hub(capacity=10, max_queued=3)
    stalled = Subscriber(hub, Sink(then=Sent.BUSY))
    with stalled.subscription:
        for _ in range(10):
            await publish(hub, "t")
        assert stalled.closed == []
        await publish(hub, "t")
        assert stalled.closed == [CloseReason.SLOW_CONSUMER]


async def test_a_purge_does_not_end_who_loses_the_oldest(autojump_clock: MockClock) -> None:
    hub = open_hub(capacity=2, overflow=Overflow.DROP_OLDEST)
    stalled = Subscriber(hub, Sink([Sent.BUSY]))
    with stalled.subscription:
        await wait_idle(stalled)
        for text in ("1", "2"):
            await publish(hub, "t", text)
        assert hub.purge("t")
        assert stalled.closed == []
        await stalled.write_once()
        assert stalled.wire == ["gap overflow", "2", "gap purged"]
