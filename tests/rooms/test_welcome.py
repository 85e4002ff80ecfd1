"""The first frame, and what a client can rely on when it has it."""

from __future__ import annotations

import gc

import trio
from trio.testing import MockClock

from server.hub import Draft
from server.wire.room_frames import Welcome
from tests.support.house import hear_until, open_house


async def test_the_welcome_comes_first_and_has_this_shape(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        ann = await house.join("Ann")
        session, member = ann.welcome.pop("session"), ann.welcome.pop("member")
        assert ann.welcome == {
            "type": "welcome",
            "room": "lobby",
            "resumed": False,
            "cursor": ann.welcome["cursor"],
            "heartbeat": 20.0,
            "member_count": 1,
            "members": [{"member": member, "name": "Ann", "state": {}}],
        }
        assert len(bytes.fromhex(session)) * 8 == 128
        assert member not in session


async def test_what_is_said_while_the_welcome_is_on_its_way_follows_it(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        late = house.enter("late", buffer=16)
        await trio.testing.wait_all_tasks_blocked()
        await house.services.hub.publish([Draft("rooms/lobby", "1"), Draft("rooms/lobby", "2")])
        assert (await late.hear())["type"] == "welcome"
        assert [(await late.hear())["data"] for _ in range(2)] == [1, 2]


async def test_the_cursor_is_where_this_members_messages_begin(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        first = await house.join()
        await first.say("before")
        before = await first.hear()
        second = await house.join()
        assert second.welcome["cursor"] == before["id"]
        await first.say("after")
        assert (await second.hear())["data"] == "after"


async def test_every_member_has_a_name_of_its_own_and_a_secret_of_its_own(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        guests = [await house.join("same") for _ in range(3)]
        assert len({guest.welcome["member"] for guest in guests}) == 3
        assert len({guest.welcome["session"] for guest in guests}) == 3


async def test_at_most_a_hundred_members_are_listed_and_all_are_counted(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        for _ in range(120):
            await house.join()
        last = await house.join()
        assert last.welcome["member_count"] == 121
        listed = [member["member"] for member in last.welcome["members"]]
        assert len(set(listed)) == 100
        # Whoever has just come finds itself.
        assert listed[-1] == last.id


async def test_nobody_is_told_anothers_secret(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        first, second = await house.join_two()
        assert first.welcome["session"] not in str(second.welcome)
        await second.say("hello")
        assert second.welcome["session"] not in str(await hear_until(first.peer, "message"))


async def test_a_welcome_is_not_kept_as_long_as_its_connection(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        guests = [await house.join() for _ in range(20)]
        gc.collect()
        assert not [each for each in gc.get_objects() if isinstance(each, Welcome)]
        assert len(guests) == 20
