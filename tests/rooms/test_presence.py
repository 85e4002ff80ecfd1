"""Who is here: told at once, to all but the one it is about, however somebody leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from server.lifecycle import CloseReason
from tests.support.house import Guest, House, hear, hear_until, open_house

Leave = Callable[[House, Guest], Awaitable[None]]


async def close(house: House, guest: Guest) -> None:
    await guest.peer.close(1000)


async def go_away(house: House, guest: Guest) -> None:
    await guest.peer.close(1001)


async def close_without_code(house: House, guest: Guest) -> None:
    await guest.peer.close(1005)


async def vanish(house: House, guest: Guest) -> None:
    guest.peer.vanish()


async def send_binary(house: House, guest: Guest) -> None:
    await guest.peer.send(b"binary")


async def be_sent_away(house: House, guest: Guest) -> None:
    streams = [s for s in house.services.registry.streams.values() if s.head is guest.membership.head]
    streams[-1].end(CloseReason.ADMIN)


async def be_cut_off(house: House, guest: Guest) -> None:
    list(house.services.registry.streams.values())[-1].close(CloseReason.ADMIN)


async def test_joined_goes_to_all_but_the_member_itself(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        ann = await house.join("Ann")
        bob = await house.join("Bob")
        assert await ann.hear() == {"type": "joined", "member": bob.id, "name": "Bob", "state": {}}
        await bob.say("hello")
        assert (await bob.hear())["type"] == "message"


async def test_joined_stays_within_the_room(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        ann = await house.join("Ann", room="one")
        await house.join("Bob", room="two")
        await ann.say("hello")
        assert (await ann.hear())["type"] == "message"


@pytest.mark.parametrize(
    ("leave", "reason"),
    [
        (close, CloseReason.CLIENT_DISCONNECTED),
        (go_away, CloseReason.CLIENT_DISCONNECTED),
        (close_without_code, CloseReason.CLIENT_DISCONNECTED),
        (vanish, CloseReason.CLIENT_DISCONNECTED),
        (send_binary, CloseReason.LIMIT),
        (be_sent_away, CloseReason.ADMIN),
        (be_cut_off, CloseReason.ADMIN),
    ],
)
async def test_left_is_told_at_once_on_every_kind_of_end(
    leave: Leave, reason: CloseReason, autojump_clock: MockClock
) -> None:
    async with open_house() as house:
        stays, goes = await house.join_two()
        started = trio.current_time()
        await leave(house, goes)
        assert await stays.hear() == {"type": "left", "member": goes.id}
        assert trio.current_time() == started
        assert house.closed == {reason: 1}
        room = house.services.rooms.room("lobby")
        assert room is not None
        assert list(room.members) == [stays.id]


async def test_a_member_that_leaves_while_nothing_can_be_written_to_it_has_left_a_moment_later(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        stays = await house.join()
        goes = await house.join(buffer=512)
        await stays.hear()
        for number in range(10):
            await stays.say("x" * 500 + str(number))
            await stays.hear()
        started = trio.current_time()
        await goes.peer.close(1000)
        assert await stays.hear() == {"type": "left", "member": goes.id}
        assert trio.current_time() - started <= 5
        await goes.ended.wait()


async def test_members_who_leave_together_are_all_told_of(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        stays = await house.join()
        others = [await house.join() for _ in range(20)]
        for other in others:
            assert (await hear(stays.peer))["member"] == other.id
        for other in others:
            other.peer.vanish()
        left = {(await hear_until(stays.peer, "left"))["member"] for _ in others}
        assert left == {other.id for other in others}
