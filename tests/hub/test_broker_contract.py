"""What every broker promises: order, pages of history, and a gap wherever something is missing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from trio.testing import MockClock

from server.hub import (
    After,
    Cursor,
    Draft,
    Earliest,
    Gap,
    HistoryLimits,
    MemoryBroker,
    Message,
    Rewind,
    Selection,
)
from tests.hub.conftest import OpenBroker

FOREVER = 10**6


async def publish(broker: MemoryBroker, *texts: str, topic: str = "t") -> list[Cursor]:
    return [message.id for message in await broker.publish([Draft(topic, text) for text in texts])]


def behind(cursor: Cursor) -> Cursor:
    return cursor._replace(offset=cursor.offset - 1)


async def replayed(broker: MemoryBroker, after: Cursor | None, topic: str = "t") -> tuple[object, list[str]]:
    """The gap, as id and reason, and the texts of one long page."""
    items = await broker.open_replay(Selection((topic,)), Earliest() if after is None else After(after)).read(
        FOREVER
    )
    gaps = [(item.id, item.reason) for item in items if isinstance(item, Gap)]
    assert len(gaps) <= 1
    assert not any(isinstance(item, Gap) for item in items[1:])
    return (gaps[0] if gaps else None), texts(items)


def texts(items: Sequence[Message | Gap]) -> list[str]:
    return [item.data for item in items if isinstance(item, Message)]


async def test_ids_grow_over_all_topics_and_seq_counts_each_topic(open_broker: OpenBroker) -> None:
    broker = open_broker(HistoryLimits())
    drafts = [Draft(topic, "") for topic in ("a", "b", "a", "b", "b")]
    messages = await broker.publish(drafts[:2]) + await broker.publish(drafts[2:])
    assert [message.id for message in messages] == sorted({message.id for message in messages})
    assert [message.seq for message in messages] == [1, 1, 2, 2, 3]
    assert broker.head == messages[-1].id
    assert len({message.id.epoch for message in messages}) == 1


async def test_stores_that_share_nothing_have_different_epochs(open_broker: OpenBroker) -> None:
    assert open_broker(HistoryLimits()).head.epoch != open_broker(HistoryLimits()).head.epoch


async def test_what_is_published_is_delivered_in_order_with_its_id(open_broker: OpenBroker) -> None:
    broker = open_broker(HistoryLimits())
    delivered: list[Message] = []

    def deliver(messages: Sequence[Message]) -> None:
        delivered.extend(messages)

    broker.attach(deliver)
    ids = await publish(broker, "a", "b") + await publish(broker, "c")
    assert [(message.id, message.data) for message in delivered] == list(zip(ids, "abc", strict=True))


async def test_a_cursor_of_this_store_gets_what_came_after_it(open_broker: OpenBroker) -> None:
    broker = open_broker(HistoryLimits())
    start = broker.head
    ids = await publish(broker, "a", "b", "c")
    for after, wanted in zip([start, *ids], ["abc", "bc", "c", ""], strict=True):
        assert await replayed(broker, after) == (None, list(wanted))
    assert await replayed(broker, None) == (None, list("abc"))


async def test_one_cursor_resumes_every_topic(open_broker: OpenBroker) -> None:
    broker = open_broker(HistoryLimits())
    await publish(broker, "a")
    (cursor,) = await publish(broker, "b", topic="other")
    await publish(broker, "c")
    assert await replayed(broker, cursor) == (None, ["c"])
    assert await replayed(broker, cursor, "never used") == (None, [])


async def test_history_comes_in_pages_without_loss_or_doubling(open_broker: OpenBroker) -> None:
    broker = open_broker(HistoryLimits())
    ids = await publish(broker, *map(str, range(10)))
    replay = broker.open_replay(Selection(("t",)), Earliest())
    seen: list[Cursor] = []
    while items := await replay.read(3):
        assert len(items) <= 3
        seen += [item.id for item in items]
    assert seen == ids


@pytest.mark.parametrize("foreign", ["epoch", "beyond the head"])
async def test_a_cursor_of_another_store_gets_all_behind_a_gap(open_broker: OpenBroker, foreign: str) -> None:
    broker = open_broker(HistoryLimits())
    await publish(broker, "x", topic="other")
    ids = await publish(broker, "a", "b")
    cursor = Cursor("another", 1) if foreign == "epoch" else ids[1]._replace(offset=ids[1].offset + 1)
    assert await replayed(broker, cursor) == ((behind(ids[0]), "epoch"), ["a", "b"])
    assert await replayed(broker, cursor, "empty") == ((broker.head, "epoch"), [])


async def test_a_cursor_behind_which_something_was_evicted_gets_a_gap(open_broker: OpenBroker) -> None:
    broker = open_broker(HistoryLimits(messages=2))
    ids = await publish(broker, "a", "b", "c", "d")
    assert await replayed(broker, ids[0]) == ((behind(ids[2]), "evicted"), ["c", "d"])
    assert await replayed(broker, ids[1]) == (None, ["c", "d"])
    assert await replayed(broker, None) == (None, ["c", "d"])


async def test_a_gap_names_its_topic(open_broker: OpenBroker) -> None:
    broker = open_broker(HistoryLimits())
    (last,) = await publish(broker, "a")
    gap, _ = await broker.open_replay(Selection(("t",)), After(Cursor("another", 1))).read(1)
    assert gap == Gap(behind(last), "epoch", (("t", None),))


async def test_where_all_was_evicted_the_gap_stands_at_the_head(
    open_broker: OpenBroker, autojump_clock: MockClock
) -> None:
    broker = open_broker(HistoryLimits(seconds=10))
    ids = await publish(broker, "a", "b")
    autojump_clock.jump(11)
    assert await replayed(broker, ids[0]) == ((broker.head, "evicted"), [])
    assert await replayed(broker, ids[1]) == (None, [])
    assert broker.history("t").buffered == 0


async def test_rewinding_begins_with_the_newest(open_broker: OpenBroker) -> None:
    broker = open_broker(HistoryLimits(messages=3))
    assert broker.open_replay(Selection(("t",)), Rewind(5)).start == broker.head
    ids = await publish(broker, "a", "b", "c", "d")
    await publish(broker, "x", topic="other")
    for count, wanted, start in (
        (1, "d", ids[3]),
        (2, "cd", ids[2]),
        (3, "bcd", ids[1]),
        (99, "bcd", ids[1]),
    ):
        replay = broker.open_replay(Selection(("t",)), Rewind(count))
        assert replay.start == behind(start)
        assert texts(await replay.read(FOREVER)) == list(wanted)


async def test_looking_tells_the_ends_the_number_and_the_bytes(open_broker: OpenBroker) -> None:
    broker = open_broker(HistoryLimits(messages=2))
    ids = await publish(broker, "a", "b", "c")
    kept = broker.history("t")
    assert (kept.first, kept.last, kept.buffered) == (ids[1], ids[2], 2)
    assert kept.size == broker.size > 0
    nothing = broker.history("never used")
    assert (nothing.first, nothing.last, nothing.buffered, nothing.size) == (None, None, 0, 0)


async def test_the_size_of_the_store_is_that_of_its_histories(
    open_broker: OpenBroker, autojump_clock: MockClock
) -> None:
    broker = open_broker(HistoryLimits(messages=2, seconds=10))
    for topic in ("a", "b"):
        await publish(broker, "1", "22", "333", topic=topic)
    assert broker.size == broker.history("a").size + broker.history("b").size
    autojump_clock.jump(11)
    assert [broker.history(topic).size for topic in ("a", "b")] == [0, 0]
    assert broker.size == 0


async def test_a_retry_is_delivered_and_not_replayed(open_broker: OpenBroker) -> None:
    broker = open_broker(HistoryLimits())
    (live,) = await broker.publish([Draft("t", "a", event="e", retry=700)])
    (kept,) = broker.excerpt("t", None, None, 1).messages
    assert (live.retry, kept.retry) == (700, None)
    assert (kept.id, kept.seq, kept.data, kept.event) == (live.id, live.seq, live.data, live.event)


async def test_only_a_topic_of_which_nothing_is_kept_is_forgotten(
    open_broker: OpenBroker, autojump_clock: MockClock
) -> None:
    broker = open_broker(HistoryLimits(seconds=10))
    await publish(broker, "a")
    assert not broker.forget("t")
    autojump_clock.jump(11)
    assert broker.forget("t")
    assert broker.forget("never used")


async def test_what_was_forgotten_is_a_gap_to_old_cursors_and_to_no_others(
    open_broker: OpenBroker, autojump_clock: MockClock
) -> None:
    broker = open_broker(HistoryLimits(seconds=10))
    start = broker.head
    (last,) = await publish(broker, "a")
    autojump_clock.jump(11)
    broker.forget("t")
    assert await replayed(broker, start) == ((broker.head, "evicted"), [])
    assert await replayed(broker, last) == (None, [])
    (new,) = await publish(broker, "b")
    assert await replayed(broker, start) == ((behind(new), "evicted"), ["b"])
    assert await replayed(broker, last) == (None, ["b"])
