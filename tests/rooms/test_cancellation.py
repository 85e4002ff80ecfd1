"""A membership that is cancelled, at whatever step, leaves nothing behind and nobody else disturbed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from server.lifecycle import CloseReason
from server.rooms import Membership
from tests.support.cancel import cancel_at_each_step
from tests.support.frames import Text
from tests.support.house import HEAD, Guest, House, hear_to_the_end, open_house, saying
from tests.support.memory_connection import MemoryConnection, MemoryPeer, memory_connection

Play = Callable[[Guest, MemoryPeer], Awaitable[None]]


async def join(other: Guest, peer: MemoryPeer) -> None:
    assert isinstance(await peer.receive(), Text)


async def send(other: Guest, peer: MemoryPeer) -> None:
    await join(other, peer)
    await peer.send(saying("hello", "a"))
    await peer.receive()
    await peer.receive()


async def hear_a_broadcast(other: Guest, peer: MemoryPeer) -> None:
    await join(other, peer)
    await other.say("x" * 300)
    await peer.receive()


async def send_nonsense(other: Guest, peer: MemoryPeer) -> None:
    await join(other, peer)
    for _ in range(10):
        await peer.send("{")
    await hear_to_the_end(peer)


async def leave(other: Guest, peer: MemoryPeer) -> None:
    await join(other, peer)
    await peer.close()


async def vanish(other: Guest, peer: MemoryPeer) -> None:
    await join(other, peer)
    peer.vanish()


async def fall_behind(other: Guest, peer: MemoryPeer) -> None:
    await join(other, peer)
    peer.stall()
    for _ in range(8):
        await other.say("x" * 300)
        await trio.testing.wait_all_tasks_blocked()
    peer.resume()
    await hear_to_the_end(peer)


async def stay(house: House, connection: MemoryConnection) -> None:
    try:
        await Membership(house.services, HEAD, "lobby", "cancelled").run(connection)
    except* trio.BrokenResourceError:
        pass
    finally:
        connection.cut()


@pytest.mark.parametrize("buffer", [64, 64 * 1024], ids=["narrow", "wide"])
@pytest.mark.parametrize(
    "play",
    [join, send, hear_a_broadcast, send_nonsense, leave, vanish, fall_behind],
    ids=lambda fn: fn.__name__,
)
@pytest.mark.time_limit(100_000)
async def test_a_member_cancelled_at_any_step_has_left_and_nobody_noticed_more(
    play: Play, buffer: int, autojump_clock: MockClock
) -> None:
    async with open_house(capacity=5, leave_grace=0) as house:
        services, other = house.services, await house.join("other")

        async def once() -> None:
            connection, peer = memory_connection(room=buffer)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stay, house, connection)
                    try:
                        await play(other, peer)
                    except (EOFError, trio.BrokenResourceError):
                        pass
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.cancel_scope.cancel()
            finally:
                peer.vanish()
                connection.cut()

        ended = 0

        async def after(step: int) -> None:
            nonlocal ended
            room = services.rooms.room("lobby")
            assert room is not None
            assert list(room.members) == [other.id]
            assert len(services.registry.streams) == 1
            assert services.registry.leaked == 0
            assert services.hub.subscriptions == 1
            counted = sum(house.closed.values())
            assert counted - ended in (0, 1), "one end, one reason"
            ended = counted
            await check_undisturbed(other, step)
            assert services.hub.buffered_bytes == 0

        assert await cancel_at_each_step(once, after=after) > 3
        assert CloseReason.FAILED not in house.closed


async def check_undisturbed(other: Guest, step: int) -> None:
    """The other member hears whole stays of the cancelled one, and then itself."""
    await other.say(f"step {step}")
    here: set[str] = set()
    while True:
        heard = await other.hear()
        if heard["type"] == "joined":
            here.add(heard["member"])
        elif heard["type"] == "left":
            here.remove(heard["member"])
        elif heard["data"] == f"step {step}":
            break
    assert not here, "whoever joined has left"
