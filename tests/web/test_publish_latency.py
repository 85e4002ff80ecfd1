"""What a publish waits for: nothing that grows with the number of subscribers who do not read.

Not time but work is counted, in virtual time: every step of every task of the server, from the request to its
answer.  A subscriber that is stalled has none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio._core import _run as trio_run  # for the scheduler's coin; Trio 0.35 has no public way to it
from trio.testing import MockClock, lockstep_stream_pair, wait_all_tasks_blocked

from server.settings import Settings
from tests.support.http_peer import HttpPeer, World, open_world


class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


@asynccontextmanager
async def open_world_with_stalled(number: int) -> AsyncIterator[World]:
    """A world with `number` subscribers of one topic who have stopped reading, each with messages queued."""
    async with open_world() as world:
        for _ in range(number):
            # What is sent is taken only when it is read: the first message sticks in its `send_all`.
            events = await world.connect(lockstep_stream_pair).open_events("/topics/news/events")
            await events.next()
        await wait_all_tasks_blocked()
        for n in range(3):
            await world.publish("news", n)
        await wait_all_tasks_blocked()
        hub = world.application.events.hub
        assert hub.watchers("news") == number
        assert (hub.buffered_bytes > 0) == (number > 0)
        yield world


async def steps_of_a_publish(world: World, body: bytes, type: str) -> int:
    publisher = world.connect()
    await publisher.request("GET", "/health/live")
    await wait_all_tasks_blocked()
    steps = Steps()
    coin = trio_run._r.getstate()
    # Which of two runnable tasks is first decides about a step more or less: let it fall alike each time.
    trio_run._r.seed(0)
    trio.lowlevel.add_instrument(steps)
    try:
        answer = await publisher.request("POST", "/topics/news", body, content_type=type)
    finally:
        trio.lowlevel.remove_instrument(steps)
        trio_run._r.setstate(coin)
    assert answer.status == 201
    return steps.count


@pytest.mark.parametrize(
    ("body", "type"),
    [(b'{"data":1}', "application/json"), (b'{"data":1}\n' * 500, "application/x-ndjson")],
)
async def test_a_publish_takes_as_many_steps_with_stalled_subscribers_as_with_none(
    autojump_clock: MockClock, body: bytes, type: str
) -> None:
    taken = []
    for number in (0, 1, 100):
        async with open_world_with_stalled(number) as world:
            taken.append(await steps_of_a_publish(world, body, type))
            assert world.application.events.hub.watchers("news") == number
    alone, *beside_stalled = taken
    assert alone > 0
    assert beside_stalled == [alone, alone]


async def test_a_publish_that_ends_stalled_subscribers_does_not_wait_for_their_end(
    autojump_clock: MockClock,
) -> None:
    async with open_world(Settings(capacity=3)) as world:
        publisher, readers = world.connect(), [world.connect(lockstep_stream_pair) for _ in range(20)]
        for reader in readers:
            await (await reader.open_events("/topics/news/events")).next()
        await wait_all_tasks_blocked()
        before = trio.current_time()
        for n in range(10):
            await publish(publisher, n)
        # Nobody read; each was over its capacity, and is gone long before a write deadline.
        assert trio.current_time() == before
        assert world.application.events.hub.watchers("news") == 0


async def publish(publisher: HttpPeer, data: int) -> None:
    assert (await publisher.request("POST", "/topics/news", json_body={"data": data})).status == 201
