"""What a stream held goes with its last reference: none of it waits for the collector of cycles."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from server.lifecycle import garbage, rare_full_collections, run_full_collections
from tests.support.house import hear_until, saying
from tests.support.http_peer import World, open_world
from tests.support.websocket_peer import WebSocketPeer

OURS = ("server", "trio_websocket", "wsproto")


@contextmanager
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def left_in_cycles() -> Counter[str]:
    """Objects of ours that nothing refers to but each other."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
    finally:
        gc.set_debug(0)
    found = Counter(f"{type(each).__module__}.{type(each).__name__}" for each in gc.garbage)
    gc.garbage.clear()
    return Counter({name: count for name, count in found.items() if name.partition(".")[0] in OURS})


async def be_a_member(world: World, *, polite: bool) -> None:
    ours, theirs = memory_stream_pair()
    world.nursery.start_soon(world.serve, theirs)
    peer = await WebSocketPeer.connect(ours, "/rooms/lobby")
    await hear_until(peer, "welcome")
    await peer.send(saying("hello"))
    await hear_until(peer, "message")
    if polite:
        await peer.close(1000)
    await trio.aclose_forcefully(ours)


async def close_politely(world: World) -> None:
    await be_a_member(world, polite=True)


async def be_cut(world: World) -> None:
    await be_a_member(world, polite=False)


async def follow_a_topic(world: World) -> None:
    peer = world.connect()
    events = await peer.open_events("/topics/news/events")
    await events.next()
    await world.publish("news", "hello")
    assert (await events.next_data()).data == '"hello"'
    await peer.aclose()


@pytest.mark.parametrize("visit", [close_politely, be_cut, follow_a_topic])
async def test_a_visit_leaves_no_cycle(
    autojump_clock: MockClock, visit: Callable[[World], Awaitable[None]]
) -> None:
    async with open_world() as world:
        await visit(world)
        await trio.sleep(60)
        with no_collection():
            for _ in range(5):
                await visit(world)
            # A member that was cut has its grace.
            await trio.sleep(60)
            found = left_in_cycles()
        assert found == {}
        await world.wait_no_stream()


async def test_full_collections_come_by_the_clock_alone(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    full: list[float] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and info["generation"] == 2:
            full.append(trio.current_time())

    monkeypatch.setattr(garbage, "SECONDS", 100.0)
    before = gc.get_threshold()
    with rare_full_collections():
        gc.callbacks.append(note)
        try:
            with trio.move_on_after(250):
                async with trio.open_nursery() as nursery:
                    start = trio.current_time()
                    nursery.start_soon(run_full_collections)
                    # Many more objects than would bring one about.
                    kept = [[[number] for number in range(20_000)] for _ in range(20)]
            assert [round(each - start) for each in full] == [100, 200]
            assert len(kept) == 20
        finally:
            gc.callbacks.remove(note)
    assert gc.get_threshold() == before
