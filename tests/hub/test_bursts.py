"""Bursts: what is published at once leaves in one write, and in order whatever the kernel takes of it."""

from __future__ import annotations

import hypothesis.strategies as st
import trio
from hypothesis import given
from trio.testing import MockClock, wait_all_tasks_blocked

from server.hub import Draft, Hub, Message
from server.hub.message import BURST_BYTES, Burst, in_bursts
from server.lifecycle import CloseReason
from server.transport import Sent
from tests.hub.readers import Sink, Subscriber, drafts
from tests.support.hubs import open_hub

MIB = 1024 * 1024
BATCHES = st.lists(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([1, 1, 300, 70_000])), min_size=1, max_size=9),
    max_size=6,
)


@given(BATCHES)
def test_bursts_are_all_messages_in_order_and_bounded(
    batches: list[list[tuple[str, int]]],
) -> None:
    async def run() -> None:
        hub = open_hub()
        for batch in batches:
            published = await hub.publish([Draft(topic, "x" * size) for topic, size in batch])
            found: list[Message] = []
            for burst in in_bursts(published):
                messages = burst.messages if isinstance(burst, Burst) else [burst]
                assert len(messages) == 1 or sum(message.size for message in messages) <= BURST_BYTES
                assert isinstance(burst, Burst) == (len(messages) > 1)
                found += messages
            assert found == published

    trio.run(run)


@given(
    BATCHES,
    st.lists(st.sampled_from([Sent.SENT, Sent.KEPT, Sent.BUSY]), max_size=30),
    st.lists(st.sampled_from([0.0, 0.5, 3.0]), max_size=20),
)
def test_batches_arrive_in_order_whatever_the_kernel_takes(
    batches: list[list[tuple[str, int]]], answers: list[Sent], pauses: list[float]
) -> None:
    async def run() -> None:
        # Room for all of it: 54 messages of 70,000 characters, as they are reckoned.
        hub = open_hub(capacity_bytes=16 * MIB, max_queued_bytes=16 * MIB)
        readers = [Subscriber(hub, Sink(answers), *topics) for topics in ("ab", "a", "*")]
        wanted: dict[str, list[str]] = {"a": [], "ab": []}
        async with trio.open_nursery() as nursery:
            for reader in readers:
                reader.subscription.__enter__()
                nursery.start_soon(reader.run, pauses)
            for number, batch in enumerate(batches):
                texts = [f"{number}.{n}." + "x" * size for n, (_, size) in enumerate(batch)]
                await hub.publish([Draft(topic, text) for (topic, _), text in zip(batch, texts, strict=True)])
                wanted["ab"] += texts
                wanted["a"] += [text for (topic, _), text in zip(batch, texts, strict=True) if topic == "a"]
                await trio.sleep(1)
            await trio.sleep(100)
            nursery.cancel_scope.cancel()
        assert [reader.wire for reader in readers] == [wanted["ab"], wanted["a"], wanted["ab"]]
        for reader in readers:
            reader.subscription.__exit__(None, None, None)
        assert (hub.buffered_bytes, hub.dropped) == (0, 0)
        assert hub.delivered == 2 * len(wanted["ab"]) + len(wanted["a"])

    trio.run(run, clock=MockClock(autojump_threshold=0))


async def with_reader(sink: Sink, hub: Hub, *batches: list[Draft]) -> Subscriber:
    """An idle reader of a and b, and what became of it after `batches`, each published in one step."""
    reader = Subscriber(hub, sink, "a", "b")
    async with trio.open_nursery() as nursery:
        with reader.subscription:
            nursery.start_soon(reader.run)
            await wait_all_tasks_blocked()
            for batch in batches:
                await hub.publish(batch)
            await wait_all_tasks_blocked()
            assert hub.buffered_bytes == 0
            nursery.cancel_scope.cancel()
    return reader


async def test_a_batch_is_one_write_for_who_waits() -> None:
    reader = await with_reader(Sink(), open_hub(), drafts("1", "2", "3", topic="a"))
    assert (reader.wire, reader.sink.offered) == (["1", "2", "3"], 1)


