"""A room is there while somebody is in it; what was said in it stays."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.hub import Draft, Origin
from server.lifecycle import CloseReason
from server.rooms import PresenceMode
from tests.support.frames import Close
from tests.support.house import hear_to_the_end, hear_until, open_house


async def test_a_room_ends_with_its_last_member_and_keeps_what_was_said(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        rooms = house.services.rooms
        first, second = await house.join_two()
        await first.say("hello")
        message = await hear_until(second.peer, "message")
        await first.peer.close()
        await hear_until(second.peer, "left")
        assert rooms.room("lobby") is not None
        await second.peer.close()
        await second.ended.wait()
        assert rooms.room("lobby") is None
        info = rooms.info("lobby")
        assert info is not None
        assert (info.member_count, str(info.last)) == (0, message["id"])


async def test_a_room_that_was_left_can_be_entered_again(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        for _ in range(3):
            guest = await house.join()
            assert guest.welcome["member_count"] == 1
            await guest.say("hello", ref="a")
            assert (await guest.hear())["type"] == "ack"
            assert (await guest.hear())["type"] == "message"
            await guest.peer.close()
            await guest.ended.wait()


async def test_nobody_is_acknowledged_for_a_room_that_has_ended(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        guest = await house.join()
        await guest.peer.close()
        await guest.ended.wait()
        origin = Origin(sender=guest.id, ref="a")
        (message,) = await house.services.hub.publish([Draft("rooms/lobby", "1", origin=origin)])
        assert house.services.rooms.info("lobby") is not None
        assert message.seq == 1


async def test_a_room_that_nobody_uses_and_where_nothing_was_said_makes_room_for_another(
    autojump_clock: MockClock,
) -> None:
    async with open_house(max_topics=1) as house:
        guest = await house.join(room="one")
        await guest.peer.close()
        await guest.ended.wait()
        other = await house.join(room="two")
        assert other.welcome["room"] == "two"
        assert house.services.rooms.info("one") is None


@pytest.mark.parametrize("presence", [PresenceMode.COUNT, PresenceMode.FULL])
async def test_what_was_to_be_told_in_a_room_goes_with_it(
    presence: PresenceMode, autojump_clock: MockClock
) -> None:
    async with open_house(max_topics=1, presence=presence) as house:
        guest = await house.join(room="one")
        for number in range(30):
            await guest.be({"n": number})
        await guest.peer.close()
        await guest.ended.wait()
        await house.join(room="two")
        await trio.sleep(5)
        assert house.services.rooms.info("one") is None


async def test_who_closes_is_told_nothing_more_of_who_came(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        guests = [house.enter(str(number)) for number in range(20)]
        await wait_all_tasks_blocked()
        for guest in guests:
            await guest.peer.close()
        heard = [await hear_to_the_end(guest.peer) for guest in guests]
        assert sum(len(objects) for objects, _ in heard) <= 2 * len(guests)


async def test_a_member_whose_place_went_to_another_room_is_told_to_come_later(
    autojump_clock: MockClock,
) -> None:
    async with open_house(max_topics=1) as house:
        await house.join(room="one")
        late = house.enter(room="two")
        assert await hear_to_the_end(late.peer) == ([], Close(1013, "topics_full"))
        assert house.closed == {CloseReason.LIMIT: 1}


async def test_rooms_are_apart(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        one, two = await house.join(room="one"), await house.join(room="two")
        await one.say("in one")
        await two.say("in two")
        assert (await one.hear())["data"] == "in one"
        assert (await two.hear())["data"] == "in two"
        await wait_all_tasks_blocked()
        assert house.services.rooms.names() == ["one", "two"]
