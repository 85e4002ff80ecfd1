"""Replay of many topics: one order of ids, one cursor for all, and a gap for whatever is missing."""

from __future__ import annotations

from collections.abc import Sequence

import hypothesis.strategies as st
import pytest
import trio
from hypothesis import given
from trio.testing import MockClock

from server.hub import (
    After,
    Cursor,
    Draft,
    Earliest,
    Gap,
    HistoryLimits,
    Live,
    MemoryBroker,
    Message,
    Overflow,
    ReplayLimits,
    Rewind,
    Selection,
    Start,
    TopicRules,
)
from server.hub.message import OVERHEAD
from tests.hub.readers import full_form

FOREVER = 10**6


def store(
    history: HistoryLimits | None = None, replay: ReplayLimits | None = None, *latest: str
) -> MemoryBroker:
    limits = history or HistoryLimits()

    def rules_of(topic: str) -> TopicRules:
        overflow = Overflow.LATEST if topic in latest else Overflow.DISCONNECT
        return TopicRules(overflow=overflow, history=limits)

    return MemoryBroker(rules_of, replay)


async def publish(broker: MemoryBroker, topics: str) -> None:
    """A message to each topic of one letter, its offset as text."""
    for topic in topics:
        await broker.publish([Draft(topic, str(broker.head.offset + 1))])


def after(broker: MemoryBroker, offset: int) -> After:
    return After(Cursor(broker.head.epoch, offset))


def shown(items: Sequence[Message | Gap]) -> list[str]:
    """`a3` for message 3 of topic a; a gap as it would be sent."""
    return [
        f"{item.topic}{item.id.offset}" if isinstance(item, Message) else full_form(item).decode().strip()
        for item in items
    ]


async def read_all(
    broker: MemoryBroker, entries: Sequence[str], start: Start, page: int = FOREVER
) -> list[str]:
    replay = broker.open_replay(Selection.of(entries), start)
    items: list[Message | Gap] = []
    while found := await replay.read(page):
        assert sum(isinstance(item, Message) for item in found) <= page
        items += found
    if isinstance(start, After):
        # What the client has, it keeps until it is given something.
        assert replay.start == start.cursor
    ids = [replay.start] if replay.start.epoch == broker.head.epoch else []
    ids += [item.id for item in items]
    assert ids == sorted(ids)
    return shown(items)


# Order


@given(
    st.text("abcd", max_size=60),
    st.sampled_from([["a"], ["a", "c"], ["*"], ["a", "b*"], ["x", "d"], ["a", "b", "c", "d"]]),
    st.integers(1, 20),
    st.integers(0, 60),
)
def test_topics_are_merged_in_the_order_of_ids_whatever_the_pages(
    topics: str, entries: list[str], page: int, offset: int
) -> None:
    async def run() -> None:
        broker = store()
        await publish(broker, topics)
        selection = Selection.of(entries)
        everything = [f"{topic}{n}" for n, topic in enumerate(topics, 1) if topic in selection]
        assert await read_all(broker, entries, Earliest(), page) == everything
        begin = min(offset, len(topics))
        wanted = [each for each in everything if int(each[1:]) > begin]
        assert await read_all(broker, entries, after(broker, begin), page) == wanted

    trio.run(run)


@given(
    st.text("abc", min_size=1, max_size=40),
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", "ab", "abc", "*"]), st.integers(1, 9)), max_size=8),
)
def test_who_asks_for_other_topics_each_time_gets_all_of_them_behind_its_cursor(
    topics: str, connections: list[tuple[str, int]]
) -> None:
    async def run() -> None:
        broker = store()
        await publish(broker, topics)
        cursor = 0
        for entries, count in connections:
            replay = broker.open_replay(Selection.of(list(entries)), after(broker, cursor))
            found = shown(await replay.read(count))
            selected = [
                f"{topic}{n}"
                for n, topic in enumerate(topics, 1)
                if n > cursor and (topic in entries or entries == "*")
            ]
            assert found == selected[:count]
            cursor = max([cursor, *(int(each[1:]) for each in found)])

    trio.run(run)


