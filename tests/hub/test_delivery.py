"""Delivery: every subscriber gets every message once, and none waits for another one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.hub import Hub, Live, Selection
from server.hub.message import OVERHEAD
from server.lifecycle import CloseReason
from server.transport import Sent
from tests.hub.readers import Sink, Subscriber, drafts
from tests.support.hubs import open_hub


def stalled(hub: Hub) -> Subscriber:
    """Nobody reads it, and its connection takes nothing."""
    return Subscriber(hub, Sink(then=Sent.BUSY))


async def test_every_subscriber_gets_every_message_once_and_in_order() -> None:
    hub = open_hub()
    subscribers = [Subscriber(hub) for _ in range(200)]
    async with trio.open_nursery() as nursery:
        for subscriber in subscribers:
            subscriber.subscription.__enter__()
            nursery.start_soon(subscriber.run)
        await wait_all_tasks_blocked()
        for n in range(5):
            await hub.publish(drafts(f"{n}a", f"{n}b"))
        await wait_all_tasks_blocked()
        assert (hub.published, hub.delivered, hub.dropped) == (10, 2000, 0)
        for subscriber in subscribers:
            subscriber.subscription.end()
    for subscriber in subscribers:
        assert subscriber.wire == [f"{n}{letter}" for n in range(5) for letter in "ab"]
        subscriber.subscription.__exit__(None, None, None)
    assert hub.subscriptions == 0


async def test_a_topic_reaches_its_own_subscribers_alone() -> None:
    hub = open_hub()
    here, there = Subscriber(hub), Subscriber(hub, topic="other")
    with here.subscription, there.subscription:
        await hub.publish([*drafts("a"), *drafts("b", topic="other"), *drafts("c", topic="nobody")])
        await here.write_once()
        await there.write_once()
    assert (here.wire, there.wire) == (["a"], ["b"])


async def test_who_waits_is_served_in_the_publishers_own_step() -> None:
    hub = open_hub()
    subscriber = Subscriber(hub)
    async with trio.open_nursery() as nursery:
        with subscriber.subscription:
            nursery.start_soon(subscriber.run)
            await wait_all_tasks_blocked()
            publishing = hub.publish(drafts("a")).__await__()
            next(publishing)  # its one checkpoint, at the end
            assert subscriber.wire == ["a"]
            publishing.close()
            nursery.cancel_scope.cancel()


async def test_a_stalled_subscriber_does_not_delay_others() -> None:
    hub = open_hub(capacity=10)
    slow, fast = stalled(hub), Subscriber(hub)
    async with trio.open_nursery() as nursery:
        with slow.subscription, fast.subscription:
            nursery.start_soon(fast.run)
            await wait_all_tasks_blocked()
            for n in range(50):
                await hub.publish(drafts(str(n)))
                assert fast.wire[-1] == str(n)
            nursery.cancel_scope.cancel()
    assert slow.closed == [CloseReason.SLOW_CONSUMER]
    assert fast.closed == []


@pytest.mark.parametrize("capacity", [1, 5, 1000])
async def test_a_stalled_subscriber_is_ended_by_the_first_message_above_its_capacity(capacity: int) -> None:
    hub = open_hub(capacity=capacity)
    slow = stalled(hub)
    with slow.subscription:
        await hub.publish(drafts(*["x"] * capacity))
        assert (slow.closed, hub.watchers("t"), hub.dropped) == ([], 1, 0)
        await hub.publish(drafts("one more", "and another"))
        assert (slow.closed, hub.watchers("t"), hub.dropped) == ([CloseReason.SLOW_CONSUMER], 0, 1)
    assert hub.buffered_bytes == 0


async def test_a_stalled_subscriber_is_ended_by_the_first_byte_above_its_capacity() -> None:
    hub = open_hub(capacity_bytes=3 * OVERHEAD + 6)
    for last, closed in (("x", []), ("xx", [CloseReason.SLOW_CONSUMER])):
        slow = stalled(hub)
        with slow.subscription:
            await hub.publish(drafts("x", "x", last))
            assert slow.closed == closed
        assert hub.buffered_bytes == 0


async def test_a_message_larger_than_the_capacity_is_taken_while_nothing_waits() -> None:
    hub = open_hub(capacity_bytes=1000)
    slow = stalled(hub)
    with slow.subscription:
        await hub.publish(drafts("x" * 5000))
        assert slow.closed == []
        await hub.publish(drafts("y"))
        assert slow.closed == [CloseReason.SLOW_CONSUMER]


async def test_a_batch_that_is_being_written_is_held_until_it_has_been_and_takes_nobodys_place() -> None:
    hub = open_hub(capacity=4)
    slow = stalled(hub)
    with slow.subscription:
        await hub.publish(drafts("1", "2", "3"))
        batch = await anext(slow.subscription)
        assert len(batch) == 3
        assert hub.buffered_bytes == 3 * (OVERHEAD + 2)
        await hub.publish(drafts("4"))
        batch = await anext(slow.subscription)
        assert hub.buffered_bytes == OVERHEAD + 2
        await hub.publish(drafts("5", "6", "7", "8"))
        assert slow.closed == []
        assert hub.buffered_bytes == 5 * (OVERHEAD + 2)
        await hub.publish(drafts("9"))
        assert slow.closed == [CloseReason.SLOW_CONSUMER]
    assert hub.buffered_bytes == 0


async def test_a_frame_taken_in_part_wakes_the_writer_to_flush_it() -> None:
    hub = open_hub()
    subscriber = Subscriber(hub, Sink([Sent.KEPT]))
    async with trio.open_nursery() as nursery:
        with subscriber.subscription:
            nursery.start_soon(subscriber.run)
            await wait_all_tasks_blocked()
            await hub.publish(drafts("a", "b"))
            await wait_all_tasks_blocked()
            assert subscriber.wire == ["a", "b"]
            await hub.publish(drafts("c"))
            assert subscriber.wire == ["a", "b", "c"]
            assert hub.buffered_bytes == 0
            nursery.cancel_scope.cancel()


async def test_a_peer_that_is_gone_ends_its_own_subscription_alone() -> None:
    hub = open_hub()
    gone, here = Subscriber(hub, Sink(then=Sent.GONE)), Subscriber(hub)
    async with trio.open_nursery() as nursery:
        with gone.subscription, here.subscription:
            for subscriber in (gone, here):
                nursery.start_soon(subscriber.run)
            await wait_all_tasks_blocked()
            await hub.publish(drafts("a", "b"))
            assert gone.closed == [CloseReason.CLIENT_DISCONNECTED]
            assert (here.wire, here.closed) == (["a", "b"], [])
            assert hub.watchers("t") == 1
            assert (hub.delivered, hub.dropped) == (2, 0)
            nursery.cancel_scope.cancel()


async def test_a_subscriber_with_something_queued_is_not_offered_more() -> None:
    hub = open_hub()
    subscriber = Subscriber(hub)
    with subscriber.subscription:
        await hub.publish(drafts("a", "b"))
        assert subscriber.sink.offered == 0
        await subscriber.write_once()
    assert subscriber.wire == ["a", "b"]


async def test_a_message_does_not_overtake_a_batch_that_is_being_written() -> None:
    hub = open_hub()
    subscriber = Subscriber(hub)
    with subscriber.subscription:
        await hub.publish(drafts("a"))
        first = await anext(subscriber.subscription)
        await hub.publish(drafts("b"))
        assert subscriber.sink.offered == 0
        subscriber.sink.write(first)
        second = await anext(subscriber.subscription)
        await hub.publish(drafts("c"))
        assert subscriber.sink.offered == 0
        subscriber.sink.write(second)
        await subscriber.write_once()
    assert subscriber.wire == ["a", "b", "c"]


async def test_the_end_lets_the_reader_have_what_was_queued_and_no_more() -> None:
    hub = open_hub()
    subscriber = stalled(hub)
    with subscriber.subscription:
        await hub.publish(drafts("a", "b"))
        subscriber.subscription.end()
        subscriber.subscription.end()
        await hub.publish(drafts("c"))
        await subscriber.run()
    assert subscriber.wire == ["a", "b"]
    assert hub.buffered_bytes == 0


@pytest.mark.parametrize(
    ("sent", "wire"), [(Sent.SENT, ["heartbeat"]), (Sent.KEPT, ["heartbeat"]), (Sent.BUSY, ["heartbeat"])]
)
async def test_a_heartbeat_arrives_once_whatever_the_kernel_takes(sent: Sent, wire: list[str]) -> None:
    hub = open_hub()
    subscriber = Subscriber(hub, Sink([sent]))
    async with trio.open_nursery() as nursery:
        with subscriber.subscription:
            subscriber.subscription.heartbeat()
            assert subscriber.wire == []  # its reader is not waiting: something is under way
            nursery.start_soon(subscriber.run)
            await wait_all_tasks_blocked()
            subscriber.subscription.heartbeat()
            await wait_all_tasks_blocked()
            assert subscriber.wire == wire
            nursery.cancel_scope.cancel()


async def test_a_heartbeat_finds_out_that_the_peer_is_gone() -> None:
    hub = open_hub()
    subscriber = Subscriber(hub, Sink(then=Sent.GONE))
    async with trio.open_nursery() as nursery:
        with subscriber.subscription:
            nursery.start_soon(subscriber.run)
            await wait_all_tasks_blocked()
            subscriber.subscription.heartbeat()
            assert subscriber.closed == [CloseReason.CLIENT_DISCONNECTED]
            nursery.cancel_scope.cancel()


async def test_whoever_waits_for_listeners_wakes_up_when_one_comes(autojump_clock: MockClock) -> None:
    hub = open_hub()
    watched = trio.Event()

    async def wait() -> None:
        await hub.wait_watched("t")
        watched.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await trio.sleep(100)
        assert not watched.is_set()
        with Subscriber(hub).subscription:
            await watched.wait()
            await hub.wait_watched("t")


async def test_a_form_is_applied_once_however_many_listen() -> None:
    hub = open_hub()
    calls = 0

    def counting(item: object) -> bytes:
        nonlocal calls
        calls += 1
        return b"x"

    def subscribe() -> Callable[[], None]:
        subscription = hub.subscribe(
            Selection(("t",)), Live(), form=counting, sink=Sink(), close=lambda reason: None
        ).__enter__()
        nursery.start_soon(anext, subscription)
        return lambda: subscription.__exit__(None, None, None)

    async with trio.open_nursery() as nursery:
        leave = [subscribe() for _ in range(20)]
        await wait_all_tasks_blocked()
        await hub.publish(drafts("a"))
        nursery.cancel_scope.cancel()
    for each in leave:
        each()
    assert calls == 1
