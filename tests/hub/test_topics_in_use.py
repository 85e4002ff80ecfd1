"""Topics need no creation and are bounded: the unused and empty ones are forgotten when there is no room."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from server.hub import After, Cursor, Earliest, HistoryLimits, Hub, TopicsFullError
from tests.hub.readers import Subscriber, drafts
from tests.support.hubs import open_hub


def open_small(max_topics: int) -> Hub:
    return open_hub(HistoryLimits(seconds=10), max_topics=max_topics)


def names(hub: Hub) -> list[str]:
    return sorted(hub.topic_names())


async def test_a_topic_is_there_once_it_has_a_message_or_a_subscriber() -> None:
    hub = open_small(10)
    assert hub.topic("a") is None
    (message,) = await hub.publish(drafts("x", topic="a"))
    info = hub.topic("a")
    assert info is not None
    assert (info.first, info.last, info.buffered, info.subscribers) == (message.id, message.id, 1, 0)
    with Subscriber(hub, topic="b").subscription:
        info = hub.topic("b")
        assert info is not None
        assert (info.first, info.buffered, info.subscribers) == (None, 0, 1)


async def test_with_all_topics_in_use_a_new_one_is_refused(autojump_clock: MockClock) -> None:
    hub = open_small(2)
    await hub.publish(drafts("x", topic="a"))
    with Subscriber(hub, topic="b").subscription:
        with pytest.raises(TopicsFullError):
            await hub.publish(drafts("x", topic="c"))
        with pytest.raises(TopicsFullError):
            Subscriber(hub, topic="c")
        await hub.publish(drafts("x", topic="a"))
        assert names(hub) == ["a", "b"]


async def test_an_empty_topic_without_a_subscriber_makes_room(autojump_clock: MockClock) -> None:
    hub = open_small(2)
    await hub.publish(drafts("x", topic="a"))
    with Subscriber(hub, topic="b").subscription:
        autojump_clock.jump(11)
        await hub.publish(drafts("x", topic="c"))
        assert names(hub) == ["b", "c"]


async def test_the_search_for_unused_topics_is_not_repeated_within_a_second(
    autojump_clock: MockClock,
) -> None:
    hub = open_small(1)
    with Subscriber(hub, topic="a").subscription:
        with pytest.raises(TopicsFullError):
            hub.admit("b")
    with pytest.raises(TopicsFullError):
        hub.admit("b")
    autojump_clock.jump(1)
    hub.admit("b")


async def test_topics_published_to_together_are_admitted_together_or_not_at_all(
    autojump_clock: MockClock,
) -> None:
    hub = open_small(2)
    with Subscriber(hub, topic="a").subscription:
        with pytest.raises(TopicsFullError):
            await hub.publish([*drafts("x", topic="b"), *drafts("x", topic="c")])
        assert names(hub) == ["a"]
        assert hub.published == 0


async def test_room_is_not_made_by_forgetting_a_topic_of_the_same_publish(
    autojump_clock: MockClock,
) -> None:
    hub = open_small(1)
    with pytest.raises(TopicsFullError):
        await hub.publish([*drafts("x", topic="a"), *drafts("x", topic="b")])
    assert (names(hub), hub.published) == ([], 0)


async def test_a_topic_is_not_forgotten_while_somebody_catches_up_on_it(autojump_clock: MockClock) -> None:
    hub = open_small(1)
    await hub.publish(drafts("x", topic="a"))
    reader = Subscriber(hub, topic="a", start=Earliest())
    with reader.subscription:
        await reader.write_once()
        autojump_clock.jump(11)  # as long as the client takes for what it was given
        with pytest.raises(TopicsFullError):
            await hub.publish(drafts("x", topic="b"))
        await hub.publish(drafts("y", topic="a"))
        await reader.write_once()
    assert reader.wire == ["x", "y"]


async def test_a_forgotten_topic_is_a_gap_to_those_who_had_read_of_it(autojump_clock: MockClock) -> None:
    hub = open_small(1)
    start = Cursor((await hub.publish(drafts("x", topic="a")))[0].id.epoch, 0)
    autojump_clock.jump(11)
    await hub.publish(drafts("x", topic="b"))
    autojump_clock.jump(11)
    reader = Subscriber(hub, topic="a", start=After(start))
    with reader.subscription:
        await reader.write_once()
    assert reader.wire == ["gap evicted"]


async def test_a_topic_that_is_dropped_is_gone_and_makes_no_gap_in_others() -> None:
    hub = open_small(10)
    await hub.publish(drafts("x", topic="a"))
    before = hub.head
    await hub.publish(drafts("y", "z", topic="internal/1"))
    hub.drop("internal/1")
    hub.drop("internal/1")
    assert names(hub) == ["a"]
    assert hub.excerpt("internal/1", None, None, 10).messages == []
    # `b` has no history yet: what was forgotten might have been its.
    assert hub.excerpt("b", before, None, 10).gap is None
    await hub.publish(drafts("x", topic="a"))
    kept = hub.excerpt("a", None, None, 10).messages
    assert hub.history_bytes == sum(message.size for message in kept)


async def test_a_topic_that_somebody_reads_is_not_dropped() -> None:
    hub = open_small(10)
    with Subscriber(hub, topic="a").subscription, pytest.raises(AssertionError):
        hub.drop("a")