async def test_rewinding_is_by_topic_and_the_oldest_of_all_comes_first() -> None:
    broker = store()
    await publish(broker, "aaabcab")
    assert await read_all(broker, ["*"], Rewind(2)) == ["a3", "b4", "c5", "a6", "b7"]
    assert broker.open_replay(Selection.of(["*"]), Rewind(2)).start.offset == 2
    assert broker.open_replay(Selection.of(["b", "c"]), Earliest()).start.offset == 3
    assert broker.open_replay(Selection.of(["x*"]), Earliest()).start == broker.head


@pytest.mark.parametrize("page", [1, 2, 3, 50])
async def test_a_wide_selection_is_read_in_pages_of_all_of_it(page: int) -> None:
    broker = store()
    for n in range(100):
        await broker.publish([Draft(f"topic.{n % 30}", "")])
    found = await read_all(broker, ["topic.*"], Earliest(), page)
    assert found == [f"topic.{n % 30}{n + 1}" for n in range(100)]


# What is missing


async def test_a_gap_stands_where_the_lost_would_have_been_and_counts_them() -> None:
    broker = store(HistoryLimits(messages=2))
    await publish(broker, "abaabb")
    assert await read_all(broker, ["a", "b"], after(broker, 0)) == [
        "gap 2 evicted a=1,b=1",
        "a3",
        "a4",
        "b5",
        "b6",
    ]
    # Of a it has had what is gone.
    assert await read_all(broker, ["a", "b"], after(broker, 1)) == [
        "gap 2 evicted b=1",
        "a3",
        "a4",
        "b5",
        "b6",
    ]
    assert await read_all(broker, ["a", "b"], after(broker, 2)) == ["a3", "a4", "b5", "b6"]


async def test_what_is_missing_of_one_topic_stands_behind_what_others_have_before() -> None:
    broker = store(HistoryLimits(messages=2))
    await publish(broker, "bcaaaa")
    assert await read_all(broker, ["*"], Earliest()) == ["b1", "c2", "a5", "a6"]
    assert await read_all(broker, ["*"], after(broker, 0)) == ["b1", "c2", "gap 4 evicted a=2", "a5", "a6"]


@pytest.mark.parametrize("page", [1, 2, 3])
async def test_a_full_page_leaves_the_gaps_of_later_ones_to_them(page: int) -> None:
    broker = store(HistoryLimits(messages=3))
    await publish(broker, "aaabbbb")
    broker.purge("b")
    await publish(broker, "c")
    wanted = ["a1", "a2", "a3", "gap 7 purged b=4", "c8"]
    assert await read_all(broker, ["*"], after(broker, 0), page) == wanted
    # Nothing follows: then it stands at the head.
    assert await read_all(broker, ["a", "b"], after(broker, 0), page) == [*wanted[:3], "gap 8 purged b=4"]


async def test_the_number_is_known_where_the_cursor_is_of_before_the_topic_or_of_what_is_kept() -> None:
    broker = store(HistoryLimits(messages=2))
    await publish(broker, "bbaaaa")
    assert (await read_all(broker, ["a"], after(broker, 2)))[0] == "gap 4 evicted a=2"
    assert (await read_all(broker, ["a"], after(broker, 3)))[0] == "gap 4 evicted a=None"
    assert (await read_all(broker, ["a"], after(broker, 4)))[0] == "a5"


async def test_what_goes_in_mid_catch_up_is_counted_by_topic() -> None:
    broker = store(HistoryLimits(messages=4))
    await publish(broker, "abababab")
    replay = broker.open_replay(Selection.of(["*"]), Earliest())
    assert shown(await replay.read(3)) == ["a1", "b2", "a3"]
    await publish(broker, "aaabb")
    wanted = ["gap 5 evicted b=1,a=1", "b6", "a7", "b8", "a9", "a10", "a11", "b12", "b13"]
    assert shown(await replay.read(100)) == wanted


async def test_what_is_purged_in_mid_catch_up_is_counted_and_said_to_be() -> None:
    broker = store()
    await publish(broker, "aaabb")
    replay = broker.open_replay(Selection.of(["*"]), Earliest())
    assert shown(await replay.read(1)) == ["a1"]
    broker.purge("a")
    await publish(broker, "a")
    assert shown(await replay.read(100)) == ["gap 3 purged a=2", "b4", "b5", "a6"]
    assert shown(await replay.read(100)) == []


