"""Overflow: what becomes of a subscription that has as much of a topic waiting as it may."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import hypothesis.strategies as st
import trio
from hypothesis import given
from trio.testing import wait_all_tasks_blocked

from server.hub import After, Cursor, Draft, Earliest, Hub, Overflow, Rewind, Start, TopicRules
from server.hub.message import OVERHEAD
from server.lifecycle import CloseReason
from server.transport import Sent
from tests.hub.readers import Sink, Subscriber, full_form
from tests.support.hubs import open_hub

Rules = Mapping[str, Overflow]


def rules_of(overflows: Rules, capacity: int, capacity_bytes: int) -> Callable[[str], TopicRules]:
    return lambda topic: TopicRules(capacity, capacity_bytes, overflows.get(topic, Overflow.DISCONNECT))


def hub_of(
    capacity: int = 2,
    max_queued: int = 10_000,
    max_queued_bytes: int = 2**22,
    capacity_bytes: int = 2**20,
    **overflows: Overflow,
) -> Hub:
    """A hub with topics of different rules."""
    return open_hub(
        rules_of=rules_of(overflows, capacity, capacity_bytes),
        max_queued=max_queued,
        max_queued_bytes=max_queued_bytes,
    )


def stalled(hub: Hub, *topics: str, start: Start | None = None) -> Subscriber:
    return Subscriber(hub, Sink(then=Sent.BUSY, form=full_form), *topics, start=start)


async def publish(hub: Hub, topics: str) -> None:
    """A message to each topic of one letter, whose text is its own offset."""
    await hub.publish([Draft(topic, str(offset)) for offset, topic in enumerate(topics, hub.head.offset + 1)])


def lines(*items: str) -> list[str]:
    """`a3`: message 3 of topic a; `a3-2`: a gap with id 3, two of topic a missed by overflow."""
    found = []
    for item in items:
        topic, rest = item[0], item[1:]
        offset, _, missed = rest.partition("-")
        gap = f"gap {offset} overflow {topic}={missed}"
        found.append(gap if missed else f"message {offset} {topic} {offset}")
    return found


# drop_oldest


async def test_the_oldest_makes_room_and_a_gap_says_how_many_did() -> None:
    hub = hub_of(a=Overflow.DROP_OLDEST)
    reader = stalled(hub, "a")
    with reader.subscription:
        await publish(hub, "aaaaa")
        assert hub.dropped == 3
        await reader.write_once()
        assert reader.wire == lines("a3-3", "a4", "a5")
        await publish(hub, "aaa")
        await reader.write_once()
        assert reader.wire[3:] == lines("a6-1", "a7", "a8")
        assert reader.closed == []
    assert hub.buffered_bytes == 0


async def test_a_gap_comes_before_all_that_stands_behind_the_first_that_was_dropped() -> None:
    hub = hub_of(a=Overflow.DROP_OLDEST, b=Overflow.DROP_OLDEST)
    reader = stalled(hub, "a", "b", "c")
    with reader.subscription:
        await publish(hub, "abcbabaab")
        await reader.write_once()
    # 1 and 5 of a, 2 and 4 of b are dropped: cut behind the message of c, a client must have heard of 2.
    assert reader.wire == lines("a1-2", "b2-2", "c3", "b6", "a7", "a8", "b9")


async def test_who_comes_back_with_the_id_of_a_gap_gets_all_that_stands_behind_it() -> None:
    hub = hub_of(a=Overflow.DROP_OLDEST, b=Overflow.DROP_OLDEST)
    reader = stalled(hub, "a", "b", "c")
    with reader.subscription:
        await publish(hub, "abcbabaab")
        await reader.write_once()
    again = stalled(hub, "a", "b", "c", start=After(Cursor(hub.head.epoch, 2)))
    with again.subscription:
        await again.write_once()
    assert again.wire == lines("c3", "b4", "a5", "b6", "a7", "a8", "b9")


class Lanes:
    """The model: what waits, a list for each topic, and how many were dropped in front of it."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.dropped = 0
        self.clear()

    def clear(self) -> None:
        self.waiting: dict[str, list[int]] = {topic: [] for topic in "abc"}
        self.missed: dict[str, int] = dict.fromkeys("abc", 0)

    def offer(self, topic: str, offset: int) -> None:
        waiting = self.waiting[topic]
        waiting.append(offset)
        if topic == "c":
            del waiting[:-1]
        elif len(waiting) > self.capacity:
            del waiting[0]
            self.missed[topic] += 1
            self.dropped += 1

    @property
    def size(self) -> int:
        return sum(OVERHEAD + 2 * len(str(each)) for waiting in self.waiting.values() for each in waiting)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([False] * 5 + [True])), max_size=50),
    st.integers(1, 4),
)
def test_what_is_dropped_is_the_oldest_and_is_counted(steps: list[tuple[str, bool]], capacity: int) -> None:
    """Two topics that drop their oldest and one of which the newest waits, read at any moment."""

    async def run() -> None:
        hub = hub_of(capacity, a=Overflow.DROP_OLDEST, b=Overflow.DROP_OLDEST, c=Overflow.LATEST)
        reader, lanes = stalled(hub, "a", "b", "c"), Lanes(capacity)
        with reader.subscription:
            for offset, (topic, read) in enumerate(steps, 1):
                await publish(hub, topic)
                lanes.offer(topic, offset)
                assert (hub.dropped, hub.buffered_bytes) == (lanes.dropped, lanes.size)
                if read:
                    await reader.write_once()
                    assert_told(reader.wire, lanes)
                    # It is held until it has been written, and takes nobody's place meanwhile.
                    assert hub.buffered_bytes == lanes.size
                    await reader.write_what_waits()
                    assert hub.buffered_bytes == 0
                    reader.wire.clear()
                    lanes.clear()
        assert (reader.closed, hub.buffered_bytes) == ([], 0)

    trio.run(run)


