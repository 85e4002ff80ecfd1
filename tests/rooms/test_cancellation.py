"""A membership that is cancelled, at whatever step, leaves nothing behind and nobody else disturbed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from server.hub import After, Cursor, Draft, HistoryLimits, Live, Start
from server.lifecycle import CloseReason
from server.rooms import Membership
from tests.support.cancel import cancel_at_each_step
from tests.support.frames import Text
from tests.support.house import HEAD, Guest, House, hear_to_the_end, hear_until, object_of, open_house, saying
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


async def stay(
    house: House, connection: MemoryConnection, secret: str | None = None, start: Start | None = None
) -> None:
    membership = Membership(house.services, HEAD, "lobby", "cancelled", secret=secret, start=start or Live())
    try:
        await membership.run(connection)
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
    # All that is told of presence is told by then.
    await trio.sleep(1)
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


SAID = 150


async def come_back(other: Guest, peer: MemoryPeer) -> None:
    """Have all replayed, say again what was said before, something new, and be something new."""
    welcome = object_of(await peer.receive())
    assert welcome["resumed"]
    await peer.send(saying("old", "old"))
    await peer.send(saying("new", f"new {trio.current_time()}"))
    await peer.send('{"type":"presence","state":{"a":1}}')
    await hear_until(peer, "ack")
    while (await hear_until(peer, "message"))["data"] != "new":
        pass


@pytest.mark.parametrize("buffer", [500, 64 * 1024], ids=["narrow", "wide"])
@pytest.mark.parametrize("leave_grace", [0.0, 10.0])
@pytest.mark.time_limit(100_000)
async def test_coming_back_cancelled_at_any_step_can_be_done_again(
    buffer: int, leave_grace: float, autojump_clock: MockClock
) -> None:
    history = HistoryLimits(messages=10_000, seconds=100_000)
    async with open_house(leave_grace=leave_grace, history=history) as house:
        rooms, hub = house.services.rooms, house.services.hub
        first = await house.join()
        await first.say("old", "old")
        await hear_until(first.peer, "message")
        for number in range(SAID):
            await hub.publish([Draft("rooms/lobby", str(number))])
        first.peer.vanish()
        await first.ended.wait()
        start = After(Cursor.parse(first.welcome["cursor"]) or Cursor("", 0))
        steps = 0

        async def once() -> None:
            connection, peer = memory_connection(room=buffer)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stay, house, connection, first.session, start)
                    await come_back(first, peer)
                    await peer.close()
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.cancel_scope.cancel()
            finally:
                peer.vanish()
                connection.cut()

        async def after(step: int) -> None:
            nonlocal steps
            steps = step
            assert not house.services.registry.streams
            assert (hub.subscriptions, hub.buffered_bytes) == (0, 0)
            assert len(rooms.sessions) == 1
            (session,) = rooms.sessions._idle.values()
            assert (session.connections, session.saying) == (0, {})
            assert set(session.said) >= {"old"}
            # Leaving is a matter of time, and never of who is cancelled.
            await trio.sleep(leave_grace)
            await trio.testing.wait_all_tasks_blocked()
            assert rooms.room("lobby") is None

        assert await cancel_at_each_step(once, after=after) > 10
        said = [message.data for message in hub.excerpt("rooms/lobby", None, None, 1000).messages]
        assert said[: SAID + 1] == ['"old"', *map(str, range(SAID))]
        assert said[SAID + 1 :] == ['"new"'] * (len(said) - SAID - 1)
        assert 1 <= len(said) - SAID - 1 <= steps + 1, "each attempt says at most one thing, and none again"