async def test_who_has_had_all_of_a_purged_topic_misses_nothing() -> None:
    broker = store()
    await publish(broker, "aab")
    broker.purge("a")
    assert await read_all(broker, ["a", "b"], after(broker, 2)) == ["b3"]
    assert await read_all(broker, ["a"], Earliest()) == []


async def test_gaps_of_different_reasons_in_one_place_can_each_be_resumed_from() -> None:
    broker = store(HistoryLimits(messages=2))
    await publish(broker, "aaabb")
    broker.purge("b")
    await publish(broker, "c")
    await publish(broker, "aa")
    found = await read_all(broker, ["*"], after(broker, 0))
    assert found == ["gap 3 evicted a=3", "gap 5 purged b=2", "c6", "a7", "a8"]
    assert await read_all(broker, ["*"], after(broker, 3)) == found[1:]
    assert await read_all(broker, ["*"], after(broker, 5)) == found[2:]


async def test_a_foreign_cursor_is_told_of_every_entry_once() -> None:
    broker = store()
    await publish(broker, "ba")
    foreign = After(Cursor("other", 7))
    assert await read_all(broker, ["a", "b*", "c"], foreign, 1) == [
        "gap 0 epoch a=None,c=None,b*=None",
        "b1",
        "a2",
    ]


# Limits


async def test_where_more_is_kept_than_is_replayed_the_newest_are_and_the_rest_is_counted() -> None:
    broker = store(None, ReplayLimits(messages=3))
    await publish(broker, "ababbcc")
    assert await read_all(broker, ["*"], Earliest()) == ["gap 4 limit a=2,b=2", "b5", "c6", "c7"]
    assert await read_all(broker, ["*"], after(broker, 1)) == ["gap 4 limit a=1,b=2", "b5", "c6", "c7"]
    assert await read_all(broker, ["*"], after(broker, 4)) == ["b5", "c6", "c7"]
    assert await read_all(broker, ["a", "c"], Earliest()) == ["gap 2 limit a=1", "a3", "c6", "c7"]
    assert await read_all(broker, ["*"], Rewind(1)) == ["a3", "b5", "c7"]


async def test_a_topic_that_is_replayed_whole_is_not_limited_and_limits_no_other() -> None:
    def rules_of(topic: str) -> TopicRules:
        return TopicRules(whole=topic == "a")

    broker = MemoryBroker(rules_of, ReplayLimits(messages=2))
    await publish(broker, "abaabb")
    assert await read_all(broker, ["a"], Earliest()) == ["a1", "a3", "a4"]
    assert await read_all(broker, ["a", "b"], Earliest()) == ["gap 0 limit b=1", "a1", "a3", "a4", "b5", "b6"]


async def test_the_bytes_of_a_replay_are_limited_too() -> None:
    broker = store(None, ReplayLimits(size=2 * (OVERHEAD + 2)))
    await publish(broker, "aba")
    assert await read_all(broker, ["*"], Earliest()) == ["gap 1 limit a=1", "b2", "a3"]


async def test_no_limit_takes_the_newest_of_a_topic_that_is_latest() -> None:
    broker = store(None, ReplayLimits(messages=2), "a", "d")
    await publish(broker, "abdbbb")
    found = await read_all(broker, ["*"], Earliest(), 1)
    # Who has d3 must have been told of b2: resumed behind 3, the store would know of b4 alone.
    assert found == ["gap 0 limit b=2", "a1", "d3", "b5", "b6"]


async def test_what_is_left_out_and_what_is_gone_are_counted_together() -> None:
    broker = store(HistoryLimits(messages=3), ReplayLimits(messages=3))
    await publish(broker, "aaaabbcb")
    assert await read_all(broker, ["*"], after(broker, 0)) == ["gap 5 limit a=4,b=1", "b6", "c7", "b8"]


# New and forgotten topics


async def test_a_topic_made_in_mid_catch_up_is_read_from_its_first_message() -> None:
    broker = store(HistoryLimits(messages=2))
    await publish(broker, "aa")
    replay = broker.open_replay(Selection.of(["*"]), Earliest())
    assert shown(await replay.read(1)) == ["a1"]
    await publish(broker, "bbb")
    assert shown(await replay.read(9)) == ["a2", "gap 3 evicted b=1", "b4", "b5"]


