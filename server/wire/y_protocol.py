"""The messages of Yjs editors: what y-websocket's provider and y-protocols speak, in binary frames.

A message is a type and what follows it, in lib0's encoding: whole numbers in groups of seven bits, lowest
first (`varuint`), byte strings and UTF-8 texts behind their length.  One frame is one message, as the
provider reads it; what follows in the frame is passed over.  Updates and state vectors are Yjs's own, and
opaque here.

    0 0 state      sync step 1: this is what I have
    0 1 update     sync step 2: this is what you miss
    0 2 update     an update: this has just been edited
    1 entries      awareness: who is there, and where they point
    3              query awareness: tell me who is there
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

MAX_NUMBER = (1 << 53) - 1
"""The largest whole number that JavaScript, and so lib0, tells from the next one."""
MAX_ENTRIES = 10_000
"""Clients of which one awareness message can tell."""
NOTHING = "null"
"""The state of a client that is gone."""
_NUMBER_BYTES = 8
_SYNC, _AWARENESS, _AUTH, _QUERY_AWARENESS = 0, 1, 2, 3
_STEP_1, _STEP_2, _UPDATE = 0, 1, 2
# What Python's decoder of UTF-8 refuses beside it, msgspec takes: JSON.stringify escapes lone surrogates,
# which msgspec refuses, and every browser reads.
_LONE_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class MessageError(ValueError):
    """The bytes are no message of the protocol.  The text is a sentence without its full stop."""


class TooManyEntriesError(MessageError):
    """An awareness message tells of more clients than it may."""


@dataclass(frozen=True, slots=True)
class SyncStep1:
    """What the sender has, as a state vector: it is to be answered with what it misses."""

    state: bytes


@dataclass(frozen=True, slots=True)
class SyncStep2:
    """What the receiver was missing."""

    update: bytes


@dataclass(frozen=True, slots=True)
class Update:
    """What has just been edited."""

    update: bytes


class AwarenessEntry(NamedTuple):
    """What one client shows of itself: JSON, `null` where it is gone.  The higher `clock` is the newer."""

    client: int
    clock: int
    state: str


@dataclass(frozen=True, slots=True)
class Awareness:
    """What has changed of who is there."""

    entries: tuple[AwarenessEntry, ...]


@dataclass(frozen=True, slots=True)
class QueryAwareness:
    """The sender wants to know who is there."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message of a type that is not for servers, or of an extension: passed over, as Yjs's own server
    does.
    """

    type: int


ClientMessage = SyncStep1 | SyncStep2 | Update | Awareness | QueryAwareness | Unknown


def decode(data: bytes) -> ClientMessage:
    """The message in a frame.

    Raises:
        MessageError: there is none.
        TooManyEntriesError: it tells of more than `MAX_ENTRIES` clients.
    """
    reader = _Reader(data)
    kind = reader.number()
    match kind:
        case _ if kind == _SYNC:
            return _decode_sync(reader)
        case _ if kind == _AWARENESS:
            return Awareness(_decode_entries(reader.bytes()))
        case _ if kind == _QUERY_AWARENESS:
            return QueryAwareness()
    return Unknown(kind)


def _decode_sync(reader: _Reader) -> SyncStep1 | SyncStep2 | Update:
    step = reader.number()
    if step == _STEP_1:
        return SyncStep1(reader.bytes())
    if step == _STEP_2:
        return SyncStep2(reader.bytes())
    if step == _UPDATE:
        return Update(reader.bytes())
    raise MessageError(f"There is no step {step} of synchronisation")


def _decode_entries(data: bytes) -> tuple[AwarenessEntry, ...]:
    reader = _Reader(data)
    count = reader.number()
    # Each takes three bytes at least: a count is not believed before.
    if count > len(data) // 3:
        raise MessageError("An awareness message ends early")
    if count > MAX_ENTRIES:
        raise TooManyEntriesError(f"An awareness message tells of more than {MAX_ENTRIES} clients")
    return tuple(_decode_entry(reader) for _ in range(count))


def _decode_entry(reader: _Reader) -> AwarenessEntry:
    client, clock, state = reader.number(), reader.number(), reader.bytes()
    try:
        text = state.decode()
        # Others parse it: what is no JSON would fail there.
        msgspec.json.decode(_LONE_SURROGATE.sub(b"0000", state), type=msgspec.Raw)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        raise MessageError("An awareness state is not JSON") from None
    return AwarenessEntry(client, clock, text)


def encode_step_1(state: bytes) -> bytes:
    """Sync step 1 with the state vector `state`."""
    return bytes((_SYNC, _STEP_1)) + _sized(state)


def encode_step_2(update: bytes) -> bytes:
    """Sync step 2 with `update`."""
    return bytes((_SYNC, _STEP_2)) + _sized(update)


def encode_update(update: bytes) -> bytes:
    """`update` as it has just been edited."""
    return bytes((_SYNC, _UPDATE)) + _sized(update)


def encode_awareness(entries: Iterable[AwarenessEntry]) -> bytes:
    """Who is there; without entries a message that says nothing, and shows that the server is alive."""
    encoded = [number(entry.client) + number(entry.clock) + _sized(entry.state.encode()) for entry in entries]
    return bytes((_AWARENESS,)) + _sized(number(len(encoded)) + b"".join(encoded))


def number(value: int) -> bytes:
    """A whole number from 0 to `MAX_NUMBER`, as lib0 writes it."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def read_number(data: bytes, at: int) -> tuple[int, int]:
    """The whole number that begins at `at`, and where it ends.

    Raises:
        MessageError: it does not end, or is larger than `MAX_NUMBER`.
    """
    value = 0
    for place, byte in enumerate(data[at : at + _NUMBER_BYTES]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            if value > MAX_NUMBER:
                break
            return value, at + place + 1
    raise MessageError("A number is too large or ends early")


def _sized(data: bytes) -> bytes:
    return number(len(data)) + data


class _Reader:
    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self) -> int:
        value, self._at = read_number(self._data, self._at)
        return value

    def bytes(self) -> bytes:
        length = self.number()
        end = self._at + length
        if end > len(self._data):
            raise MessageError("A message ends early")
        data = self._data[self._at : end]
        self._at = end
        return data
