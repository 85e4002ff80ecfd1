"""A session takes the same member back, and what the room said meanwhile is not lost."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from server.hub import Draft, HistoryLimits
from server.rooms import SessionLimits
from tests.support.house import Guest, House, Json, hear_until, open_house


async def come_back(house: House, guest: Guest, after: str | None = None, name: str = "other") -> Guest:
    """A new connection of the session of `guest`."""
    return await house.join(name, session=guest.session, after=after)


async def hear_messages(guest: Guest, count: int) -> list[object]:
    return [(await hear_until(guest.peer, "message"))["data"] for _ in range(count)]


async def test_who_comes_back_in_time_is_the_same_member_and_nobody_sees_it_was_gone(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        ann, bob = await house.join("Ann"), await house.join("Bob")
        await ann.hear()
        await bob.be({"typing": True})
        await ann.hear()
        bob.peer.vanish()
        await trio.sleep(9)
        await ann.say("while Bob is gone")
        await ann.hear()
        again = await come_back(house, bob, bob.welcome["cursor"])
        assert again.welcome["resumed"] is True
        assert (again.id, again.session) == (bob.id, bob.session)
        assert {"member": bob.id, "name": "Bob", "state": {"typing": True}} in again.welcome["members"]
        assert again.welcome["member_count"] == 2
        assert (await again.hear())["data"] == "while Bob is gone"
        await again.say("I am back")
        heard = await ann.hear()
        assert (heard["from"], heard["data"]) == (bob.id, "I am back")
        await trio.sleep(12)
        await again.say("still here")
        assert (await hear_until(ann.peer, "message"))["data"] == "still here"


async def test_who_comes_back_late_has_left_and_joins_as_the_same_member(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        ann, bob = await house.join_two()
        await bob.be({"a": 1})
        bob.peer.vanish()
        assert await hear_until(ann.peer, "left") == {"type": "left", "member": bob.id}
        again = await come_back(house, bob)
        assert again.welcome["resumed"] is True
        assert await ann.hear() == {"type": "joined", "member": bob.id, "name": "second", "state": {"a": 1}}


async def test_who_left_for_good_may_come_back_as_the_same_member_too(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        bob = await house.join("Bob")
        await bob.peer.close(1000)
        await bob.ended.wait()
        again = await come_back(house, bob)
        assert (again.welcome["resumed"], again.id) == (True, bob.id)


async def test_several_connections_are_one_member(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        ann, bob = await house.join_two()
        tab = await come_back(house, bob)
        assert tab.welcome["member_count"] == 2
        await tab.be({"tab": 2})
        await bob.say("from one")
        assert (await ann.hear())["type"] == "presence"
        # Its own state is no news to a member, in whichever tab.
        for guest in (ann, bob, tab):
            heard = await guest.hear()
            assert (heard["from"], heard["data"]) == (bob.id, "from one")
        await bob.peer.close(1000)
        await bob.ended.wait()
        await trio.sleep(20)
        await tab.say("from the other")
        assert (await ann.hear())["data"] == "from the other"
        await tab.peer.close(1000)
        assert await ann.hear() == {"type": "left", "member": bob.id}


async def test_what_is_replayed_and_what_is_live_is_one_order_without_a_hole(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        speaker, away = await house.join_two()
        away.peer.vanish()
        for number in range(300):
            await speaker.say(number, ref=str(number))
            await hear_until(speaker.peer, "message")
        again = house.enter(session=away.session, after=away.welcome["cursor"], buffer=500)
        again.welcome = await again.hear()
        heard: list[Json] = []

        async def listen() -> None:
            while len(heard) < 400:
                heard.append(await hear_until(again.peer, "message"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            for number in range(300, 400):
                await speaker.say(number, ref=str(number))
                await hear_until(speaker.peer, "message")
        assert [message["data"] for message in heard] == list(range(400))
        assert [message["ref"] for message in heard] == [str(number) for number in range(400)]
        assert {message["from"] for message in heard} == {speaker.id}


async def test_what_cannot_be_replayed_is_a_gap_that_counts(autojump_clock: MockClock) -> None:
    async with open_house(history=HistoryLimits(messages=3)) as house:
        bob = await house.join()
        bob.peer.vanish()
        await house.services.hub.publish([Draft("rooms/lobby", str(number)) for number in range(10)])
        again = await come_back(house, bob, bob.welcome["cursor"])
        gap = await again.hear()
        cursor = gap.pop("cursor")
        assert gap == {"type": "gap", "reason": "evicted", "missed": 7}
        assert await hear_messages(again, 3) == [7, 8, 9]
        late = await house.join(after=cursor)
        assert await hear_messages(late, 3) == [7, 8, 9]


async def test_an_id_of_another_epoch_is_a_gap_and_then_everything_that_is_kept(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        await house.services.hub.publish([Draft("rooms/lobby", "1")])
        guest = await house.join(session="0" * 32, after="elsewhere:7")
        assert guest.welcome["resumed"] is False
        gap = await guest.hear()
        assert (gap["reason"], gap["missed"]) == ("epoch", None)
        assert await hear_messages(guest, 1) == [1]


async def test_without_an_id_it_begins_live(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        bob = await house.join()
        bob.peer.vanish()
        (message,) = await house.services.hub.publish([Draft("rooms/lobby", "1")])
        again = await come_back(house, bob)
        assert again.welcome["cursor"] == str(message.id)
        await house.services.hub.publish([Draft("rooms/lobby", "2")])
        assert await hear_messages(again, 1) == [2]


async def test_who_comes_and_goes_during_a_replay_is_told_of(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.services.hub.publish([Draft("rooms/lobby", str(number)) for number in range(500)])
        late = await house.join(after="elsewhere:1", buffer=300)
        assert late.membership is not None
        ann = await house.join("Ann")
        await ann.be({"a": 1})
        await ann.say("hello")
        await ann.hear()
        await ann.peer.close(1000)
        await trio.sleep(1)
        heard: list[Json] = []
        while not heard or heard[-1].get("data") != "hello":
            heard.append(await late.hear())
        told = [frame for frame in heard if frame["type"] in ("joined", "presence", "left")]
        assert [(frame["type"], frame["member"]) for frame in told] == [
            ("joined", ann.id),
            ("presence", ann.id),
            ("left", ann.id),
        ]
        assert heard.index(told[0]) < len(heard) - 1, "whoever speaks has been introduced"


async def test_an_ack_comes_before_ones_own_message_during_a_replay_too(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.services.hub.publish([Draft("rooms/lobby", str(number)) for number in range(500)])
        late = await house.join(after="elsewhere:1", buffer=300)
        await late.say("mine", ref="r")
        await trio.testing.wait_all_tasks_blocked()
        heard: list[Json] = []
        while not heard or heard[-1].get("data") != "mine":
            heard.append(await late.hear())
        types = [frame["type"] for frame in heard if frame.get("ref") == "r"]
        assert types == ["ack", "message"]
        assert [frame["data"] for frame in heard if frame["type"] == "message"] == [*range(500), "mine"]


async def test_a_session_is_of_one_room(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        one = await house.join(room="one")
        two = await house.join(room="two", session=one.session)
        assert two.welcome["resumed"] is False
        assert two.id != one.id
        assert two.session != one.session


async def test_a_session_is_kept_for_its_time_after_the_last_connection(autojump_clock: MockClock) -> None:
    async with open_house(sessions=SessionLimits(seconds=10)) as house:
        bob = await house.join()
        await trio.sleep(15)
        bob.peer.vanish()
        await trio.sleep(9)
        again = await come_back(house, bob)
        assert again.welcome["resumed"] is True
        again.peer.vanish()
        await trio.sleep(11)
        assert (await come_back(house, bob)).welcome["resumed"] is False


async def test_the_session_that_was_idle_longest_makes_room(autojump_clock: MockClock) -> None:
    async with open_house(sessions=SessionLimits(idle=2)) as house:
        guests = [await house.join() for _ in range(4)]
        for guest in guests[:3]:
            guest.peer.vanish()
            await guest.ended.wait()
        resumed = [(await come_back(house, guest)).welcome["resumed"] for guest in guests]
        assert resumed == [False, True, True, True]


async def test_a_member_that_cannot_come_back_has_no_grace(autojump_clock: MockClock) -> None:
    async with open_house(sessions=SessionLimits(idle=2)) as house:
        stays = await house.join()
        guests = [await house.join(f"{number}") for number in range(4)]
        for guest in guests:
            guest.peer.vanish()
            await guest.ended.wait()
        room = house.services.rooms.room("lobby")
        assert room is not None
        assert list(room.members) == [stays.id, guests[2].id, guests[3].id]
        left = [(await hear_until(stays.peer, "left"))["member"] for _ in range(4)]
        assert left == [guest.id for guest in guests]


async def test_bytes_of_sessions_are_bounded_and_given_back(autojump_clock: MockClock) -> None:
    size = 64 * 1024
    async with open_house(sessions=SessionLimits(size=size, seconds=100)) as house:
        sessions = house.services.rooms.sessions
        for _ in range(20):
            guest = await house.join()
            for number in range(30):
                await guest.say(number, ref=str(number))
                await hear_until(guest.peer, "ack")
                assert sessions.size <= size
            guest.peer.vanish()
            await guest.ended.wait()
            assert sessions.size <= size
        assert 0 < len(sessions) < 20
        await trio.sleep(200)
        last = await house.join()
        assert len(sessions) == 1
        assert sessions.size == 0
        assert last.welcome["resumed"] is False


@pytest.mark.parametrize("grace", [0.0, 10.0])
async def test_a_connection_that_is_still_there_does_not_keep_the_member_from_coming_back(
    grace: float, autojump_clock: MockClock
) -> None:
    async with open_house(leave_grace=grace) as house:
        ann, bob = await house.join_two()
        # Its network is gone, and the server has not noticed yet.
        bob.peer.answers = False
        again = await come_back(house, bob)
        assert (again.id, again.welcome["member_count"]) == (bob.id, 2)

        async def answer() -> None:
            while True:
                await again.hear()

        async def listen() -> None:
            with pytest.raises(EOFError):
                while True:
                    await bob.hear()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            with trio.move_on_after(100):
                while (heard := await ann.hear())["type"] != "left":
                    pass
                raise AssertionError(heard)
            nursery.cancel_scope.cancel()
        bob.peer.vanish()
        await bob.ended.wait()
