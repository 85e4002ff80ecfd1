"""One order for everybody: each member gets exactly what is said while it is there, in the room's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from server.hub import Cursor, Draft
from tests.support.frames import Frame, Text
from tests.support.house import Guest, House, Json, hear_until, open_house, saying

SLOTS = 4

Step = tuple[str, int]

steps = st.lists(
    st.tuples(
        st.sampled_from(["join", "leave", "vanish", "say", "say", "say", "post", "stall", "resume", "wait"]),
        st.integers(0, SLOTS - 1),
    ),
    max_size=40,
)


@dataclass
class Listener:
    """A guest with all that it has heard."""

    guest: Guest
    heard: list[Json] = field(default_factory=list)

    async def run(self) -> None:
        """Listen to the end."""
        try:
            while True:
                self.heard.append(await self.guest.hear())
        except (EOFError, AssertionError):
            return

    def of(self, type: str) -> list[Json]:
        return [frame for frame in self.heard if frame["type"] == type]


async def play(script: Sequence[Step]) -> tuple[list[str], list[Listener]]:
    """Everything that was said, as ids in the room's order, and everybody who was there."""
    listeners: list[Listener] = []
    seats: dict[int, Listener] = {}
    async with open_house() as house, trio.open_nursery() as nursery:
        for number, (verb, slot) in enumerate(script):
            listener = seats.get(slot)
            if verb == "join" and listener is None:
                listener = seats[slot] = Listener(house.enter(buffer=200))
                listeners.append(listener)
                nursery.start_soon(listener.run)
            elif verb == "post":
                nursery.start_soon(_post, house, number)
            elif verb == "wait":
                await trio.testing.wait_all_tasks_blocked()
            elif listener is not None:
                await _act(verb, listener.guest, number)
                if verb in ("leave", "vanish"):
                    del seats[slot]
        for listener in seats.values():
            listener.guest.peer.resume()
        await trio.testing.wait_all_tasks_blocked()
        said = house.services.hub.excerpt("rooms/lobby", None, None, 1000).messages
        assert house.failures == []
        nursery.cancel_scope.cancel()
    return [str(message.id) for message in said], listeners


async def _act(verb: str, guest: Guest, number: int) -> None:
    match verb:
        case "leave":
            guest.peer.resume()
            await guest.peer.close()
        case "vanish":
            guest.peer.vanish()
        case "say":
            await guest.say(number, ref=f"{number}")
        case "stall":
            guest.peer.stall()
        case "resume":
            guest.peer.resume()


async def _post(house: House, number: int) -> None:
    await house.services.hub.publish([Draft("rooms/lobby", f"{number}")])


@settings(deadline=None, max_examples=60)
@given(steps)
def test_every_member_hears_a_stretch_of_the_rooms_one_order(script: Sequence[Step]) -> None:
    said, listeners = trio.run(play, script, clock=MockClock(autojump_threshold=0))
    for listener in listeners:
        if not listener.heard:
            continue
        assert listener.heard[0]["type"] == "welcome"
        assert len(listener.of("welcome")) == 1
        heard = [frame["id"] for frame in listener.of("message")]
        start = _offset(listener.heard[0]["cursor"])
        behind = [each for each in said if _offset(each) > start]
        assert heard == behind[: len(heard)]
        if not listener.guest.ended.is_set():
            assert heard == behind


@settings(deadline=None, max_examples=60)
@given(steps)
def test_every_ack_comes_before_its_message_and_names_it(script: Sequence[Step]) -> None:
    _, listeners = trio.run(play, script, clock=MockClock(autojump_threshold=0))
    for listener in listeners:
        if not listener.heard:
            continue
        me = listener.heard[0]["member"]
        acks: dict[str, str] = {}
        for frame in listener.heard[1:]:
            if frame["type"] == "ack":
                acks[frame["ref"]] = frame["id"]
            elif frame["type"] == "message" and frame["from"] == me:
                assert acks[frame["ref"]] == frame["id"]
            elif frame["type"] == "message":
                assert frame.get("ref") not in acks


@settings(deadline=None, max_examples=60)
@given(steps)
def test_whoever_joins_and_leaves_is_told_to_who_stays(script: Sequence[Step]) -> None:
    _, listeners = trio.run(play, script, clock=MockClock(autojump_threshold=0))
    for listener in listeners:
        if not listener.heard:
            continue
        welcome = listener.heard[0]
        here = {member["member"] for member in welcome["members"]}
        assert welcome["member"] in here
        for frame in listener.heard[1:]:
            if frame["type"] == "joined":
                assert frame["member"] not in here
                here.add(frame["member"])
            elif frame["type"] == "left":
                here.remove(frame["member"])
            elif frame["type"] == "message" and frame["from"] is not None:
                assert frame["from"] in here


def _offset(id: str) -> int:
    cursor = Cursor.parse(id)
    assert cursor is not None
    return cursor.offset


async def test_a_thousand_members_hear_the_same_in_the_same_order(autojump_clock: MockClock) -> None:
    count, said = 1000, 20
    heard: list[list[Frame]] = []

    async def listen(guest: Guest) -> None:
        heard.append([await guest.peer.receive() for _ in range(said)])

    async with open_house(capacity=3000) as house, trio.open_nursery() as nursery:
        guests = [house.enter(buffer=1024 * 1024) for _ in range(count)]
        await trio.sleep(1)
        for guest in guests:
            # A thousand welcomes, and who else has come.
            guest.peer.skip()
            nursery.start_soon(listen, guest)
        for number in range(said):
            nursery.start_soon(guests[number * 37 % count].peer.send, saying(number))
    assert len(heard) == count
    assert all(one == heard[0] for one in heard)
    assert len({frame.text for frame in heard[0] if isinstance(frame, Text)}) == said


async def test_a_message_from_the_server_side_takes_its_place_in_the_order(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        first, second = await house.join_two()
        await first.say("one")
        await hear_until(second.peer, "message")
        await _post(house, 2)
        message = await second.hear()
        assert (message["from"], message["data"]) == (None, 2)
        assert [(await first.hear())["data"] for _ in range(2)] == ["one", 2]
