"""The frames of rooms: what is understood, what is refused, and what is written."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.wire.room_codecs import FrameError
from server.wire.room_codecs import decode_json as decode
from server.wire.room_codecs import encode_json as encode
from server.wire.room_frames import (
    Ack,
    ClientMessage,
    ClientPing,
    Closing,
    Error,
    Joined,
    Left,
    MemberInfo,
    Pong,
    RoomGap,
    RoomMessage,
    ServerFrame,
    Welcome,
)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
refs = st.none() | st.text(min_size=1, max_size=128)


@given(values, refs)
def test_a_message_is_decoded_with_its_data_as_it_came(data: object, ref: str | None) -> None:
    text = json.dumps({"type": "message", "data": data, "ref": ref}, ensure_ascii=False)
    frame = decode(text)
    assert isinstance(frame, ClientMessage)
    assert bytes(frame.data).decode() == json.dumps(data, ensure_ascii=False)
    assert frame.ref == ref


@pytest.mark.parametrize("text", ['{"type":"ping"}', ' {\n"type" : "ping"\t}\r\n'])
def test_a_ping_is_decoded(text: str) -> None:
    assert decode(text) == ClientPing()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nonsense",
        '{"type":"message","data":[1,]}',
        '{"type":"ping"} {}',
        "{'type':'ping'}",
        '{"type":"message","data":NaN}',
        '{"type":"message","data":-Infinity}',
        '{"type":"message","data":01}',
        '{"type":"message","data":"\\ud800"}',
        '{"type":"message","data":{"\\udfff":1}}',
        '{"type":"message","data":"\t"}',
        '{"type":"message","data":' + "[" * 64 + "]" * 64 + "}",
        "[" * 100_000,
    ],
)
def test_what_is_no_json_is_malformed(text: str) -> None:
    with pytest.raises(FrameError) as error:
        decode(text)
    assert error.value.code == "frame_malformed"


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "1",
        '"ping"',
        "[]",
        "{}",
        '{"type":null}',
        '{"type":1}',
        '{"type":"pong"}',
        '{"type":"welcome"}',
        '{"type":"message"}',
        '{"type":"message","data":1,"ref":""}',
        '{"type":"message","data":1,"ref":5}',
        '{"type":"message","data":1,"ref":"' + "x" * 129 + '"}',
        '{"type":"message","data":1,"from":"me"}',
        '{"type":"ping","ref":"a"}',
    ],
)
def test_what_is_json_and_no_frame_is_invalid(text: str) -> None:
    with pytest.raises(FrameError) as error:
        decode(text)
    assert error.value.code == "frame_invalid"


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "The text is not JSON."),
        ("[" * 65 + "]" * 65, "Arrays and objects are nested more than 64 deep."),
        ("[]", "Not a frame: has to be of type object, and is of type array."),
        ('{"type":"message"}', "Not a frame: the field data is missing."),
        ('{"type":"x"}', "Not a frame: the value is not one of those known here at /type."),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(text: str, detail: str) -> None:
    with pytest.raises(FrameError) as error:
        decode(text)
    assert str(error.value) == detail


@given(st.text())
def test_any_text_is_a_frame_or_a_frame_error_fit_to_be_shown(text: str) -> None:
    try:
        frame = decode(text)
    except FrameError as error:
        assert 0 < len(str(error)) < 300
        assert str(error).isprintable()
    else:
        assert isinstance(frame, ClientMessage | ClientPing)


RAW = msgspec.Raw(b'{"a": 1}')


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (
            Welcome("lobby", "m", "s", False, "e:1", 20.0, 1, [MemberInfo("m", "Ann", RAW)]),
            {
                "type": "welcome",
                "room": "lobby",
                "member": "m",
                "session": "s",
                "resumed": False,
                "cursor": "e:1",
                "heartbeat": 20.0,
                "member_count": 1,
                "members": [{"member": "m", "name": "Ann", "state": {"a": 1}}],
            },
        ),
        (
            RoomMessage("e:1", "m", RAW, "now", "r"),
            {"type": "message", "id": "e:1", "from": "m", "data": {"a": 1}, "time": "now", "ref": "r"},
        ),
        (
            RoomMessage("e:1", None, RAW, "now", label="build"),
            {"type": "message", "id": "e:1", "from": None, "data": {"a": 1}, "time": "now", "label": "build"},
        ),
        (Ack("r", "e:1", False), {"type": "ack", "ref": "r", "id": "e:1", "duplicate": False}),
        (Joined("m", "Ann", RAW), {"type": "joined", "member": "m", "name": "Ann", "state": {"a": 1}}),
        (Left("m"), {"type": "left", "member": "m"}),
        (Pong(), {"type": "pong"}),
        (
            RoomGap("evicted", None, "e:1"),
            {"type": "gap", "reason": "evicted", "missed": None, "cursor": "e:1"},
        ),
        (Error("frame_invalid", "No."), {"type": "error", "code": "frame_invalid", "detail": "No."}),
        (
            Closing("server_draining", True, 3000),
            {"type": "closing", "reason": "server_draining", "reconnect": True, "retry_ms": 3000},
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, msgspec.Struct) else "",
)
def test_a_frame_is_written_in_this_shape(frame: ServerFrame, expected: dict[str, Any]) -> None:
    assert json.loads(encode(frame)) == expected


@given(st.text())
def test_whatever_a_member_is_called_a_frame_is_one_line_of_utf8(name: str) -> None:
    text = encode(Joined("m", name, RAW)).decode()
    assert len(text.splitlines()) == 1
    assert json.loads(text)["name"] == name
