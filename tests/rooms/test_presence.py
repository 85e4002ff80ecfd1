"""Who is here: told to all but the one it is about, however somebody leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from server.lifecycle import CloseReason
from server.rooms import PROTOCOLS, PresenceMode, Protocol
from server.rooms.announcements import TOGETHER_SECONDS
from server.rooms.room import STATE_SECONDS
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


async def miss_a_heartbeat(house: House, guest: Guest) -> None:
    list(house.services.registry.streams.values())[-1].end(CloseReason.HEARTBEAT_MISSED)


async def be_too_slow(house: House, guest: Guest) -> None:
    list(house.services.registry.streams.values())[-1].end(CloseReason.SLOW_CONSUMER)


async def be_drained(house: House, guest: Guest) -> None:
    list(house.services.registry.streams.values())[-1].end(CloseReason.SERVER_DRAINING)


async def close_for_a_reason_of_its_own(house: House, guest: Guest) -> None:
    await guest.peer.close(4000)


@pytest.mark.parametrize(
    ("leave", "reason", "grace"),
    [
        (close, CloseReason.CLIENT_DISCONNECTED, 0),
        (close_for_a_reason_of_its_own, CloseReason.CLIENT_DISCONNECTED, 0),
        (go_away, CloseReason.CLIENT_DISCONNECTED, 10),
        (close_without_code, CloseReason.CLIENT_DISCONNECTED, 10),
        (vanish, CloseReason.CLIENT_DISCONNECTED, 10),
        (send_binary, CloseReason.LIMIT, 0),
        (be_sent_away, CloseReason.ADMIN, 0),
        (be_cut_off, CloseReason.ADMIN, 0),
        (miss_a_heartbeat, CloseReason.HEARTBEAT_MISSED, 0),
        (be_too_slow, CloseReason.SLOW_CONSUMER, 10),
        (be_drained, CloseReason.SERVER_DRAINING, 10),
    ],
)
async def test_left_is_told_after_the_grace_that_the_close_code_gives(
    leave: Leave, reason: CloseReason, grace: float, autojump_clock: MockClock
) -> None:
    async with open_house() as house:
        stays, goes = await house.join_two()
        started = trio.current_time()
        await leave(house, goes)
        assert await stays.hear() == {"type": "left", "member": goes.id}
        assert trio.current_time() == pytest.approx(started + grace, abs=2 * TOGETHER_SECONDS)
        assert house.closed == {reason: 1}
        room = house.services.rooms.room("lobby")
        assert room is not None
        assert list(room.members) == [stays.id]


async def test_a_member_that_leaves_while_nothing_can_be_written_to_it_has_left_at_once(
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
        assert trio.current_time() - started <= TOGETHER_SECONDS
        assert not goes.ended.is_set()
        back = await house.join(session=goes.session)
        assert back.welcome["resumed"]
        assert (await stays.hear())["type"] == "joined"
        await goes.ended.wait()
        await stays.say("hello")
        assert (await back.hear())["type"] == (await stays.hear())["type"] == "message"


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


async def test_a_state_is_replaced_as_a_whole_and_told_to_the_others(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        ann, bob = await house.join_two()
        await ann.be({"typing": True, "at": 1.50})
        assert await bob.hear() == {
            "type": "presence",
            "member": ann.id,
            "state": {"typing": True, "at": 1.5},
        }
        await ann.be({"away": None})
        assert (await bob.hear())["state"] == {"away": None}
        late = await house.join("late")
        assert {m["name"]: m["state"] for m in late.welcome["members"]} == {
            "first": {"away": None},
            "second": {},
            "late": {},
        }
        assert (await ann.hear())["type"] == "joined"
        await bob.say("hello")
        assert (await ann.hear())["type"] == "message"


async def test_of_states_that_replace_each_other_too_fast_the_newest_is_told(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        ann, bob = await house.join_two()
        started = trio.current_time()
        for number in range(600):
            await ann.be({"at": number})
        await ann.say("none of it was waited for")
        assert (await ann.hear())["type"] == "message"
        assert trio.current_time() == started
        told: list[int] = []
        while not told or told[-1] != 599:
            told.append((await hear_until(bob.peer, "presence"))["state"]["at"])
        assert told == [*range(20), 599]
        assert trio.current_time() - started <= STATE_SECONDS + TOGETHER_SECONDS


async def test_a_state_that_goes_on_changing_is_told_ten_times_a_second(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        ann, bob = await house.join_two()
        for number in range(600):
            await ann.be({"at": number})
            await trio.sleep(1 / 60)
        told = [(await hear_until(bob.peer, "presence"))["state"]["at"]]
        while told[-1] != 599:
            told.append((await hear_until(bob.peer, "presence"))["state"]["at"])
        assert told == sorted(told)
        assert 90 <= len(told) <= 125


async def test_a_state_that_waits_is_not_put_before_a_newer_one_of_another_connection(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        ann, bob = await house.join_two()
        tab = await house.join(session=ann.session)
        for number in range(30):
            await ann.be({"at": number})
        await trio.testing.wait_all_tasks_blocked()
        await tab.be({"at": "the other"})
        await trio.sleep(5)
        ann.peer.vanish()
        await tab.peer.close(1000)
        told: list[object] = []
        while (heard := await bob.hear())["type"] != "left":
            told.append(heard["state"]["at"])
        assert told[-1] == "the other"


async def test_a_state_that_is_the_same_is_no_news(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        ann, bob = await house.join_two()
        for _ in range(3):
            await ann.be({"a": 1})
        await ann.say("hello")
        assert [(await bob.hear())["type"] for _ in range(2)] == ["presence", "message"]


@pytest.mark.parametrize(
    ("state", "detail"),
    [
        ([1], "Not a frame: has to be of type object at /state."),
        (None, "Not a frame: has to be of type object at /state."),
        ({"a": "x" * 1017}, "Not a frame: has to be of at most 1024 bytes as compact JSON at /state."),
    ],
)
@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
async def test_a_state_that_is_none_is_an_error(
    protocol: Protocol, state: object, detail: str, autojump_clock: MockClock
) -> None:
    async with open_house() as house:
        guest = await house.join(protocol=protocol)
        await guest.be(state)
        assert await guest.hear() == {"type": "error", "code": "frame_invalid", "detail": detail}
        await guest.be({"a": "x" * 1016})
        await guest.say("hello")
        assert (await guest.hear())["type"] == "message"


async def test_a_room_that_counts_tells_how_many_there_are_once_a_second_at_most(
    autojump_clock: MockClock,
) -> None:
    async with open_house(presence=PresenceMode.COUNT) as house:
        first = await house.join()
        assert await first.hear() == {"type": "count", "member_count": 1}
        others = [await house.join() for _ in range(50)]
        await others[0].be({"a": 1})
        assert others[-1].welcome["member_count"] == 51
        assert [member["member"] for member in others[-1].welcome["members"]] == [others[-1].id]
        assert await first.hear() == {"type": "count", "member_count": 51}
        for other in others:
            await other.peer.close()
        started = trio.current_time()
        assert await first.hear() == {"type": "count", "member_count": 1}
        assert trio.current_time() - started <= 1
        await first.say("hello")
        assert (await first.hear())["type"] == "message"


async def test_a_room_without_presence_tells_nobody_of_anybody(autojump_clock: MockClock) -> None:
    async with open_house(presence=PresenceMode.OFF) as house:
        first = await house.join()
        other = await house.join()
        assert [member["member"] for member in other.welcome["members"]] == [other.id]
        await other.be({"a": 1})
        await other.peer.close()
        await other.ended.wait()
        await trio.sleep(2)
        await first.say("hello")
        assert (await first.hear())["type"] == "message"


@pytest.mark.parametrize("mode", [PresenceMode.COUNT, PresenceMode.OFF])
async def test_a_room_of_thousands_that_does_not_name_them_sends_each_little(
    mode: PresenceMode, autojump_clock: MockClock
) -> None:
    async with open_house(presence=mode) as house:
        guests = [house.enter(buffer=4096) for _ in range(2000)]
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(2)
        # Each has a welcome, and a count or two.
        assert max(len(guest.peer._link.buffer) for guest in guests) < 600
        assert not house.closed
