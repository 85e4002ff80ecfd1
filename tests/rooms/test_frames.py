"""What members may send, and what becomes of what they may not."""

from __future__ import annotations

import json

import pytest
from trio.testing import MockClock

from server.lifecycle import CloseReason
from tests.support.frames import Close
from tests.support.house import hear_to_the_end, open_house, saying

BAD_FRAMES = [
    ("no json", "{", "frame_malformed"),
    ("empty", "", "frame_malformed"),
    ("a number that is none", '{"type":"message","data":NaN}', "frame_malformed"),
    ("too deep", '{"type":"message","data":' + "[" * 70 + "]" * 70 + "}", "frame_malformed"),
    ("two objects", '{"type":"ping"}{"type":"ping"}', "frame_malformed"),
    ("no object", "[1]", "frame_invalid"),
    ("no type", '{"data":1}', "frame_invalid"),
    ("an unknown type", '{"type":"shout","data":1}', "frame_invalid"),
    ("no data", '{"type":"message"}', "frame_invalid"),
    ("an unknown field", '{"type":"message","data":1,"to":"x"}', "frame_invalid"),
    ("a ref that is no text", '{"type":"message","data":1,"ref":1}', "frame_invalid"),
    ("an empty ref", '{"type":"message","data":1,"ref":""}', "frame_invalid"),
    ("a long ref", saying(1, "r" * 129), "frame_invalid"),
    ("a ping with data", '{"type":"ping","data":1}', "frame_invalid"),
]


@pytest.mark.parametrize(
    ("text", "code"), [row[1:] for row in BAD_FRAMES], ids=[row[0] for row in BAD_FRAMES]
)
async def test_a_bad_frame_is_an_error_to_its_sender_alone(
    text: str, code: str, autojump_clock: MockClock
) -> None:
    async with open_house() as house:
        first, second = await house.join_two()
        await first.peer.send(text)
        error = await first.hear()
        assert (error["type"], error["code"]) == ("error", code)
        assert error["detail"]
        await first.say("good")
        assert (await first.hear())["data"] == "good"
        assert (await second.hear())["data"] == "good"


async def test_ten_bad_frames_in_a_row_end_the_connection(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        first, second = await house.join_two()
        for _ in range(10):
            await first.peer.send("{")
        objects, close = await hear_to_the_end(first.peer)
        assert [frame["code"] for frame in objects] == ["frame_malformed"] * 10
        assert close == Close(1008, "too_many_errors")
        assert await second.hear() == {"type": "left", "member": first.id}
        assert house.closed == {CloseReason.LIMIT: 1}


async def test_a_good_frame_makes_up_for_bad_ones(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        guest = await house.join()
        for _ in range(3):
            for _ in range(9):
                await guest.peer.send("{")
                assert (await guest.hear())["type"] == "error"
            await guest.peer.send('{"type":"ping"}')
            assert await guest.hear() == {"type": "pong"}
        assert not guest.ended.is_set()


async def test_a_binary_message_ends_the_connection(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        first, second = await house.join_two()
        await first.peer.send(b"{}")
        assert await hear_to_the_end(first.peer) == ([], Close(1003, "binary_unsupported"))
        assert await second.hear() == {"type": "left", "member": first.id}
        assert house.closed == {CloseReason.LIMIT: 1}


async def test_nothing_is_listened_to_behind_a_frame_that_ends_the_connection(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        first, second = await house.join_two()
        await first.peer.send(b"{}")
        await first.say("too late")
        assert await second.hear() == {"type": "left", "member": first.id}
        assert house.services.hub.published == 0


async def test_a_ping_is_answered_with_a_pong_to_its_sender_alone(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        first, second = await house.join_two()
        await first.peer.send('{"type":"ping"}')
        assert await first.hear() == {"type": "pong"}
        await first.say("next")
        assert (await second.hear())["type"] == "message"


@pytest.mark.parametrize("ref", [None, "a", "r" * 128, "ü€"])
async def test_a_message_has_this_shape(ref: str | None, autojump_clock: MockClock) -> None:
    async with open_house() as house:
        first, second = await house.join_two()
        await first.say({"a": [1, 2.50, None, "ü"]}, ref)
        message = await second.hear()
        assert message.pop("time").endswith("Z")
        expected = {
            "type": "message",
            "id": message["id"],
            "from": first.id,
            "data": {"a": [1, 2.5, None, "ü"]},
        }
        assert message == (expected if ref is None else expected | {"ref": ref})


async def test_data_is_passed_on_as_it_came(autojump_clock: MockClock) -> None:
    data = '{"big":123456789012345678901234567890,"exact":1.10,"twice":1,"twice":2,"escaped":"\\u00fc\\n"}'
    async with open_house() as house:
        guest = await house.join()
        await guest.peer.send('{"type":"message","data":' + data + "}")
        while True:
            frame = await guest.peer.receive()
            assert data in getattr(frame, "text", "")
            break


@pytest.mark.parametrize("ref", ["a", "\u2028"])
async def test_the_ack_comes_before_the_senders_own_message(ref: str, autojump_clock: MockClock) -> None:
    async with open_house() as house:
        first, second = await house.join_two()
        await first.say("hello", ref)
        ack, message = await first.hear(), await first.hear()
        assert ack == {"type": "ack", "ref": ref, "id": message["id"], "duplicate": False}
        assert (message["type"], message["ref"]) == ("message", ref)
        assert await second.hear() == message
        await first.say("no ref, no ack")
        assert (await first.hear())["type"] == "message"


def test_the_table_of_bad_frames_is_one() -> None:
    assert len({name for name, _, _ in BAD_FRAMES}) == len(BAD_FRAMES)
    assert json.loads(saying(1, "r")) == {"type": "message", "data": 1, "ref": "r"}
