"""A room's overflow: what it does to messages, and never to acks or to who is here."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from server.hub import Overflow
from server.lifecycle import CloseReason
from tests.support.frames import Close
from tests.support.house import Guest, House, Json, hear_to_the_end, hear_until, open_house

CAPACITY = 10


async def fall_behind(house: House, count: int) -> tuple[Guest, Guest, Guest]:
    """A speaker, a member that reads all, and a slow one to which `count` messages, an ack and somebody's
    coming are on their way.
    """
    speaker, slow = await house.join_two()
    listener = await house.join("listener")
    slow.peer.stall()
    await slow.say("mine", ref="r")
    for number in range(count):
        await speaker.say(number)
        await hear_until(speaker.peer, "message")
    await house.join("late")
    return speaker, slow, listener


async def hear_all(guest: Guest) -> list[Json]:
    """What waits for `guest`."""
    guest.peer.resume()
    heard: list[Json] = []
    with trio.move_on_after(1):
        while True:
            heard.append(await guest.hear())
    return heard


async def test_drop_oldest_drops_messages_alone_and_says_how_many(autojump_clock: MockClock) -> None:
    async with open_house(capacity=CAPACITY, overflow=Overflow.DROP_OLDEST) as house:
        _, slow, listener = await fall_behind(house, 30)
        assert len(await hear_all(listener)) == 32
        heard = await hear_all(slow)
        types = [frame["type"] for frame in heard]
        (gap,) = [frame for frame in heard if frame["type"] == "gap"]
        numbers = [frame["data"] for frame in heard if frame["type"] == "message"]
        assert types.count("ack") == types.count("joined") - 1 == 1
        assert gap["reason"] == "overflow"
        assert len(numbers) + gap["missed"] == 31
        assert numbers[-1] == 29
        assert not house.closed


async def test_latest_keeps_the_newest_message_and_every_ack(autojump_clock: MockClock) -> None:
    async with open_house(capacity=CAPACITY, overflow=Overflow.LATEST) as house:
        _, slow, _ = await fall_behind(house, 30)
        heard = await hear_all(slow)
        assert "gap" not in {frame["type"] for frame in heard}
        assert [frame["ref"] for frame in heard if frame["type"] == "ack"] == ["r"]
        assert [frame["data"] for frame in heard if frame["type"] == "message"][-1] == 29
        assert "late" in [frame["name"] for frame in heard if frame["type"] == "joined"]
        assert not house.closed


async def test_disconnect_closes_the_slow_member_alone(autojump_clock: MockClock) -> None:
    async with open_house(capacity=CAPACITY) as house:
        _, slow, listener = await fall_behind(house, 30)
        slow.peer.resume()
        _, close = await hear_to_the_end(slow.peer)
        assert close == Close(4413, "slow_consumer")
        again = await house.join(session=slow.session, after=slow.welcome["cursor"])
        assert again.welcome["resumed"] is True
        messages = [frame["data"] for frame in await hear_all(again) if frame["type"] == "message"]
        assert messages == ["mine", *range(30)]
        assert {frame["type"] for frame in await hear_all(listener)} == {"message", "joined"}


async def test_block_lets_the_speaker_wait_and_nobody_lose_anything(autojump_clock: MockClock) -> None:
    async with open_house(capacity=CAPACITY, overflow=Overflow.BLOCK) as house:
        speaker, slow = await house.join_two()
        slow.peer.stall()
        numbers: list[object] = []

        async def speak() -> None:
            for number in range(50):
                await speaker.say(number)

        async def listen() -> None:
            while len(numbers) < 50:
                numbers.append((await hear_until(speaker.peer, "message"))["data"])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(speak)
            nursery.start_soon(listen)
            await trio.sleep(5)
            assert 0 < len(numbers) < 20
            slow.peer.resume()
            heard = [(await hear_until(slow.peer, "message"))["data"] for _ in range(50)]
        assert heard == numbers == list(range(50))


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.LATEST])
async def test_notices_alone_are_bounded_too(overflow: Overflow, autojump_clock: MockClock) -> None:
    async with open_house(capacity=CAPACITY, overflow=overflow) as house:
        slow = await house.join()
        slow.peer.stall()
        for _ in range(2 * CAPACITY):
            await house.join()
            # Longer than what happens is told together.
            await trio.sleep(0.1)
        slow.peer.resume()
        _, close = await hear_to_the_end(slow.peer)
        assert close == Close(4413, "slow_consumer")
        assert house.closed == {CloseReason.SLOW_CONSUMER: 1}