async def test_a_batch_of_topics_by_turns_is_one_write_for_who_follows_them() -> None:
    batch = [Draft(topic, str(n)) for n, topic in enumerate("aabba" * 200)]
    reader = await with_reader(Sink(), open_hub(), batch)
    assert reader.wire == [str(n) for n in range(1000)]
    # Of 64 KiB, as a message is reckoned: 512 bytes and its text twice.
    assert reader.sink.offered == 8


async def test_each_follower_of_a_batch_across_topics_gets_its_own_in_order() -> None:
    hub = open_hub()
    chosen = ["a"], ["b", "a"], ["*"], ["c"], ["c", "a*"], ["d"]
    readers = [Subscriber(hub, None, *topics) for topics in chosen]
    async with trio.open_nursery() as nursery:
        for reader in readers:
            reader.subscription.__enter__()
            nursery.start_soon(reader.run)
        await wait_all_tasks_blocked()
        await hub.publish([Draft(topic, topic + str(n)) for n, topic in enumerate("abcabacc")])
        nursery.cancel_scope.cancel()
    for reader in readers:
        reader.subscription.__exit__(None, None, None)
    assert [" ".join(reader.wire) for reader in readers] == [
        "a0 a3 a5",
        "a0 b1 a3 b4 a5",
        "a0 b1 c2 a3 b4 a5 c6 c7",
        "c2 c6 c7",
        "a0 c2 a3 a5 c6 c7",
        "",
    ]
    assert [reader.sink.offered for reader in readers] == [1, 1, 1, 1, 1, 0]
    assert hub.delivered == 3 + 5 + 8 + 3 + 6


async def test_one_that_ends_in_the_middle_of_a_batch_across_topics_ends_alone() -> None:
    hub = open_hub(capacity=3)
    slow, fast, gone = (Subscriber(hub, Sink(then=sent), "*") for sent in (Sent.BUSY, Sent.SENT, Sent.GONE))
    async with trio.open_nursery() as nursery:
        with slow.subscription, fast.subscription, gone.subscription:
            for reader in (slow, fast, gone):
                nursery.start_soon(reader.run)
            await wait_all_tasks_blocked()
            await hub.publish([Draft(topic, str(n)) for n, topic in enumerate("abaaba")])
            assert slow.closed == [CloseReason.SLOW_CONSUMER]
            assert gone.closed == [CloseReason.CLIENT_DISCONNECTED]
            assert (fast.closed, fast.wire, hub.dropped) == ([], list("012345"), 1)
            nursery.cancel_scope.cancel()
    assert (hub.buffered_bytes, hub.subscriptions) == (0, 0)


async def test_a_batch_over_64_kib_is_more_writes_than_one() -> None:
    batch = drafts(*["x" * 20_000] * 4, topic="a")
    reader = await with_reader(Sink(), open_hub(), batch)
    assert (len(reader.wire), reader.sink.offered) == (4, 4)


async def test_the_rest_of_a_burst_that_was_taken_in_part_comes_before_all_else() -> None:
    for sent in (Sent.KEPT, Sent.BUSY):
        reader = await with_reader(
            Sink([sent]),
            open_hub(),
            drafts("1", "2", topic="a"),
            drafts("3", topic="b"),
            drafts("4", topic="a"),
        )
        assert reader.wire == list("1234")


async def test_a_burst_that_does_not_fit_ends_its_reader_alone() -> None:
    hub = open_hub(capacity=3)
    slow, fast = Subscriber(hub, Sink(then=Sent.BUSY)), Subscriber(hub)
    async with trio.open_nursery() as nursery:
        with slow.subscription, fast.subscription:
            nursery.start_soon(fast.run)
            await wait_all_tasks_blocked()
            await hub.publish(drafts(*"12345"))
            assert slow.closed == [CloseReason.SLOW_CONSUMER]
            assert (fast.wire, hub.dropped) == (list("12345"), 1)
            nursery.cancel_scope.cancel()
    assert hub.buffered_bytes == 0


async def test_a_batch_of_nothing_is_nothing() -> None:
    hub = open_hub()
    assert await hub.publish([]) == []
    assert hub.published == 0
