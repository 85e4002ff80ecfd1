"""The messages of Yjs editors: round trips, the bytes of y-protocols' own encoder, and nonsense."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.wire.y_protocol import (
    MAX_NUMBER,
    Awareness,
    AwarenessEntry,
    MessageError,
    QueryAwareness,
    SyncStep1,
    SyncStep2,
    Unknown,
    Update,
    decode,
    encode_awareness,
    encode_step_1,
    encode_step_2,
    encode_update,
    number,
    read_number,
)

numbers = st.integers(0, MAX_NUMBER)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
)
entries = st.builds(AwarenessEntry, numbers, numbers, json_values.map(json.dumps))


@given(numbers, st.binary(max_size=3))
def test_a_number_is_read_back_wherever_it_stands(value: int, before: bytes) -> None:
    encoded = number(value)
    assert read_number(before + encoded + b"\x01", len(before)) == (value, len(before) + len(encoded))


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (MAX_NUMBER, "ffffffffffffff0f")],
)
def test_numbers_are_lib0s(value: int, encoded: str) -> None:
    assert number(value).hex() == encoded


@pytest.mark.parametrize("data", ["", "80", "ffffffffffffff1f", "ffffffffffffffff01", "80" * 20 + "00"])
def test_a_number_that_ends_early_or_is_too_large_is_refused(data: str) -> None:
    with pytest.raises(MessageError):
        read_number(bytes.fromhex(data), 0)


@given(st.binary())
def test_sync_messages_are_read_back(payload: bytes) -> None:
    assert decode(encode_step_1(payload)) == SyncStep1(payload)
    assert decode(encode_step_2(payload)) == SyncStep2(payload)
    assert decode(encode_update(payload)) == Update(payload)


@given(st.lists(entries, max_size=5))
def test_awareness_is_read_back(told: list[AwarenessEntry]) -> None:
    assert decode(encode_awareness(told)) == Awareness(tuple(told))


def test_the_bytes_are_those_of_y_protocols() -> None:
    # encodeAwarenessUpdate and writeSyncStep1 of y-protocols 1.0.7, lib0 0.2.
    assert encode_awareness([AwarenessEntry(300, 2, '{"a":1}')]).hex() == "010c01ac0202077b2261223a317d"
    assert encode_step_1(b"\x00").hex() == "00000100"
    assert encode_awareness([]).hex() == "010100"


def test_a_query_and_what_is_not_for_servers_are_told_apart() -> None:
    assert decode(b"\x03") == QueryAwareness()
    assert decode(b"\x02\x00\x01x") == Unknown(2)
    assert decode(b"\x64anything") == Unknown(100)


def test_what_follows_a_message_is_passed_over() -> None:
    assert decode(encode_update(b"abc") + b"more") == Update(b"abc")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x00\x03\x00",
        b"\x00\x02\x05abcd",
        b"\x00\x02\xff\xff\xff\xff\xff\xff\xff\x0f",
        b"\x01",
        b"\x01\x01\x05",
        b"\x01\x08\xff\xff\xff\xff\xff\xff\xff\x0f",
        b"\x01\x05\x01\x07\x01\x01{",
        b"\x01\x07\x01\x07\x01\x03NaN",
        b"\x01\x06\x01\x07\x01\x02\xff\xff",
        b"\x01\x05\x01\x07\x01\x02{}",
    ],
    ids=lambda data: data.hex() or "nothing",
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError) as caught:
        decode(data)
    assert str(caught.value)


def test_a_state_with_half_an_emoji_is_json_as_javascript_writes_it() -> None:
    told = [AwarenessEntry(1, 1, r'{"typed":"\ud83d","and":"\uDE00"}')]
    assert decode(encode_awareness(told)) == Awareness(tuple(told))


def test_a_state_that_is_deep_is_refused_and_ends_nothing() -> None:
    with pytest.raises(MessageError):
        decode(encode_awareness([AwarenessEntry(1, 1, "[" * 100_000 + "]" * 100_000)]))


@given(st.binary(max_size=60))
@example(b"\x01\x03\x01\x00\x00")
def test_nonsense_is_a_message_or_refused(data: bytes) -> None:
    try:
        decode(data)
    except MessageError:
        pass
