"""Cancelled at whatever moment, a subscription leaves nothing, and a publish is whole or has not been."""

from __future__ import annotations

import trio

from server.hub import Draft, Earliest, Hub
from server.transport import Sent
from tests.hub.readers import Sink, Subscriber, drafts
from tests.support.cancel import cancel_at_each_step
from tests.support.hubs import open_hub


async def kept(hub: Hub, topic: str) -> list[str]:
    return [message.data for message in hub.excerpt(topic, None, None, 1000).messages]


async def test_a_cancelled_subscriber_leaves_nothing_in_the_hub() -> None:
    hub = open_hub()

    async def read() -> None:
        with Subscriber(hub, Sink([Sent.SENT, Sent.BUSY, Sent.KEPT] * 3)).subscription as subscription:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(publish_and_end)
                async for _ in subscription:
                    await trio.lowlevel.checkpoint()

    async def publish_and_end() -> None:
        for n in range(6):
            await hub.publish(drafts(str(n)))
        for topic in hub._topics.values():
            for subscription in topic.subscriptions():
                subscription.end()

    def nothing_left(step: int) -> None:
        assert (hub.subscriptions, hub.buffered_bytes, hub.watchers("t")) == (0, 0, 0)

    assert await cancel_at_each_step(read, after=nothing_left) > 10


async def test_a_cancelled_replay_leaves_nothing_and_reads_on_where_it_was() -> None:
    hub = open_hub()
    await hub.publish(drafts(*map(str, range(150))))
    reader = Subscriber(hub)

    async def replay() -> None:
        nonlocal reader
        reader = Subscriber(hub, start=Earliest())
        with reader.subscription:
            while len(reader.wire) < 150:
                await reader.write_once()
                await trio.lowlevel.checkpoint()

    def a_prefix_arrived(step: int) -> None:
        assert reader.wire == [str(n) for n in range(len(reader.wire))]
        assert (hub.subscriptions, hub.buffered_bytes) == (0, 0)

    assert await cancel_at_each_step(replay, after=a_prefix_arrived) > 5


async def test_a_wait_for_a_batch_that_is_cancelled_loses_nothing() -> None:
    hub = open_hub()
    reader = Subscriber(hub, Sink(then=Sent.BUSY))
    with reader.subscription:
        count = 0

        async def publish_and_read() -> None:
            nonlocal count
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hub.publish, drafts(str(count)))
                await reader.write_once()

        async def read_what_is_there(step: int) -> None:
            nonlocal count
            with trio.move_on_after(0):
                await reader.write_once()
            count = hub.published

        await cancel_at_each_step(publish_and_read, after=read_what_is_there)
        assert reader.wire == [str(n) for n in range(count)]
    assert hub.buffered_bytes == 0


async def test_what_publish_returned_was_published_and_what_it_did_not_is_whole_or_absent() -> None:
    hub = open_hub()
    runs = 0
    returned: list[str] = []

    async def publish() -> None:
        nonlocal runs
        runs += 1
        batch = [Draft(topic, f"{runs}") for topic in ("a", "b")]
        returned.extend(message.data for message in await hub.publish(batch))

    async def is_consistent(step: int) -> None:
        a, b = await kept(hub, "a"), await kept(hub, "b")
        assert a == b
        # A cancellation comes before anything was done, or the ids are given back: never between.
        assert returned == [text for text in a for _ in range(2)]

    assert await cancel_at_each_step(publish, after=is_consistent) >= 1
    assert returned


async def test_a_publish_under_a_cancelled_scope_publishes_nothing() -> None:
    hub = open_hub()
    with trio.CancelScope() as scope:
        scope.cancel()
        await hub.publish(drafts("a"))
    assert (hub.published, hub.topic("t")) == (0, None)
