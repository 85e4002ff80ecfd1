"""JSON and MessagePack carry the same objects, and refuse the same things."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.wire.room_codecs import CODECS, JSON, MSGPACK, Codec, FrameError
from server.wire.room_frames import ClientMessage, RoomMessage

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def packed(value: object) -> bytes:
    return msgspec.msgpack.encode(value)


def said(raw: bytes, codec: Codec) -> object:
    """What a client reads of a message whose data is the JSON `raw`."""
    encoded = codec.encode(RoomMessage("e:1", "m", msgspec.Raw(raw), "now"))
    frame: dict[str, Any] = json.loads(encoded) if codec.is_text else msgspec.msgpack.decode(encoded)
    assert {**frame, "data": None} == {
        "type": "message",
        "id": "e:1",
        "from": "m",
        "time": "now",
        "data": None,
    }
    return frame["data"]


def fault(codec: Codec, message: str | bytes) -> tuple[str, str, str | None]:
    with pytest.raises(FrameError) as raised:
        codec.decode(message)
    return raised.value.code, str(raised.value), raised.value.ref


@given(values)
def test_both_codecs_write_the_same_object(value: object) -> None:
    raw = json.dumps(value).encode()
    assert said(raw, JSON) == said(raw, MSGPACK) == value


@given(values, st.none() | st.text(min_size=1, max_size=128))
def test_what_came_as_messagepack_goes_on_as_the_same_object(value: object, ref: str | None) -> None:
    frame = MSGPACK.decode(packed({"type": "message", "data": value, "ref": ref}))
    assert isinstance(frame, ClientMessage)
    assert frame.ref == ref
    assert said(bytes(frame.data), JSON) == said(bytes(frame.data), MSGPACK) == value


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (str(2**64 - 1), 2**64 - 1),
        (str(2**64), float(2**64)),
        (str(-(2**63)), -(2**63)),
        (str(-(2**63) - 1), -float(2**63)),
        ("9" * 5000, float("inf")),
        ("-1e400", float("-inf")),
        ("1e-400", 0.0),
        ("12345678901234567890.5", 12345678901234567890.5),
    ],
)
def test_a_number_that_messagepack_has_no_room_for_is_rounded_as_in_a_browser(
    number: str, expected: float
) -> None:
    assert said(f"[{number}]".encode(), MSGPACK) == [expected]


HEAD = packed({"type": "message", "data": None})[:-1]


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (packed(b"bytes"), "JSON has no binary data and no extensions"),
        (b"\xd4\x05\x01", "JSON has no binary data and no extensions"),
        (b"\xd6\xff\x00\x00\x00\x00", "JSON has no binary data and no extensions"),
        (packed({1: 2}), "the key of a map has to be a string"),
        (packed([{"a": {b"k": 1}}]), "the key of a map has to be a string"),
        (packed(float("nan")), "a number has to be finite"),
        (packed([float("-inf")]), "a number has to be finite"),
    ],
)
def test_what_json_cannot_carry_is_invalid(data: bytes, detail: str) -> None:
    assert fault(MSGPACK, HEAD + data) == ("frame_invalid", f"Not a frame: {detail} at /data.", None)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1",
        HEAD,
        HEAD + b"\x01\x01",
        HEAD + b"\xdd\xff\xff\xff\xff",
        HEAD + b"\xdf\xff\xff\xff\xff",
        HEAD + b"\x91" * 60_000 + b"\x01",
        HEAD + b"\x91" * 64 + b"\x01",
        HEAD + b"\x91" * 63 + b"\x90",
        HEAD + b"\xa3\xed\xa0\x80",
        HEAD + b"\xa1\xff",
        b"\xdd\xff\xff\xff\xff",
    ],
)
def test_what_is_no_messagepack_is_malformed_or_no_frame(message: bytes) -> None:
    code, _, ref = fault(MSGPACK, message)
    assert code == ("frame_invalid" if message[:1] == b"\xdd" else "frame_malformed")
    assert ref is None


def test_both_codecs_nest_as_deep_and_no_deeper() -> None:
    for codec, deep, deeper in (
        (JSON, b'{"type":"message","data":' + b"[" * 63 + b"]" * 63 + b"}", b"[" * 64 + b"]" * 64),
        (MSGPACK, HEAD + b"\x91" * 62 + b"\x90", HEAD + b"\x91" * 63 + b"\x90"),
    ):
        assert isinstance(codec.decode(deep), ClientMessage)
        if codec is JSON:
            deeper = b'{"type":"message","data":' + deeper + b"}"
        code, detail, _ = fault(codec, deeper)
        assert (code, "nested more than 64 deep" in detail) == ("frame_malformed", True)


@pytest.mark.parametrize(
    ("frame", "code", "detail"),
    [
        ({"type": "message"}, "frame_invalid", "the field data is missing."),
        ({"type": "message", "data": 1, "to": "x"}, "frame_invalid", "the field to is not known here."),
        ({"type": "message", "data": 1, "ref": 5}, "frame_invalid", "at /ref."),
        ({"type": "message", "data": 1, "ref": ""}, "frame_invalid", "at /ref."),
        ({"type": "message", "data": 1, "ref": "r" * 129}, "frame_invalid", "at /ref."),
        ({"type": "shout", "data": 1}, "frame_invalid", "at /type."),
        ([], "frame_invalid", "has to be of type object, and is of type array."),
    ],
)
@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.subprotocol)
def test_both_codecs_say_which_field_is_wrong(codec: Codec, frame: object, code: str, detail: str) -> None:
    message = json.dumps(frame) if codec.is_text else packed(frame)
    said_code, said_detail, _ = fault(codec, message)
    assert said_code == code
    assert said_detail.endswith(detail)


def test_an_error_names_the_ref_where_it_can_be_read() -> None:
    assert fault(MSGPACK, packed({"type": "shout", "ref": "r1"}))[2] == "r1"
    assert fault(MSGPACK, packed({"type": "message", "ref": "r1", "data": b"x"}))[2] == "r1"
    assert fault(MSGPACK, packed({"type": "message", "ref": 7, "data": 1}))[2] is None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_a_frame_error_fit_to_be_shown(data: bytes) -> None:
    try:
        MSGPACK.decode(data)
    except FrameError as error:
        assert 0 < len(str(error)) < 300
        assert str(error).isprintable()


@given(values, st.data())
def test_a_frame_with_a_byte_changed_is_a_frame_or_a_frame_error(value: object, data: st.DataObject) -> None:
    whole = bytearray(packed({"type": "message", "data": value}))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    try:
        MSGPACK.decode(bytes(whole))
    except FrameError:
        pass