def assert_told(wire: list[str], lanes: Lanes) -> None:
    ids = [int(line.split()[1]) for line in wire]
    assert ids == sorted(ids)
    for topic in "abc":
        arrived = [int(line.split()[1]) for line in wire if line.split()[2] == topic]
        assert arrived == lanes.waiting[topic]
        gaps = [line.split()[-1] for line in wire if line.endswith(f"{topic}={lanes.missed[topic]}")]
        assert len(gaps) == bool(lanes.missed[topic])
        if gaps and arrived:
            assert int(wire[[line.split()[-1] for line in wire].index(gaps[0])].split()[1]) < arrived[0]


async def test_a_message_larger_than_the_bytes_allowed_takes_the_place_of_all_that_waits() -> None:
    hub = hub_of(10, capacity_bytes=3000, a=Overflow.DROP_OLDEST)
    reader = stalled(hub, "a")
    with reader.subscription:
        await publish(hub, "aaa")
        await hub.publish([Draft("a", "x" * 5000)])
        assert (hub.dropped, reader.closed) == (3, [])
        await reader.write_once()
        assert reader.wire == [*lines("a3-3"), f"message 4 a {'x' * 5000}"]


async def test_emptying_a_topic_ends_nobody_whose_oldest_may_be_dropped() -> None:
    hub = hub_of(a=Overflow.DROP_OLDEST)
    reader = stalled(hub, "a")
    with reader.subscription:
        await publish(hub, "aa")
        hub.purge("a")
        hub.purge("a")
        assert reader.closed == []
        await publish(hub, "a")
        await reader.write_once()
        assert reader.wire == [*lines("a2-2"), "gap 2 purged a=0", *lines("a3")]
        assert hub.dropped == 2


async def test_where_only_gaps_wait_and_others_leave_no_room_nothing_is_queued() -> None:
    hub = hub_of(5, max_queued=2, a=Overflow.DROP_OLDEST)
    reader = stalled(hub, "a", "b")
    with reader.subscription:
        await publish(hub, "bb")
        hub.admit("a")
        hub.purge("a")
        await reader.write_once()
        assert reader.wire == lines("b1", "b2")


# latest


async def test_of_a_topic_that_is_latest_only_the_newest_waits() -> None:
    hub = hub_of(1, a=Overflow.LATEST)
    reader = stalled(hub, "a", "b")
    with reader.subscription:
        await publish(hub, "aabaa")
        assert hub.buffered_bytes == 2 * (OVERHEAD + 2)
        await reader.write_once()
        assert reader.wire == lines("b3", "a5")
        assert (hub.dropped, reader.closed) == (0, [])


async def test_a_live_start_gets_the_newest_that_is_kept_first() -> None:
    hub = hub_of(a=Overflow.LATEST, c=Overflow.LATEST)
    await publish(hub, "aacab")
    reader = stalled(hub, "a", "b", "c")
    assert reader.subscription.start.offset == 2
    with reader.subscription:
        await reader.write_what_waits()
        await publish(hub, "ba")
        await reader.write_what_waits()
    assert reader.wire == lines("c3", "a4", "b6", "a7")


