"""A member that stops reading is closed, and is nobody else's problem."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from server.lifecycle import CloseReason
from server.rooms import LEAVE_GRACE
from tests.support.frames import Close
from tests.support.house import Guest, hear_to_the_end, hear_until, open_house

CAPACITY = 10


async def flood(guest: Guest, count: int) -> None:
    """Say numbers, hearing each back."""
    for number in range(count):
        await guest.say(number)
        assert (await hear_until(guest.peer, "message"))["data"] == number


@pytest.mark.parametrize("slow_first", [True, False])
async def test_a_member_that_stops_reading_delays_nobody_and_costs_nobody_a_message(
    slow_first: bool, autojump_clock: MockClock
) -> None:
    async with open_house(capacity=CAPACITY) as house:
        slow = await house.join() if slow_first else None
        speaker, listener = await house.join(), await house.join()
        slow = slow or await house.join()
        slow.peer.stall()
        started = trio.current_time()
        await flood(speaker, 5 * CAPACITY)
        heard = [(await hear_until(listener.peer, "message"))["data"] for _ in range(5 * CAPACITY)]
        assert heard == list(range(5 * CAPACITY))
        assert trio.current_time() == started
        assert house.services.hub.dropped == 1


async def test_several_members_fall_behind_with_the_same_message(autojump_clock: MockClock) -> None:
    async with open_house(capacity=CAPACITY) as house:
        speaker = await house.join()
        stalled = [await house.join() for _ in range(5)]
        for guest in stalled:
            guest.peer.stall()
        await flood(speaker, 5 * CAPACITY)
        left = {(await hear_until(speaker.peer, "left"))["member"] for _ in stalled}
        assert left == {guest.id for guest in stalled}
        assert house.closed == {CloseReason.SLOW_CONSUMER: 5}
        assert house.services.hub.dropped == 5


async def test_a_member_that_fell_behind_and_reads_again_is_told_why_it_is_closed(
    autojump_clock: MockClock,
) -> None:
    async with open_house(capacity=CAPACITY) as house:
        speaker, slow = await house.join_two()
        slow.peer.stall()
        await flood(speaker, 5 * CAPACITY)
        slow.peer.resume()
        objects, close = await hear_to_the_end(slow.peer)
        assert close == Close(4413, "slow_consumer")
        assert "closing" not in {frame["type"] for frame in objects}
        await slow.ended.wait()
        assert house.closed == {CloseReason.SLOW_CONSUMER: 1}


async def test_what_is_queued_for_a_member_that_fell_behind_is_dropped(autojump_clock: MockClock) -> None:
    async with open_house(capacity=CAPACITY) as house:
        speaker, slow = await house.join_two()
        slow.peer.stall()
        await flood(speaker, CAPACITY)
        assert house.services.hub.buffered_bytes > 0
        await flood(speaker, CAPACITY)
        slow.peer.resume()
        objects, _ = await hear_to_the_end(slow.peer)
        # Only what its writer had in hand already.
        assert [frame["data"] for frame in objects] == [0]
        await slow.ended.wait()
        assert house.services.hub.buffered_bytes == 0


async def test_a_member_that_never_reads_again_is_cut_off(autojump_clock: MockClock) -> None:
    async with open_house(capacity=CAPACITY) as house:
        speaker, slow = await house.join_two()
        slow.peer.stall()
        await flood(speaker, 5 * CAPACITY)
        started = trio.current_time()
        assert await hear_until(speaker.peer, "left") == {"type": "left", "member": slow.id}
        assert trio.current_time() - started <= 5 + LEAVE_GRACE
        await slow.ended.wait()
        assert house.closed == {CloseReason.SLOW_CONSUMER: 1}


async def test_a_member_that_talks_and_does_not_listen_is_closed_for_it(autojump_clock: MockClock) -> None:
    async with open_house(capacity=CAPACITY) as house:
        listener, slow = await house.join_two()
        slow.peer.stall()
        for number in range(5 * CAPACITY):
            await slow.say(number, ref=f"{number}")
            await trio.testing.wait_all_tasks_blocked()
            if slow.ended.is_set() or house.services.hub.dropped:
                break
        while (heard := await listener.hear())["type"] == "message":
            pass
        assert heard == {"type": "left", "member": slow.id}
        assert house.closed == {CloseReason.SLOW_CONSUMER: 1}


async def test_a_frame_that_is_taken_in_part_is_finished_before_the_next(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        speaker = await house.join()
        narrow = await house.join(buffer=100)
        await hear_until(speaker.peer, "joined")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood, speaker, 50)
            heard = [(await hear_until(narrow.peer, "message"))["data"] for _ in range(50)]
        assert heard == list(range(50))
