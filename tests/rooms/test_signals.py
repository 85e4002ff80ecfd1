"""Signals: of the moment, to one or to all, and the first thing that a slow member goes without."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from server.rooms import PROTOCOLS, Protocol
from tests.support.house import Guest, Json, hear_until, open_house

CAPACITY = 10


async def hear_through(guest: Guest, data: object) -> list[Json]:
    """All that `guest` is sent, up to the message with `data`."""
    heard = [await guest.hear()]
    while heard[-1]["type"] != "message" or heard[-1]["data"] != data:
        heard.append(await guest.hear())
    return heard


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
async def test_a_signal_goes_to_everybody_else_and_is_not_kept(
    protocol: Protocol, autojump_clock: MockClock
) -> None:
    async with open_house() as house:
        ann = await house.join("Ann", protocol=protocol)
        tab = await house.join(session=ann.session)
        bob, cid = await house.join("Bob"), await house.join("Cid")
        await ann.signal({"x": 1.5})
        for other in (bob, cid):
            assert await hear_until(other.peer, "signal") == {
                "type": "signal",
                "from": ann.id,
                "data": {"x": 1.5},
            }
        await ann.say("end")
        for own in (ann, tab):
            assert "signal" not in {heard["type"] for heard in await hear_through(own, "end")}
        late = await house.join(after=ann.welcome["cursor"])
        assert [heard["type"] for heard in await hear_through(late, "end")] == ["message"]


async def test_a_signal_to_one_member_goes_to_all_its_connections_and_nobody_else(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        ann, bob, cid = await house.join("Ann"), await house.join("Bob"), await house.join("Cid")
        tab = await house.join(session=bob.session)
        await ann.signal("psst", to=bob.id)
        await ann.signal("nobody", to="nobody")
        await ann.say("end")
        for own in (bob, tab):
            signals = [heard for heard in await hear_through(own, "end") if heard["type"] == "signal"]
            assert signals == [{"type": "signal", "from": ann.id, "data": "psst"}]
        for other in (ann, cid):
            assert "signal" not in {heard["type"] for heard in await hear_through(other, "end")}


@pytest.mark.parametrize("to", ["it", "all"])
async def test_a_member_that_still_catches_up_hears_no_signal(to: str, autojump_clock: MockClock) -> None:
    async with open_house() as house:
        ann, bob = await house.join_two()
        for number in range(100):
            await ann.say("x" * 100 + str(number))
        await ann.say("end")
        await hear_through(ann, "end")
        late = house.enter(session=bob.session, after=ann.welcome["cursor"], buffer=2000)
        late.welcome = await late.hear()
        await trio.testing.wait_all_tasks_blocked()
        await ann.signal("now", to=bob.id if to == "it" else None)
        assert (await hear_until(bob.peer, "signal"))["data"] == "now"
        assert {heard["type"] for heard in await hear_through(late, "end")} == {"message"}
        await ann.signal("later", to=bob.id if to == "it" else None)
        assert (await late.hear())["data"] == "later"


async def test_a_slow_member_goes_without_signals_and_loses_no_message(autojump_clock: MockClock) -> None:
    async with open_house(capacity=CAPACITY) as house:
        ann, slow = await house.join_two()
        slow.peer.stall()
        await ann.say("in the writer's hands")
        for number in range(20):
            await ann.signal(number)
        for number in range(CAPACITY):
            await ann.say(number)
        await trio.testing.wait_all_tasks_blocked()
        assert house.services.hub.dropped == 20
        slow.peer.resume()
        heard = await hear_through(slow, CAPACITY - 1)
        assert [frame["data"] for frame in heard] == ["in the writer's hands", *range(CAPACITY)]
        assert not slow.ended.is_set()
        await ann.signal("again")
        assert (await slow.hear())["data"] == "again"


async def test_signals_wait_in_their_place_where_there_is_room(autojump_clock: MockClock) -> None:
    async with open_house(capacity=CAPACITY) as house:
        ann, slow = await house.join_two()
        slow.peer.stall()
        await ann.say("first")
        await ann.signal(1)
        await ann.say(2)
        await ann.signal(3)
        await ann.say("end")
        await trio.testing.wait_all_tasks_blocked()
        slow.peer.resume()
        assert [heard["data"] for heard in await hear_through(slow, "end")] == ["first", 1, 2, 3, "end"]


async def test_a_member_that_signals_all_the_time_is_heard_at_a_bounded_rate(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        ann, bob = await house.join_two()
        for number in range(200):
            await ann.signal(number)
        await ann.say("end")
        assert [heard["data"] for heard in await hear_through(bob, "end")] == [*range(100), "end"]
        await trio.sleep(1.001)
        for number in range(200):
            await ann.signal(number)
        await ann.say("end")
        assert len(await hear_through(bob, "end")) == 51
