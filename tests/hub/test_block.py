"""Topics that block: a publisher waits for room in every subscription, and no longer than it is told to."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import pytest
import trio
from hypothesis import given
from trio.testing import MockClock, wait_all_tasks_blocked

from server.hub import BatchTooLargeError, Draft, Earliest, Hub, Overflow, TopicRules, TopicsFullError
from server.hub.message import OVERHEAD
from server.lifecycle import CloseReason
from server.transport import Sent
from tests.hub.readers import Sink, Subscriber, drafts
from tests.support.cancel import cancel_at_each_step
from tests.support.hubs import open_hub


def rules_of(capacity: int, capacity_bytes: int) -> Callable[[str], TopicRules]:
    """Topics block whose name begins with t."""

    def rules(topic: str) -> TopicRules:
        overflow = Overflow.BLOCK if topic.startswith("t") else Overflow.DISCONNECT
        return TopicRules(capacity, capacity_bytes, overflow)

    return rules


def blocking_hub(
    capacity: int = 2, *, capacity_bytes: int = 2**20, max_queued: int = 10_000, max_topics: int = 100
) -> Hub:
    return open_hub(
        rules_of=rules_of(capacity, capacity_bytes),
        block_seconds=30.0,
        max_queued=max_queued,
        max_topics=max_topics,
    )


def stalled(hub: Hub, *topics: str) -> Subscriber:
    return Subscriber(hub, Sink(then=Sent.BUSY), *topics)


async def kept(hub: Hub, topic: str = "t") -> list[str]:
    return [message.data for message in hub.excerpt(topic, None, None, 1000).messages]


async def test_a_publisher_waits_until_there_is_room_and_nobody_is_ended(autojump_clock: MockClock) -> None:
    hub = blocking_hub()
    reader = stalled(hub)
    with reader.subscription:
        await hub.publish(drafts("1", "2"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.publish, drafts("3"))
            await trio.sleep(20)
            assert await kept(hub) == ["1", "2"]
            await reader.write_once()
            await wait_all_tasks_blocked()
            assert await kept(hub) == ["1", "2", "3"]
        await reader.write_once()
    assert (reader.wire, reader.closed, hub.dropped) == (["1", "2", "3"], [], 0)


async def test_who_makes_no_room_in_time_is_ended_and_others_get_all(
    autojump_clock: MockClock,
) -> None:
    hub = blocking_hub()
    slow, fast = stalled(hub), Subscriber(hub)
    async with trio.open_nursery() as nursery:
        with slow.subscription, fast.subscription:
            nursery.start_soon(fast.run)
            await wait_all_tasks_blocked()
            await hub.publish(drafts("1", "2"))
            started = trio.current_time()
            await hub.publish(drafts("3"))
            assert trio.current_time() == started + 30
            assert slow.closed == [CloseReason.SLOW_CONSUMER]
            assert fast.wire == ["1", "2", "3"]
            await hub.publish(drafts("4"))
            assert trio.current_time() == started + 30
            nursery.cancel_scope.cancel()


async def test_publishers_of_one_topic_take_their_turns(autojump_clock: MockClock) -> None:
    hub = blocking_hub()
    reader = stalled(hub)
    with reader.subscription:
        await hub.publish(drafts("1", "2"))
        async with trio.open_nursery() as nursery:
            for text in "3456":
                nursery.start_soon(hub.publish, drafts(text))
                await wait_all_tasks_blocked()
            for _ in range(3):
                await reader.write_once()
                await wait_all_tasks_blocked()
    assert reader.wire == list("123456")


async def test_publishers_of_the_same_topics_in_another_order_do_not_wait_for_each_other(
    autojump_clock: MockClock,
) -> None:
    hub = blocking_hub()
    reader = stalled(hub, "t1", "t2")
    with reader.subscription:
        await hub.publish([Draft(topic, "0") for topic in ("t1", "t2", "t1", "t2")])
        async with trio.open_nursery() as nursery:
            for first, second in (("t1", "t2"), ("t2", "t1")):
                nursery.start_soon(hub.publish, [Draft(first, "1"), Draft(second, "1")])
            await wait_all_tasks_blocked()
            await reader.write_once()
        assert trio.current_time() == 0
    assert reader.closed == []


async def test_topics_that_block_and_others_of_one_batch_appear_together(autojump_clock: MockClock) -> None:
    hub = blocking_hub()
    reader, other = stalled(hub, "t"), stalled(hub, "u")
    with reader.subscription, other.subscription:
        await hub.publish(drafts("1", "2"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.publish, [Draft("u", "a"), Draft("t", "3"), Draft("u", "b")])
            await trio.sleep(1)
            assert await kept(hub, "u") == []
            await hub.publish([Draft("u", "before")])
            await reader.write_once()
        assert await kept(hub, "u") == ["before", "a", "b"]
        assert await kept(hub) == ["1", "2", "3"]


async def test_a_topic_of_a_batch_that_waits_is_not_forgotten_meanwhile(autojump_clock: MockClock) -> None:
    hub = blocking_hub(max_topics=2)
    reader = stalled(hub, "t")
    with reader.subscription:
        await hub.publish(drafts("1", "2"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.publish, [Draft("t", "3"), Draft("new", "x")])
            await trio.sleep(5)
            with pytest.raises(TopicsFullError):
                await hub.publish([Draft("another", "x")])
            await reader.write_once()
        assert await kept(hub, "new") == ["x"]


@pytest.mark.parametrize(("texts", "capacity_bytes"), [(["x"] * 3, 10**6), (["x", "y" * 500], 1500)])
async def test_a_batch_that_can_never_wait_is_refused_whole(texts: list[str], capacity_bytes: int) -> None:
    hub = blocking_hub(capacity_bytes=capacity_bytes)
    with stalled(hub).subscription:
        with pytest.raises(BatchTooLargeError) as refused:
            await hub.publish([*drafts(*texts), Draft("u", "x")])
    assert (refused.value.topic, refused.value.capacity, refused.value.capacity_bytes) == (
        "t",
        2,
        capacity_bytes,
    )
    assert hub.published == 0
    assert hub.topic("t") is not None


async def test_a_batch_as_large_as_may_wait_ends_nobody() -> None:
    hub = blocking_hub(capacity_bytes=2 * (OVERHEAD + 2))
    reader = stalled(hub)
    with reader.subscription:
        await hub.publish(drafts("x", "y"))
        assert reader.closed == []


async def test_a_message_larger_than_all_that_may_wait_waits_for_an_empty_place(
    autojump_clock: MockClock,
) -> None:
    hub = blocking_hub(capacity_bytes=2000)
    reader = stalled(hub)
    with reader.subscription:
        await hub.publish(drafts("x"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.publish, drafts("y" * 5000))
            await trio.sleep(1)
            await reader.write_once()
        await reader.write_once()
    assert reader.wire == ["x", "y" * 5000]


async def test_a_publisher_waits_for_room_over_all_topics_of_a_connection_too(
    autojump_clock: MockClock,
) -> None:
    hub = blocking_hub(5, max_queued=2)
    reader = stalled(hub, "t", "u")
    with reader.subscription:
        await hub.publish([Draft("u", "1"), Draft("u", "2")])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.publish, drafts("3"))
            await trio.sleep(1)
            assert reader.closed == []
            await reader.write_once()
        await reader.write_once()
    assert (reader.wire, reader.closed) == (["1", "2", "3"], [])


@pytest.mark.parametrize("way", ["leaves", "ends", "is cancelled", "is ended"])
async def test_a_subscription_that_goes_is_not_waited_for(autojump_clock: MockClock, way: str) -> None:
    hub = blocking_hub(2)
    reader = stalled(hub, "t", "u")

    async def hold(scope: trio.CancelScope) -> None:
        with scope, reader.subscription:
            await hub.publish(drafts("1", "2"))
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(hold, scope)
        await trio.sleep(1)
        nursery.start_soon(hub.publish, drafts("3"))
        await trio.sleep(1)
        assert await kept(hub) == ["1", "2"]
        if way == "ends":
            reader.subscription.end()
        elif way == "is ended":
            await hub.publish([Draft("u", "x") for _ in range(3)])
            assert reader.closed == [CloseReason.SLOW_CONSUMER]
        else:
            scope.cancel()
        await wait_all_tasks_blocked()
        assert await kept(hub) == ["1", "2", "3"]
        assert trio.current_time() == 2
        scope.cancel()


async def test_one_that_comes_meanwhile_is_waited_for_if_need_be(autojump_clock: MockClock) -> None:
    hub = blocking_hub(1)
    first, second = stalled(hub), stalled(hub)
    with first.subscription:
        await hub.publish(drafts("1"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.publish, drafts("2"))
            await wait_all_tasks_blocked()
            with second.subscription:
                await first.write_once()
                await wait_all_tasks_blocked()
                assert await kept(hub) == ["1", "2"]
                await second.write_once()
        assert second.wire == ["2"]


async def test_who_catches_up_does_not_hold_a_publisher_up(autojump_clock: MockClock) -> None:
    hub = blocking_hub(1)
    await hub.publish(drafts("1"))
    reader = Subscriber(hub, start=Earliest())
    with reader.subscription:
        for text in "2345":
            await hub.publish(drafts(text))
        assert trio.current_time() == 0
        await reader.write_what_waits()
    assert reader.wire == list("12345")


async def test_what_is_being_written_takes_nobodys_place(autojump_clock: MockClock) -> None:
    hub = blocking_hub(2)
    reader = stalled(hub)
    with reader.subscription:
        await hub.publish(drafts("1", "2"))
        await anext(reader.subscription)
        await hub.publish(drafts("3", "4"))
        assert trio.current_time() == 0
        assert reader.closed == []


async def test_a_publisher_that_is_cancelled_while_it_waits_publishes_nothing_and_lets_the_next_one_go(
    autojump_clock: MockClock,
) -> None:
    hub = blocking_hub()
    reader = stalled(hub)
    with reader.subscription:
        await hub.publish(drafts("1", "2"))
        with trio.move_on_after(5) as scope:
            await hub.publish([Draft("t", "3"), Draft("u", "3")])
        assert scope.cancelled_caught
        assert await kept(hub, "u") == []
        await reader.write_once()
        await hub.publish(drafts("4"))
        assert await kept(hub) == ["1", "2", "4"]
        assert trio.current_time() == 5


async def test_a_publish_cancelled_at_any_step_is_whole_or_has_not_been(autojump_clock: MockClock) -> None:
    hub = blocking_hub(1)
    returned: list[str] = []
    runs = 0

    async def publish_twice_and_read() -> None:
        nonlocal runs
        reader = stalled(hub, "t1", "t2")
        with reader.subscription:
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    runs += 1
                    nursery.start_soon(publish, str(runs))
                for _ in range(2):
                    await reader.write_once()
            assert reader.closed == []

    async def publish(text: str) -> None:
        batch = [Draft(topic, text) for topic in ("t1", "plain", "t2")]
        returned.extend({message.data for message in await hub.publish(batch)})

    async def is_consistent(step: int) -> None:
        published = await kept(hub, "t1")
        assert published == await kept(hub, "t2") == await kept(hub, "plain") == returned
        assert (hub.subscriptions, hub.buffered_bytes) == (0, 0)
        for topic in hub._topics.values():
            assert topic.is_unused()
            assert not topic.publishing.locked()

    assert await cancel_at_each_step(publish_twice_and_read, after=is_consistent) > 5
    assert returned


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1.0, 5.0]), st.integers(1, 3)), min_size=1, max_size=12),
    st.lists(st.lists(st.sampled_from([0.0, 1.0, 7.0, 29.0]), max_size=12), min_size=1, max_size=3),
    st.lists(st.sampled_from([Sent.SENT, Sent.KEPT, Sent.BUSY]), max_size=12),
)
def test_readers_that_make_room_in_time_get_everything_in_order(
    batches: list[tuple[float, int]], pauses: list[list[float]], answers: list[Sent]
) -> None:
    async def run() -> None:
        hub = blocking_hub(3)
        readers = [Subscriber(hub, Sink(answers), topic) for topic, _ in zip("t*t", pauses, strict=False)]
        published: list[str] = []
        async with trio.open_nursery() as nursery:
            for reader, waits in zip(readers, pauses, strict=True):
                reader.subscription.__enter__()
                nursery.start_soon(reader.run, waits)
            for pause, count in batches:
                await trio.sleep(pause)
                texts = [str(len(published) + n) for n in range(count)]
                await hub.publish(drafts(*texts))
                published += texts
                assert hub.buffered_bytes <= len(readers) * 6 * (OVERHEAD + 4)
            await trio.sleep(1000)
            nursery.cancel_scope.cancel()
        for reader in readers:
            assert (reader.wire, reader.closed) == (published, [])
            reader.subscription.__exit__(None, None, None)
        assert (hub.buffered_bytes, hub.dropped) == (0, 0)

    trio.run(run, clock=MockClock(autojump_threshold=0))
