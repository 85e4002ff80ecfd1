"""How the server ends a membership: what the member is told, and with which code."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from server.hub import Draft, MemoryBroker, Message
from server.lifecycle import CloseReason
from tests.support.frames import Close
from tests.support.house import House, hear_to_the_end, hear_until, open_house


def drain(house: House) -> None:
    """What the server does to every stream when it drains."""
    house.services.gate.close()
    for stream in list(house.services.registry.streams.values()):
        stream.end(CloseReason.SERVER_DRAINING)


class FailingBroker(MemoryBroker):
    """A store that fails for one message."""

    async def publish(self, drafts: Sequence[Draft]) -> list[Message]:
        if any(draft.data == '"fail"' for draft in drafts):
            raise OSError("the disk is full")
        return await super().publish(drafts)


async def test_a_drain_says_closing_and_1012(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        guests = await house.join_two()
        drain(house)
        for guest in guests:
            objects, close = await hear_to_the_end(guest.peer)
            closing = objects[-1]
            assert 1000 <= closing.pop("retry_ms") <= 60_000
            assert closing == {"type": "closing", "reason": "server_draining", "reconnect": True}
            assert close == Close(1012, "server_draining")
        for guest in guests:
            await guest.ended.wait()
        assert house.closed == {CloseReason.SERVER_DRAINING: 2}


async def test_a_drain_loses_nothing_that_was_said_before(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        guest = await house.join(buffer=64)
        await house.services.hub.publish([Draft("rooms/lobby", str(number)) for number in range(100)])
        drain(house)
        objects, close = await hear_to_the_end(guest.peer)
        assert [frame["data"] for frame in objects[:-1]] == list(range(100))
        assert objects[-1]["type"] == "closing"
        assert close == Close(1012, "server_draining")


async def test_a_message_that_comes_in_during_a_drain_is_kept_and_reaches_who_is_left(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        stays, goes = await house.join_two()
        await goes.say("last words", ref="a")
        streams = list(house.services.registry.streams.values())
        streams[-1].end(CloseReason.SERVER_DRAINING)
        heard = [await stays.hear()]
        while heard[-1]["type"] != "left":
            heard.append(await stays.hear())
        kept = house.services.hub.topic("rooms/lobby")
        assert kept is not None
        assert [frame["type"] for frame in heard] == ["message"] * kept.buffered + ["left"]
        assert house.closed == {CloseReason.SERVER_DRAINING: 1}


async def test_a_member_that_has_just_come_is_drained_after_its_welcome(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        late = house.enter(buffer=16)
        await trio.testing.wait_all_tasks_blocked()
        drain(house)
        objects, close = await hear_to_the_end(late.peer)
        assert [frame["type"] for frame in objects] == ["welcome", "closing"]
        assert close == Close(1012, "server_draining")


async def test_a_failure_ends_its_member_with_1011_and_nobody_else(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_house(broker=FailingBroker) as house:
        stays, fails = await house.join_two()
        with caplog.at_level(logging.ERROR, "sluiceway"):
            await fails.say("fail")
            objects, close = await hear_to_the_end(fails.peer)
        assert [(frame["type"], frame["reason"], frame["reconnect"]) for frame in objects] == [
            ("closing", "failed", True)
        ]
        assert close == Close(1011, "server_failed")
        assert "disk" not in str(objects)
        assert any(record.exc_info for record in caplog.records)
        assert await stays.hear() == {"type": "left", "member": fails.id}
        await stays.say("still here")
        assert (await stays.hear())["data"] == "still here"
        assert house.closed == {CloseReason.FAILED: 1}


@pytest.mark.parametrize(
    ("reason", "code", "words", "reconnect"),
    [
        (CloseReason.ADMIN, 4403, "admin", False),
        (CloseReason.COMPLETED, 1000, "completed", False),
        (CloseReason.HEARTBEAT_MISSED, 4408, "heartbeat_missed", True),
        (CloseReason.FAILED, 1011, "server_failed", True),
        (CloseReason.EXPIRED, 4401, "expired", True),
    ],
)
async def test_every_end_by_the_server_has_its_code(
    reason: CloseReason, code: int, words: str, reconnect: bool, autojump_clock: MockClock
) -> None:
    async with open_house() as house:
        guest = await house.join()
        list(house.services.registry.streams.values())[-1].end(reason)
        objects, close = await hear_to_the_end(guest.peer)
        assert [(frame["reason"], frame["reconnect"]) for frame in objects] == [(reason.value, reconnect)]
        assert close == Close(code, words)


async def test_a_client_that_does_not_answer_the_goodbye_is_not_waited_for(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        guest = await house.join()
        guest.peer.answers = False
        drain(house)
        await guest.ended.wait()
        assert trio.current_time() <= 6


async def test_a_client_that_takes_nothing_does_not_hold_up_the_goodbye(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        guest = await house.join()
        guest.peer.stall()
        drain(house)
        await guest.ended.wait()
        assert trio.current_time() <= 6
        assert house.closed == {CloseReason.SERVER_DRAINING: 1}


async def test_the_first_reason_is_the_one_that_counts(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        stays, goes = await house.join_two()
        stream = list(house.services.registry.streams.values())[-1]
        stream.end(CloseReason.ADMIN)
        stream.end(CloseReason.SERVER_DRAINING)
        goes.peer.vanish()
        await hear_until(stays.peer, "left")
        assert house.closed == {CloseReason.ADMIN: 1}