async def test_who_comes_back_gets_the_newest_unless_it_has_it() -> None:
    hub = hub_of(a=Overflow.LATEST)
    await publish(hub, "aaba")
    for after, wanted in ((0, ["b3", "a4"]), (3, ["a4"]), (4, [])):
        reader = stalled(hub, "a", "b", start=After(Cursor(hub.head.epoch, after)))
        with reader.subscription:
            await reader.write_what_waits()
        assert reader.wire == lines(*wanted)


async def test_a_replay_of_a_topic_that_is_latest_begins_just_before_its_newest() -> None:
    hub = hub_of(a=Overflow.LATEST)
    await publish(hub, "aaaa")
    for start in (Earliest(), Rewind(3)):
        reader = stalled(hub, "a", start=start)
        assert reader.subscription.start.offset == 3
        with reader.subscription:
            await reader.write_what_waits()
        assert reader.wire == lines("a4")


# Many topics of one connection


async def test_topics_count_apart() -> None:
    hub = hub_of(2)
    reader = stalled(hub, "a", "b", "c")
    with reader.subscription:
        await publish(hub, "aabbcc")
        assert reader.closed == []
        await publish(hub, "b")
        assert reader.closed == [CloseReason.SLOW_CONSUMER]


async def test_a_connection_has_a_bound_over_all_its_topics() -> None:
    for hub in (hub_of(max_queued=3), hub_of(max_queued_bytes=3 * (OVERHEAD + 2))):
        reader = stalled(hub, "a", "b", "c", "d")
        with reader.subscription:
            await publish(hub, "abc")
            assert reader.closed == []
            await publish(hub, "d")
            assert reader.closed == [CloseReason.SLOW_CONSUMER]
        assert hub.buffered_bytes == 0


async def test_the_bound_over_all_topics_holds_for_those_that_are_latest() -> None:
    latest = Overflow.LATEST
    size = 2 * (OVERHEAD + 2)
    for hub in (
        hub_of(max_queued=2, a=latest, b=latest, c=latest),
        hub_of(max_queued_bytes=size, a=latest, b=latest, c=latest),
    ):
        reader = stalled(hub, "a", "b", "c")
        with reader.subscription:
            await publish(hub, "abab")
            assert reader.closed == []
            await publish(hub, "c")
            assert reader.closed == [CloseReason.SLOW_CONSUMER]


async def test_where_others_take_all_the_room_what_may_be_dropped_is_dropped() -> None:
    hub = hub_of(5, max_queued=4, a=Overflow.DROP_OLDEST)
    reader = stalled(hub, "a", "b")
    with reader.subscription:
        await publish(hub, "abbbaa")
        assert reader.closed == []
        await reader.write_once()
        assert reader.wire == lines("a1-2", "b2", "b3", "b4", "a6")


async def test_one_topic_alone_is_bound_by_its_own_rules() -> None:
    hub = hub_of(5, max_queued=2)
    reader = stalled(hub, "a")
    with reader.subscription:
        await publish(hub, "aaaaa")
        assert reader.closed == []


async def test_what_waits_of_many_topics_leaves_in_the_order_of_ids() -> None:
    hub = hub_of(100)
    reader = stalled(hub, "*")
    with reader.subscription:
        await publish(hub, "cabbacabc" * 5)
        await reader.write_what_waits()
    assert reader.wire == lines(*(f"{topic}{n}" for n, topic in enumerate("cabbacabc" * 5, 1)))


async def test_a_gap_for_all_stands_behind_the_message_whose_id_it_has() -> None:
    hub = hub_of()
    reader = stalled(hub, "a", "b")
    with reader.subscription:
        await publish(hub, "ab")
        hub.purge("a")
        await reader.write_once()
    # In between, coming back with the gap's id would lose the message.
    assert reader.wire == [*lines("a1", "b2"), "gap 2 purged a=0"]


async def test_a_reader_that_is_not_behind_is_offered_every_topic_at_once() -> None:
    hub = hub_of(a=Overflow.LATEST, b=Overflow.DROP_OLDEST, c=Overflow.BLOCK)
    reader = Subscriber(hub, Sink(form=full_form), "*")
    async with trio.open_nursery() as nursery:
        with reader.subscription:
            nursery.start_soon(reader.run)
            await wait_all_tasks_blocked()
            await publish(hub, "abcdcbaa")
            assert reader.wire == lines("a1", "b2", "c3", "d4", "c5", "b6", "a7", "a8")
            nursery.cancel_scope.cancel()
