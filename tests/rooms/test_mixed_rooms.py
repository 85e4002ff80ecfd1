"""Members that speak JSON and members that speak MessagePack share a room."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from server.lifecycle import CloseReason
from server.rooms import JSON_PROTOCOL, MSGPACK_PROTOCOL, Protocol
from tests.support.frames import Binary, Close, Text
from tests.support.house import hear_to_the_end, open_house


async def test_both_kinds_hear_the_same_objects_in_the_same_order(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        text = await house.join("text")
        binary = await house.join("binary", protocol=MSGPACK_PROTOCOL)
        joined = {"type": "joined", "member": binary.id, "name": "binary", "state": {}}
        assert await text.hear() == joined
        for data in ({"a": [1, 2.5, None, "ü"]}, "\u2028", 2**63):
            for speaker in (text, binary):
                await speaker.say(data)
                heard = await text.hear()
                assert heard == await binary.hear()
                assert (heard["from"], heard["data"]) == (speaker.id, data)
        await binary.say("acknowledged", ref="r")
        ack = await binary.hear()
        assert ack == {"type": "ack", "ref": "r", "id": (await binary.hear())["id"], "duplicate": False}


async def test_each_frame_is_of_its_members_kind(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        text, binary = await house.join(), await house.join(protocol=MSGPACK_PROTOCOL)
        await text.hear()
        await text.say("hello")
        assert isinstance(await text.peer.receive(), Text)
        assert isinstance(await binary.peer.receive(), Binary)


@pytest.mark.parametrize(
    ("protocol", "wrong", "words"),
    [(JSON_PROTOCOL, b"{}", "binary_unsupported"), (MSGPACK_PROTOCOL, "{}", "text_unsupported")],
)
async def test_a_frame_of_the_other_kind_closes_with_1003(
    protocol: Protocol, wrong: str | bytes, words: str, autojump_clock: MockClock
) -> None:
    async with open_house() as house:
        guest = await house.join(protocol=protocol)
        await guest.peer.send(wrong)
        assert await hear_to_the_end(guest.peer) == ([], Close(1003, words))
        await guest.ended.wait()
        assert house.closed == {CloseReason.LIMIT: 1}


async def test_a_bad_frame_in_messagepack_is_an_error_and_ten_of_them_the_end(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        guest = await house.join(protocol=MSGPACK_PROTOCOL)
        for _ in range(10):
            await guest.peer.send(b"\xc1")
        objects, close = await hear_to_the_end(guest.peer)
        assert [frame["code"] for frame in objects] == ["frame_malformed"] * 10
        assert close == Close(1008, "too_many_errors")


async def test_a_message_is_encoded_once_for_each_kind(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        guests = [await house.join(protocol=protocol) for protocol in (JSON_PROTOCOL, MSGPACK_PROTOCOL) * 10]
        await trio.sleep(1)
        for guest in guests:
            guest.peer.skip()
        await guests[0].say("hello")
        for guest in guests:
            assert (await guest.hear())["data"] == "hello"
        (message,) = house.services.hub.excerpt("rooms/lobby", None, None, 1).messages
        assert set(message._frames) == {JSON_PROTOCOL.form, MSGPACK_PROTOCOL.form}