async def test_what_was_forgotten_before_it_was_read_is_told_of_with_its_number(
    autojump_clock: MockClock,
) -> None:
    broker = store(HistoryLimits(seconds=10))
    await publish(broker, "aaa")
    replay = broker.open_replay(Selection.of(["*"]), Earliest())
    assert shown(await replay.read(1)) == ["a1"]
    await publish(broker, "b")
    autojump_clock.jump(11)
    assert broker.forget("a")
    assert broker.forget("b")
    await publish(broker, "a")
    assert shown(await replay.read(9)) == ["gap 4 evicted a=2,b=1", "a5"]
    assert await replay.read(9) == []


async def test_what_was_read_before_it_was_forgotten_is_not_told_of(autojump_clock: MockClock) -> None:
    broker = store(HistoryLimits(seconds=10))
    await publish(broker, "a")
    replay = broker.open_replay(Selection.of(["*"]), Earliest())
    assert shown(await replay.read(1)) == ["a1"]
    autojump_clock.jump(11)
    assert broker.forget("a")
    await publish(broker, "ba")
    assert shown(await replay.read(9)) == ["b2", "a3"]


async def test_a_topic_that_others_made_again_does_not_hide_what_is_missing(
    autojump_clock: MockClock,
) -> None:
    broker = store(HistoryLimits(seconds=10))
    await publish(broker, "a")
    autojump_clock.jump(11)
    broker.forget("a")
    await publish(broker, "ab")
    assert await read_all(broker, ["a", "x"], after(broker, 0)) == ["gap 1 evicted x=None,a=None", "a2"]
    assert await read_all(broker, ["b*"], after(broker, 0)) == ["gap 2 evicted b*=None,b=None", "b3"]


async def test_live_has_nothing_to_read_but_the_newest_of_what_is_latest() -> None:
    broker = store(None, None, "a")
    await publish(broker, "aab")
    assert not broker.open_replay(Selection.of(["b*", "c"]), Live()).needed
    assert await read_all(broker, ["*"], Live()) == ["a2"]


# Excerpts


async def test_an_excerpt_is_no_replay_neither_limit_nor_latest_apply() -> None:
    broker = store(None, ReplayLimits(messages=2), "a")
    await publish(broker, "aaaaa")
    for start in (None, Cursor(broker.head.epoch, 0)):
        excerpt = broker.excerpt("a", start, None, 10)
        assert (excerpt.gap, shown(excerpt.messages)) == (None, ["a1", "a2", "a3", "a4", "a5"])


@given(st.text("ab", max_size=30), st.integers(0, 31), st.none() | st.integers(0, 31), st.integers(1, 9))
def test_excerpts_forwards_and_backwards_are_stretches_of_what_is_kept(
    topics: str, low: int, high: int | None, limit: int
) -> None:
    async def run() -> None:
        broker = store(HistoryLimits(messages=8))
        await publish(broker, topics)
        epoch, head = broker.head
        before = None if high is None else Cursor(epoch, min(high, head))
        end = head + 1 if before is None else before.offset
        kept = [n for n, topic in enumerate(topics, 1) if topic == "a"][-8:]
        backwards = broker.excerpt("a", None, before, limit)
        wanted = [n for n in kept if n < end]
        assert [each.id.offset for each in backwards.messages] == wanted[-limit:]
        assert (backwards.gap, backwards.more) == (None, len(wanted) > limit)
        start = min(low, head)
        forwards = broker.excerpt("a", Cursor(epoch, start), before, limit)
        wanted = [n for n in kept if start < n < end]
        assert [each.id.offset for each in forwards.messages] == wanted[:limit]
        assert forwards.more == (len(wanted) > limit)
        gone = [n for n, topic in enumerate(topics, 1) if topic == "a" and start < n and n not in kept]
        assert (forwards.gap is not None) == bool(gone)
        if forwards.gap is not None and wanted:
            assert forwards.gap.id.offset == wanted[0] - 1

    trio.run(run)


async def test_a_foreign_cursor_in_either_place_of_an_excerpt_is_a_gap() -> None:
    broker = store()
    await publish(broker, "ba")
    for foreign in (Cursor("x", 1), Cursor(broker.head.epoch, 99)):
        for excerpt in (broker.excerpt("a", foreign, None, 5), broker.excerpt("a", None, foreign, 5)):
            assert excerpt.gap == Gap(Cursor(broker.head.epoch, 1), "epoch", (("a", None),))
            assert shown(excerpt.messages) == ["a2"]
