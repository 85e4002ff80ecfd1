"""What happens within a moment is told in one write, and still each in its order and once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from server.rooms import JSON_PROTOCOL, MSGPACK_PROTOCOL
from server.rooms.announcements import TOGETHER_SECONDS
from tests.support.frames import Binary, Text
from tests.support.house import Guest, House, Json, object_of, open_house


async def test_where_little_happens_it_is_told_at_once(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        ann, bob = await house.join_two()
        await trio.sleep(1)
        started = trio.current_time()
        await bob.be({"a": 1})
        assert (await ann.hear())["type"] == "presence"
        assert trio.current_time() == started


@pytest.mark.parametrize("protocol", [JSON_PROTOCOL, MSGPACK_PROTOCOL], ids=["json", "msgpack"])
async def test_a_hundred_who_come_at_once_are_a_few_writes_to_each(
    protocol: Any, autojump_clock: MockClock
) -> None:
    async with open_house() as house:
        stays = await house.join(protocol=protocol)
        await trio.sleep(1)
        before = stays.peer.writes
        guests = [house.enter(str(number)) for number in range(80)]
        joined = [(await stays.hear())["name"] for _ in guests]
        assert sorted(joined, key=int) == [str(number) for number in range(80)]
        for guest in guests:
            guest.peer.vanish()
        for _ in guests:
            assert (await stays.hear())["type"] == "left"
        assert stays.peer.writes - before <= 4


async def test_what_waits_is_bounded(autojump_clock: MockClock) -> None:
    async with open_house(capacity=10_000) as house:
        stays = await house.join()
        await trio.sleep(1)
        before = stays.peer.writes
        for number in range(450):
            house.enter(str(number))
        await trio.testing.wait_all_tasks_blocked()
        assert stays.peer.writes - before == 5


async def test_who_speaks_or_signals_has_been_introduced(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        stays = await house.join()
        for does in (Guest.say, Guest.signal):
            guests = [await house.join() for _ in range(5)]
            started = trio.current_time()
            await does(guests[-1], "hello")
            types = [(await stays.hear())["type"] for _ in range(6)]
            assert types == ["joined"] * 5 + [does.__name__.replace("say", "message")]
            assert trio.current_time() == started


async def test_who_comes_when_what_waits_is_due_is_told_nothing_of_it(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.join()
        first, second = await house.join_two()
        await trio.sleep(1)
        for guest, pause in ((first, 0.8), (second, 0.4)):
            await guest.peer.close(1000)
            await guest.ended.wait()
            await trio.sleep(pause * TOGETHER_SECONDS)
        # The second leave waits for its moment to be over; the next to come brings it forward.
        comes = await house.join()
        await comes.say("hello")
        assert (await comes.hear())["type"] == "message"


@dataclass
class Listener:
    """A connection, and what it must make of what it is told."""

    guest: Guest
    replays: bool
    """What is replayed may come from somebody who has left."""
    members: dict[str, object] = field(default_factory=dict)

    async def listen(self) -> None:
        try:
            while True:
                match await self.guest.peer.receive():
                    case Text() | Binary() as frame:
                        self.take(object_of(frame))
                    case _:
                        pass
        except EOFError:
            pass

    def take(self, frame: Json) -> None:
        match frame["type"]:
            case "welcome":
                self.guest.welcome = frame
                self.members = {each["member"]: each["state"] for each in frame["members"]}
            case "joined":
                assert frame["member"] not in self.members
                self.members[frame["member"]] = frame["state"]
            case "left":
                del self.members[frame["member"]]
            case "presence":
                assert frame["member"] != self.guest.id
                assert self.members[frame["member"]] != frame["state"]
                self.members[frame["member"]] = frame["state"]
            case "signal":
                assert frame["from"] in self.members
            case "message" if not self.replays:
                assert frame["from"] in self.members


Step = tuple[str, int, float]
steps = st.lists(
    st.tuples(
        st.sampled_from(["join", "join", "tab", "close", "vanish", "be", "say", "signal"]),
        st.integers(0, 30),
        st.sampled_from([0, 0, 0, 0.01, 0.03, TOGETHER_SECONDS, 1]),
    ),
    max_size=30,
)


@given(script=steps)
@example(script=[("join", 0, pause) for pause in (0, 0.01, 0.03, 0.03, 0.1, 0.03, 0)])
@settings(max_examples=60, deadline=None)
def test_whatever_happens_together_each_knows_who_is_there(script: Sequence[Step]) -> None:
    trio.run(_play, script, clock=MockClock(autojump_threshold=0))


async def _play(script: Sequence[Step]) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        listeners: list[Listener] = []
        for number, step in enumerate([("join", 0, 1), *script]):
            await _do(house, nursery, listeners, number, step)
        await trio.sleep(11)
        room = house.services.rooms.room("lobby")
        here = {
            member: object_of(Text(present.state.decode()))
            for member, present in (room.members if room else {}).items()
        }
        for listener in listeners:
            if not listener.guest.ended.is_set():
                # One's own state is no news.
                listener.members[listener.guest.id] = here[listener.guest.id]
                assert listener.members == here
        nursery.cancel_scope.cancel()


async def _do(
    house: House, nursery: trio.Nursery, listeners: list[Listener], number: int, step: Step
) -> None:
    does, which, pause = step
    standing = [each for each in listeners if not each.guest.ended.is_set() and each.guest.welcome]
    match does:
        case "join" | "tab":
            other = standing[which % len(standing)].guest if does == "tab" and standing else None
            replays = other is not None and which % 2 == 1
            guest = house.enter(
                session=other.session if other else None,
                after=other.welcome["cursor"] if other and replays else None,
            )
            listener = Listener(guest, replays)
            nursery.start_soon(listener.listen)
            listeners.append(listener)
        case _ if standing:
            guest = standing[which % len(standing)].guest
            try:
                match does:
                    case "close":
                        await guest.peer.close(1000)
                    case "vanish":
                        guest.peer.vanish()
                    case "be":
                        await guest.be({"number": number})
                    case "say":
                        await guest.say("live")
                    case "signal":
                        await guest.signal("now")
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
    if pause:
        await trio.sleep(pause)
    else:
        await trio.testing.wait_all_tasks_blocked()
