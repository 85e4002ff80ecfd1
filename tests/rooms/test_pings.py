"""Members whose network is gone without a word: pinged each 20 s, gone 10 s after a ping with no answer."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from server.lifecycle import CloseReason
from tests.support.frames import Close, PingFrame
from tests.support.house import Guest, hear_to_the_end, hear_until, open_house


async def time_of_ping(guest: Guest) -> float:
    """When the next frame, a ping, comes."""
    assert await guest.peer.receive() == PingFrame(b"")
    return trio.current_time()


async def test_a_member_is_pinged_each_twenty_seconds(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        guest = await house.join()
        times = [trio.current_time()] + [await time_of_ping(guest) for _ in range(4)]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert all(20 <= gap < 22 for gap in gaps), gaps


@pytest.mark.time_limit(4000)
async def test_a_member_that_answers_stays_for_an_hour(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        guest = await house.join()
        while trio.current_time() < 3600:
            await time_of_ping(guest)
        assert not guest.ended.is_set()


async def test_a_member_that_misses_a_pong_is_closed_and_the_others_are_told(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        stays, goes = await house.join_two()
        goes.peer.answers = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear_until, stays.peer, "left")
            pinged = await time_of_ping(goes)
            objects, close = await hear_to_the_end(goes.peer)
        assert 10 <= trio.current_time() - pinged < 14
        assert [(frame["type"], frame["reason"], frame["reconnect"]) for frame in objects] == [
            ("closing", "heartbeat_missed", True)
        ]
        assert close == Close(4408, "heartbeat_missed")
        assert house.closed == {CloseReason.HEARTBEAT_MISSED: 1}
        assert not stays.ended.is_set()


async def test_there_is_no_ghost_35_seconds_after_a_cable_is_pulled(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        stays, goes = await house.join_two()
        # What it is sent goes nowhere, and nothing comes back, not even a word that the connection is gone.
        goes.peer.answers = False
        pulled = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear_to_the_end, goes.peer)
            while (heard := await stays.hear())["type"] != "left":
                pass
        assert heard["member"] == goes.id
        assert trio.current_time() - pulled < 35


@pytest.mark.parametrize("sign", ["pong", "message"])
async def test_whatever_comes_from_a_member_is_a_sign_of_life(sign: str, autojump_clock: MockClock) -> None:
    async with open_house() as house:
        guest = await house.join()
        guest.peer.answers = False
        for _ in range(5):
            while not isinstance(await guest.peer.receive(), PingFrame):
                pass
            await trio.sleep(9)
            if sign == "pong":
                guest.peer.say_pong()
            else:
                await guest.say("still here")
        assert not guest.ended.is_set()


async def test_a_sign_of_life_from_before_the_ping_does_not_count(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        guest = await house.join()
        guest.peer.answers = False
        await trio.sleep(19.5)
        guest.peer.say_pong()
        await time_of_ping(guest)
        _, close = await hear_to_the_end(guest.peer)
        assert close == Close(4408, "heartbeat_missed")


async def test_a_member_that_takes_nothing_is_not_pinged_but_meets_the_write_deadline(
    autojump_clock: MockClock,
) -> None:
    async with open_house(write_deadline=30, leave_grace=0) as house:
        stays, goes = await house.join_two()
        goes.peer.stall()
        started = trio.current_time()
        await stays.say("one that cannot be written")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear_until, stays.peer, "left")
            await goes.ended.wait()
        assert 29 <= trio.current_time() - started <= 31
        assert house.closed == {CloseReason.SLOW_CONSUMER: 1}


async def test_a_member_that_is_stalled_when_a_ping_is_due_meets_the_write_deadline(
    autojump_clock: MockClock,
) -> None:
    async with open_house(write_deadline=30, leave_grace=0) as house:
        stays, goes = await house.join_two()
        goes.peer.stall()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear_until, stays.peer, "left")
            await goes.ended.wait()
        assert 49 <= trio.current_time() <= 53
        assert house.closed == {CloseReason.SLOW_CONSUMER: 1}
