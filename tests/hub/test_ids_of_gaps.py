"""Ids of gaps: whoever holds an id has been told of all that is missing up to it, wherever it is cut."""

from __future__ import annotations

from server.hub import After, Cursor, Gap, HistoryLimits, Item, Message, Overflow, ReplayLimits, TopicRules
from server.transport import Sent
from tests.hub.readers import Sink, Subscriber, drafts
from tests.support.hubs import open_hub

DROP = TopicRules(2, overflow=Overflow.DROP_OLDEST)


def shown(items: list[Item]) -> list[tuple[int, object]]:
    """Offset and text of messages, offset and topics of gaps."""
    found: list[tuple[int, object]] = []
    for item in items:
        if isinstance(item, Message):
            found.append((item.id.offset, item.data))
        elif isinstance(item, Gap):
            found.append((item.id.offset, dict(item.topics)))
    return found


async def test_a_gap_of_dropped_messages_comes_before_what_other_topics_have_behind_them() -> None:
    hub = open_hub(rules_of=lambda name: DROP if name == "a" else TopicRules())
    reader = Subscriber(hub, Sink(then=Sent.BUSY), "a", "b")
    with reader.subscription:
        await hub.publish(drafts("1", topic="a"))
        await hub.publish(drafts("2", topic="b"))
        await hub.publish(drafts("3", "4", "5", topic="a"))
        # With the id 2 and nothing of 1 told, a client cut behind it would never know.
        batch = await anext(reader.subscription)
    assert shown(batch) == [(1, {"a": 2}), (2, "2"), (4, "4"), (5, "5")]


async def test_a_gap_of_dropped_messages_stands_behind_them_where_nothing_else_does() -> None:
    hub = open_hub(rules_of=lambda _: DROP)
    reader = Subscriber(hub, Sink(then=Sent.BUSY), "a", "b")
    with reader.subscription:
        await hub.publish(drafts(*"123456", topic="a"))
        batch = await anext(reader.subscription)
    assert shown(batch) == [(4, {"a": 4}), (5, "5"), (6, "6")]


async def test_a_purge_is_told_behind_all_that_was_published_before() -> None:
    hub = open_hub()
    reader = Subscriber(hub, Sink(then=Sent.BUSY), "a", "b")
    with reader.subscription:
        await hub.publish([*drafts("1", topic="a"), *drafts("2", topic="b")])
        hub.purge("a")
        batch = await anext(reader.subscription)
    assert shown(batch) == [(1, "1"), (2, "2"), (2, {"a": 0})]


async def test_of_two_gaps_at_one_place_only_the_last_takes_the_client_there() -> None:
    hub = open_hub(
        replay=ReplayLimits(messages=1),
        rules_of=lambda name: TopicRules(history=HistoryLimits(messages=1 if name == "a" else 10)),
    )
    await hub.publish(drafts("1", topic="b"))
    await hub.publish([*drafts("2", "3", topic="b"), *drafts("4", "5", topic="a")])
    reader = Subscriber(hub, Sink(then=Sent.BUSY), "a", "b", start=After(Cursor(hub.head.epoch, 1)))
    with reader.subscription:
        batch = await anext(reader.subscription)
    gaps = [item for item in batch if isinstance(item, Gap)]
    assert [(gap.reason, gap.id.offset) for gap in gaps] == [("limit", 1), ("evicted", 4)]


async def test_a_cursor_of_another_store_is_kept_until_the_gap() -> None:
    hub = open_hub()
    await hub.publish(drafts("1", "2"))
    foreign = Cursor("another", 7)
    reader = Subscriber(hub, Sink(then=Sent.BUSY), start=After(foreign))
    with reader.subscription:
        assert reader.subscription.start == foreign
        assert shown(await anext(reader.subscription)) == [(0, {"t": None}), (1, "1"), (2, "2")]


async def test_the_last_of_a_pattern_may_leave_in_the_middle_of_a_pass() -> None:
    hub = open_hub(capacity=1)
    slow = Subscriber(hub, Sink(then=Sent.BUSY), "t*")
    other = Subscriber(hub, Sink(then=Sent.BUSY), "*")
    with slow.subscription, other.subscription:
        await hub.publish(drafts("1"))
        await other.write_once()
        await hub.publish(drafts("2"))
        await other.write_once()
    assert slow.closed
    assert other.wire == ["1", "2"]


async def test_what_is_over_the_limit_is_told_before_an_older_message_of_a_latest_topic() -> None:
    hub = open_hub(
        replay=ReplayLimits(messages=2),
        rules_of=lambda name: TopicRules(overflow=Overflow.LATEST if name == "a" else Overflow.DISCONNECT),
    )
    await hub.publish([*drafts("1", topic="b"), *drafts("2", topic="a"), *drafts("3", "4", topic="b")])
    await hub.publish(drafts("5", topic="b"))
    reader = Subscriber(hub, Sink(then=Sent.BUSY), "a", "b", start=After(Cursor(hub.head.epoch, 0)))
    with reader.subscription:
        batch = await anext(reader.subscription)
    assert shown(batch) == [(1, {"b": 2}), (2, "2"), (4, "4"), (5, "5")]
