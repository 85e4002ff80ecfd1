"""What is said under a ref is said once, however often it is sent."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from server.hub import Draft, HistoryLimits, MemoryBroker, Message
from server.lifecycle import CloseReason
from server.rooms import MSGPACK_PROTOCOL, SessionLimits
from tests.support.frames import Close
from tests.support.house import Guest, House, Json, hear_to_the_end, hear_until, open_house


async def said_in(house: House) -> list[str]:
    return [message.data for message in house.services.hub.excerpt("rooms/lobby", None, None, 1000).messages]


async def say(guest: Guest, data: object, ref: str) -> Json:
    """Say it, and return what comes of it."""
    await guest.say(data, ref)
    while (heard := await guest.hear())["type"] not in ("ack", "error"):
        pass
    return heard


async def test_the_same_ref_again_is_acknowledged_again_and_not_said_again(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        ann, bob = await house.join_two()
        first = await say(ann, {"a": 1}, "r")
        again = await say(ann, {"a": 1}, "r")
        assert first["duplicate"] is False
        assert again == first | {"duplicate": True}
        await say(ann, "other", "s")
        assert [(await bob.hear())["data"] for _ in range(2)] == [{"a": 1}, "other"]
        assert await said_in(house) == ['{"a":1}', '"other"']


@pytest.mark.time_limit(100_000)
async def test_so_it_is_hours_later_and_on_another_connection(autojump_clock: MockClock) -> None:
    async with open_house(history=HistoryLimits(seconds=60)) as house:
        ann = await house.join()
        first = await say(ann, 1, "r")
        ann.peer.vanish()
        await trio.sleep(12 * 3600)
        again = await house.join(session=ann.session, protocol=MSGPACK_PROTOCOL)
        assert await say(again, 1, "r") == first | {"duplicate": True}
        assert await said_in(house) == []


async def test_other_data_under_the_same_ref_is_a_conflict(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        ann, bob = await house.join_two()
        await say(ann, 1, "r")
        conflict = await say(ann, 2, "r")
        assert (conflict["type"], conflict["code"], conflict["ref"]) == ("error", "ref_conflict", "r")
        for _ in range(20):
            await say(ann, 2, "r")
        # It is no bad frame: nobody is sent away for it.
        await say(ann, 3, "s")
        assert [(await bob.hear())["data"] for _ in range(2)] == [1, 3]


async def test_refs_are_each_sessions_own(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        ann, bob = await house.join_two()
        assert (await say(ann, 1, "r"))["duplicate"] is False
        assert (await say(bob, 2, "r"))["duplicate"] is False


async def test_the_oldest_refs_are_forgotten_first(autojump_clock: MockClock) -> None:
    async with open_house(sessions=SessionLimits(refs=3)) as house:
        ann = await house.join()
        for number in range(5):
            await say(ann, number, str(number))
        again = [(await say(ann, number, str(number)))["duplicate"] for number in (4, 3, 2)]
        assert again == [True, True, True]
        assert (await say(ann, 0, "0"))["duplicate"] is False


async def test_a_message_without_a_ref_is_said_each_time(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        ann = await house.join()
        for _ in range(2):
            await ann.say("hello")
        assert [(await ann.hear())["data"] for _ in range(2)] == ["hello", "hello"]


class SlowBroker(MemoryBroker):
    """A store that takes a second over each message, and then may fail."""

    fails = False

    async def publish(self, drafts: Sequence[Draft]) -> list[Message]:
        await trio.sleep(1)
        if self.fails:
            raise OSError("the disk is full")
        return await super().publish(drafts)


@pytest.mark.parametrize("first_is_cut", [False, True])
async def test_two_connections_that_send_it_at_once_say_it_once(
    first_is_cut: bool, autojump_clock: MockClock
) -> None:
    async with open_house(broker=SlowBroker) as house:
        one = await house.join()
        two = await house.join(session=one.session)
        await one.say("hello", "r")
        await trio.sleep(0.5)
        await two.say("hello", "r")
        await trio.sleep(0.1)
        if first_is_cut:
            # Before it was said: the other one has to.
            next(iter(house.services.registry.streams.values())).close(CloseReason.ADMIN)
        else:
            ack = await hear_until(one.peer, "ack")
            assert ack["duplicate"] is False
        ack = await hear_until(two.peer, "ack")
        assert ack["duplicate"] is not first_is_cut
        assert await said_in(house) == ['"hello"']


async def test_what_could_not_be_kept_is_not_taken_for_said(
    autojump_clock: MockClock,
) -> None:
    brokers: list[SlowBroker] = []

    def open_broker(*args: object) -> SlowBroker:
        brokers.append(SlowBroker(*args))  # type: ignore[arg-type]
        return brokers[0]

    async with open_house(broker=open_broker) as house:
        one = await house.join()
        brokers[0].fails = True
        await one.say("hello", "r")
        _, close = await hear_to_the_end(one.peer)
        assert close == Close(1011, "server_failed")
        brokers[0].fails = False
        again = await house.join(session=one.session)
        assert (await say(again, "hello", "r"))["duplicate"] is False
        assert await said_in(house) == ['"hello"']


async def test_the_ref_comes_back_in_the_message_live_and_replayed(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        ann, bob = await house.join_two()
        await ann.say("hello", "r")
        live = await bob.hear()
        late = await house.join(after=bob.welcome["cursor"])
        assert live["ref"] == "r"
        assert await late.hear() == live
