"""Members whose network is gone without a word: pinged each 20 s, gone 10 s after a ping with no answer."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from server.hub import Draft
from server.lifecycle import CloseReason
from server.rooms.pings import INTERVAL
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


async def talk(guest: Guest, begin: float, pause: float) -> None:
    """Say something large each `pause` seconds, from `begin` on."""
    await trio.sleep(begin)
    while True:
        await guest.say("x" * 1000)
        await trio.sleep(pause)


@pytest.mark.parametrize("pulled_after", [0, 9, 19, 21], ids=lambda seconds: f"after {seconds} s")
@pytest.mark.parametrize(
    ("buffer", "begin", "pause"),
    [
        (None, 100, 1),
        (None, 0, 1),
        (10_000, 0, 1),
        (20_000, 0, 1),
        (200, 0, 4),
        (2000, 5, 0.5),
        (2000, 10, 0.5),
        (2000, 15, 0.5),
        (2000, 20, 0.5),
        (2000, 22, 0.5),
    ],
    ids=str,
)
async def test_there_is_no_ghost_35_seconds_after_a_cable_is_pulled(
    pulled_after: float, buffer: int | None, begin: float, pause: float, autojump_clock: MockClock
) -> None:
    """What it is sent is swallowed, all of it or as much as buffers hold, and nothing comes back, not even a
    word that the connection is gone.  So it is found missing by its pong, by a write that is stuck, or since
    it is too slow, whichever comes first.
    """
    async with open_house(capacity=15) as house, trio.open_nursery() as nursery:
        stays, goes = await house.join("stays"), await house.join("goes", buffer=buffer or 64 * 1024)
        left = trio.Event()

        async def hear_it_leave() -> None:
            assert (await hear_until(stays.peer, "left"))["member"] == goes.id
            left.set()
            await hear_to_the_end(stays.peer)

        nursery.start_soon(hear_it_leave)
        with trio.move_on_after(pulled_after):
            await hear_to_the_end(goes.peer)
        goes.peer.answers = False
        if buffer is None:
            nursery.start_soon(hear_to_the_end, goes.peer)
        nursery.start_soon(talk, stays, begin, pause)
        with trio.fail_after(35):
            await left.wait()
        assert not stays.ended.is_set()
        nursery.cancel_scope.cancel()


async def test_a_member_that_takes_little_by_little_is_no_ghost(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        guest = await house.join(buffer=100)
        guest.peer.answers = False
        await house.services.hub.publish([Draft("rooms/lobby", f'"{"x" * 2000}"')])
        for _ in range(14):
            await trio.sleep(9)
            assert not guest.ended.is_set()
            guest.peer.take_some()


async def test_a_pong_is_not_missed_while_what_follows_the_ping_is_on_its_way(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        slow = await house.join(buffer=600)
        slow.peer.answers = False
        await trio.sleep(INTERVAL + 2)
        drafts = [Draft("rooms/lobby", f'"{"x" * 400}"')]
        for _ in range(30):
            await house.services.hub.publish(drafts)
        for _ in range(8):
            slow.peer.take_some()
            await trio.sleep(2)
        (stream,) = house.services.registry.streams.values()
        assert stream.reason is None


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


@pytest.mark.parametrize("sign", ["message", None])
async def test_a_member_that_takes_nothing_is_gone_with_the_heartbeat_or_the_write_deadline(
    sign: str | None, autojump_clock: MockClock
) -> None:
    async with open_house(write_deadline=30, leave_grace=0) as house:
        stays, goes = await house.join_two()
        await trio.sleep(5)
        goes.peer.stall()
        await stays.say("one that cannot be written")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear_until, stays.peer, "left")
            await trio.sleep(20)
            if sign is not None:
                await goes.say("I am here, and take nothing")
            await goes.ended.wait()
        if sign is None:
            assert 30 <= trio.current_time() <= 32
            assert house.closed == {CloseReason.HEARTBEAT_MISSED: 1}
        else:
            assert 34 <= trio.current_time() <= 36
            assert house.closed == {CloseReason.SLOW_CONSUMER: 1}
