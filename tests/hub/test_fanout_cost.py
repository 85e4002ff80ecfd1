"""What a delivery to an idle subscriber costs, counted in interpreter steps instead of seconds.

The count is the same on every machine and in every run, so that a call or a loop too many in the fan-out
shows where a stopwatch would see noise.  What C code costs inside a step it does not see; `python -m
benchmarks` does.
"""

from __future__ import annotations

import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

import trio
import trio.testing

from server.hub import Draft, Hub, Live, Selection, Subscription
from server.streams.forms import event_chunk
from server.transport import OrderedStream
from server.transport.sockets import TcpStream
from tests.support.hubs import open_hub

STEPS_A_DELIVERY = 80
"""Bytecode instructions, with room for what other versions of Python make of the source; 3.11 takes 69."""
PYTHON_CALLS_A_DELIVERY = 1
"""The stream's `try_send`."""
C_CALLS_A_DELIVERY = 2
"""The socket's `send`, the length of a frame."""


TraceFunction = Callable[[FrameType, str, object], Any]


def is_scheduler(frame: FrameType) -> bool:
    return "trio._core" in frame.f_globals.get("__name__", "")


@contextmanager
def counted_steps() -> Iterator[Counter[str]]:
    """Count the instructions, calls of Python functions and calls of C functions of the block.

    Trio's scheduler is left out, whose work at a checkpoint is not the same each time.
    """
    counts: Counter[str] = Counter()

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        if is_scheduler(frame):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        counts[event] += 1
        return trace

    def profile(frame: FrameType, event: str, _: object) -> None:
        counts[event] += event == "c_call" and not is_scheduler(frame)

    tracing, profiling = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        yield counts
    finally:
        sys.settrace(tracing)
        sys.setprofile(profiling)


@asynccontextmanager
async def open_idle_subscribers(hub: Hub, number: int) -> AsyncIterator[None]:
    """Subscribers on sockets of their own that have room, and wait."""
    with ExitStack() as stack:
        subscriptions = []
        for _ in range(number):
            near, far = socket.socketpair()
            stack.enter_context(near)
            stack.enter_context(far)
            subscription = hub.subscribe(
                Selection(("t",)),
                Live(),
                form=event_chunk,
                sink=OrderedStream(TcpStream(near, 30.0)),
                close=lambda reason: None,
            )
            subscriptions.append(stack.enter_context(subscription))
        async with trio.open_nursery() as nursery:
            for subscription in subscriptions:
                nursery.start_soon(read, subscription)
            await trio.testing.wait_all_tasks_blocked()
            yield
            nursery.cancel_scope.cancel()


async def read(subscription: Subscription) -> None:
    """Take what is queued; here that is nothing."""
    async for _ in subscription:
        raise AssertionError("a frame was queued in place of leaving at once")


async def cost_of_publishing(subscribers: int) -> Counter[str]:
    """The steps of one publish to so many."""
    hub = open_hub()
    async with open_idle_subscribers(hub, subscribers):
        await hub.publish([Draft("t", "first")])
        before = hub.delivered
        with counted_steps() as counts:
            await hub.publish([Draft("t", "x" * 200)])
        assert hub.delivered - before == subscribers
    return counts


async def cost_of_a_delivery(few: int, many: int) -> Counter[str]:
    """What one of the `many` adds to the steps, rounded."""
    # What the first publish of a process does once is no part of it.
    await cost_of_publishing(1)
    less, more = await cost_of_publishing(few), await cost_of_publishing(many)
    return Counter({event: round((more[event] - less[event]) / (many - few)) for event in more})


async def test_a_delivery_takes_a_bounded_number_of_steps() -> None:
    cost = await cost_of_a_delivery(10, 30)
    # Half the bound at least, so that none of the counts can be of nothing, and a bound that has become too
    # wide is drawn closer.
    assert STEPS_A_DELIVERY / 2 <= cost["opcode"] <= STEPS_A_DELIVERY
    assert PYTHON_CALLS_A_DELIVERY / 2 <= cost["call"] <= PYTHON_CALLS_A_DELIVERY
    assert C_CALLS_A_DELIVERY / 2 <= cost["c_call"] <= C_CALLS_A_DELIVERY


async def test_the_cost_of_a_delivery_does_not_grow_with_the_number_of_subscribers() -> None:
    among_few, among_many = await cost_of_a_delivery(5, 10), await cost_of_a_delivery(40, 80)
    assert among_many["opcode"] <= among_few["opcode"] + 1
