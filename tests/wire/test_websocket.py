"""The frames a server sends, read back by wsproto."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.wire.websocket import (
    MAX_CLOSE_REASON,
    binary_frame,
    close_frame,
    is_close_frame,
    is_key,
    ping_frame,
    text_frame,
)
from tests.support.frames import Binary, Close, Frame, FrameReader, PingFrame, Text

closable = st.one_of(
    st.sampled_from([1000, 1001, 1003, 1007, 1008, 1009, 1011, 1012, 1013]), st.integers(3000, 4999)
)


def read(data: bytes, size: int | None = None) -> list[Frame]:
    """The frames in `data`, fed in pieces of `size` bytes."""
    reader, size = FrameReader(), size or max(len(data), 1)
    frames = []
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
        while (frame := reader.pop()) is not None:
            frames.append(frame)
    return frames


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_the_head_has_as_many_bytes_as_the_length_needs(length: int, head: bytes) -> None:
    frame = text_frame(b"x" * length)
    assert frame == head + b"x" * length
    assert read(frame) == [Text("x" * length)]
    assert binary_frame(b"x" * length) == b"\x82" + frame[1:]


@given(
    st.lists(st.one_of(st.text(), st.binary(), st.binary(max_size=125).map(PingFrame))), st.integers(1, 300)
)
def test_frames_are_read_back_as_they_were(messages: list[str | bytes | PingFrame], size: int) -> None:
    data, expected = b"", list[Frame]()
    for message in messages:
        match message:
            case str():
                data += text_frame(message.encode())
                expected.append(Text(message))
            case bytes():
                data += binary_frame(message)
                expected.append(Binary(message))
            case PingFrame(payload):
                data += ping_frame(payload)
                expected.append(message)
    assert read(data, size) == expected


@given(closable, st.text() | st.text(min_size=MAX_CLOSE_REASON // 2))
def test_a_close_reason_is_cut_between_characters(code: int, reason: str) -> None:
    (close,) = read(close_frame(code, reason))
    assert isinstance(close, Close)
    assert close.code == code
    assert reason.startswith(close.reason)
    if len(reason.encode()) <= MAX_CLOSE_REASON:
        assert close.reason == reason
    else:
        assert MAX_CLOSE_REASON - 3 <= len(close.reason.encode()) <= MAX_CLOSE_REASON


@pytest.mark.parametrize("character", ["x", "ü", "€", "😀"])
@pytest.mark.parametrize("before", range(4))
def test_a_long_close_reason_stays_utf8(character: str, before: int) -> None:
    reason = "." * before + character * MAX_CLOSE_REASON
    (close,) = read(close_frame(1011, reason))
    assert isinstance(close, Close)
    assert reason.startswith(close.reason)


@given(closable, st.text(), st.binary())
def test_close_frames_and_only_they_are_known_as_such(code: int, reason: str, other: bytes) -> None:
    assert is_close_frame(close_frame(code, reason))
    assert not is_close_frame(text_frame(other))
    assert not is_close_frame(ping_frame(other[:125]))
    assert not is_close_frame(b"")


@pytest.mark.parametrize(
    ("key", "valid"),
    [
        ("dGhlIHNhbXBsZSBub25jZQ==", True),
        ("", False),
        ("dGhlIHNhbXBsZSBub25jZQ", False),
        ("dGhlIHNhbXBsZSBub25j", False),
        ("dGhlIHNhbXBsZSBub25jZSE=", False),
        ("dGhlIHNhbXBsZSBub25jZQ==\n", False),
        ("dGhl!HNhbXBsZSBub25jZQ==", False),
        ("üGhlIHNhbXBsZSBub25jZQ==", False),
    ],
)
def test_a_key_is_sixteen_bytes_in_base64(key: str, valid: bool) -> None:
    assert is_key(key) is valid
