"""One subscription to many topics: who is offered what, as topics and subscriptions come and go."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.hub import After, Cursor, Draft, Earliest, HistoryLimits, Live, Start
from server.transport import Sent
from tests.hub.readers import Sink, Subscriber, full_form
from tests.support.cancel import cancel_at_each_step
from tests.support.hubs import open_hub


async def test_a_pattern_reaches_topics_made_before_and_after() -> None:
    hub = open_hub()
    await hub.publish([Draft("a.1", "old")])
    readers = [Subscriber(hub, None, *topics) for topics in (["a.*"], ["a*"], ["b", "a.2"], ["*"])]
    for reader in readers:
        reader.subscription.__enter__()
    await hub.publish([Draft(topic, topic) for topic in ("a.1", "a.2", "b", "ab", "rooms/a")])
    for reader in readers:
        await reader.write_what_waits()
        reader.subscription.__exit__(None, None, None)
    assert [reader.wire for reader in readers] == [
        ["a.1", "a.2"],
        ["a.1", "a.2", "ab"],
        ["a.2", "b"],
        ["a.1", "a.2", "b", "ab"],
    ]


async def test_watchers_are_counted_by_name_and_by_pattern_and_leave_nothing() -> None:
    hub = open_hub()
    await hub.publish([Draft("a.1", ""), Draft("b", "")])
    with Subscriber(hub, None, "a.*", "b").subscription:
        with Subscriber(hub, None, "a.*").subscription, Subscriber(hub, None, "*").subscription as last:
            assert (hub.watchers("a.1"), hub.watchers("b")) == (3, 2)
            last.end()
            last.end()
            assert (hub.watchers("a.1"), hub.watchers("b")) == (2, 1)
        assert (hub.watchers("a.1"), hub.watchers("b")) == (1, 1)
    assert (hub.watchers("a.1"), hub.watchers("b"), hub.subscriptions) == (0, 0, 0)
    assert hub._groups == {}
    assert all(not topic.groups for topic in hub._topics.values())


async def test_whoever_waits_for_listeners_wakes_up_for_one_by_pattern(autojump_clock: MockClock) -> None:
    hub = open_hub()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.wait_watched, "a.1")
        await wait_all_tasks_blocked()
        with Subscriber(hub, None, "a.*").subscription:
            with trio.fail_after(1):
                await hub.wait_watched("a.1")


async def test_a_topic_that_was_forgotten_and_made_again_reaches_its_pattern(
    autojump_clock: MockClock,
) -> None:
    hub = open_hub(HistoryLimits(seconds=10), max_topics=1)
    reader = Subscriber(hub, None, "*")
    with reader.subscription:
        for topic in "abab":
            await hub.publish([Draft(topic, topic)])
            autojump_clock.jump(11)
        await reader.write_what_waits()
    assert reader.wire == list("abab")


async def test_one_that_catches_up_by_pattern_is_told_of_what_was_forgotten_under_it(
    autojump_clock: MockClock,
) -> None:
    hub = open_hub(HistoryLimits(seconds=10), max_topics=1)
    await hub.publish([Draft("a", str(n)) for n in range(600)])
    reader = Subscriber(hub, Sink(form=full_form), "*", start=Earliest())
    with reader.subscription:
        await reader.write_once()
        page = len(reader.wire)
        assert 0 < page < 600
        autojump_clock.jump(11)
        await hub.publish([Draft("b", "new")])
        assert hub.topic("a") is None
        await reader.write_what_waits()
    assert reader.wire[page:] == [f"gap 600 evicted a={600 - page}", "message 601 b new"]


async def test_a_heartbeat_stands_at_the_head_of_all_topics(autojump_clock: MockClock) -> None:
    hub = open_hub()
    reader = Subscriber(hub, Sink(form=full_form), "a", "b*", visible_heartbeat=True)
    async with trio.open_nursery() as nursery:
        with reader.subscription:
            nursery.start_soon(reader.run)
            await wait_all_tasks_blocked()
            await hub.publish([Draft(topic, "x") for topic in ("a", "b1", "c")])
            reader.subscription.heartbeat()
            nursery.cancel_scope.cancel()
    assert reader.wire == ["message 1 a x", "message 2 b1 x", "heartbeat 3"]


@pytest.mark.parametrize("start", [Live(), Earliest(), After(Cursor("foreign", 1))])
async def test_a_subscription_to_many_cancelled_at_any_step_leaves_nothing(
    autojump_clock: MockClock, start: Start
) -> None:
    hub = open_hub()
    await hub.publish([Draft(f"a.{n % 20}", "x") for n in range(600)])
    answers = [Sent.SENT, Sent.KEPT, Sent.BUSY] * 5

    async def read() -> None:
        reader = Subscriber(hub, Sink(answers, form=full_form), "a.*", "b", "c*", start=start)
        with reader.subscription:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(publish_and_end, reader)
                await reader.run()
        ids = [int(line.split()[1]) for line in reader.wire]
        assert ids == sorted(ids)
        # What earlier runs published is in history.
        assert sum(" b " in line for line in reader.wire) >= 4

    async def publish_and_end(reader: Subscriber) -> None:
        for _ in range(4):
            await hub.publish([Draft(topic, "x") for topic in ("a.1", "b", "d", "c2", "c1")])
            await trio.sleep(1)
        reader.subscription.end()

    def nothing_left(step: int) -> None:
        assert (hub.subscriptions, hub.buffered_bytes, hub._groups) == (0, 0, {})
        for topic in hub._topics.values():
            assert (topic.watchers, topic.readers) == (0, 0)

    assert await cancel_at_each_step(read, after=nothing_left) > 10
