"""The frames of rooms as structs: one object each, with `type`.  Their bytes are made by `room_codecs`.

What a client gave as `data` or `state` stands in them as JSON text, whatever it came as and goes as, and is
passed on, never interpreted.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

MAX_FRAME = 64 * 1024
"""Bytes that a frame from a client may have."""
MAX_STATE = 1024
"""Bytes that a member's presence state may have, as compact JSON."""

Ref = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class ClientMessage(msgspec.Struct, tag="message", forbid_unknown_fields=True):
    """Broadcast `data` to the room; `ref`, where given, is acknowledged."""

    data: msgspec.Raw
    ref: Ref | None = None


class ClientPing(msgspec.Struct, tag="ping", forbid_unknown_fields=True):
    """Ask for a `pong`."""


class ClientPresence(msgspec.Struct, tag="presence", forbid_unknown_fields=True):
    """Replace the member's presence state, an object of at most 1 KiB."""

    state: msgspec.Raw


class ClientSignal(msgspec.Struct, tag="signal", forbid_unknown_fields=True):
    """Let `to`, or everybody else who listens now, have `data`: not kept, and dropped where it would wait."""

    data: msgspec.Raw
    to: str | None = None


ClientFrame = ClientMessage | ClientPing | ClientPresence | ClientSignal


class MemberInfo(msgspec.Struct):
    """A member, as others see it."""

    member: str
    name: str
    state: msgspec.Raw


class Welcome(msgspec.Struct, tag="welcome"):
    """The first frame.  `heartbeat` is in seconds; `session` is a secret; at most 100 `members` are in it."""

    room: str
    member: str
    session: str
    resumed: bool
    cursor: str
    heartbeat: float
    member_count: int
    members: list[MemberInfo]


class RoomMessage(msgspec.Struct, tag="message", rename={"sender": "from"}, omit_defaults=True):
    """A message.  `sender` is None where it came from the server side, which may have given a `label`."""

    id: str
    sender: str | None
    data: msgspec.Raw
    time: str
    ref: str | None = None
    label: str | None = None


class Signal(msgspec.Struct, tag="signal", rename={"sender": "from"}):
    """Something of the moment, from a member."""

    sender: str
    data: msgspec.Raw


class Ack(msgspec.Struct, tag="ack"):
    """The message with this `ref` is in the room's history, as `id`."""

    ref: str
    id: str
    duplicate: bool


class Joined(msgspec.Struct, tag="joined"):
    """Somebody came."""

    member: str
    name: str
    state: msgspec.Raw


class Left(msgspec.Struct, tag="left"):
    """Somebody is gone."""

    member: str


class MemberState(msgspec.Struct, tag="presence"):
    """Somebody's state is another one now."""

    member: str
    state: msgspec.Raw


class Count(msgspec.Struct, tag="count"):
    """How many are here."""

    member_count: int


class Pong(msgspec.Struct, tag="pong"):
    """The answer to a `ping`."""


class RoomGap(msgspec.Struct, tag="gap"):
    """Messages that this member will not get; `missed` where the number is known."""

    reason: str
    missed: int | None
    cursor: str


class Error(msgspec.Struct, tag="error", omit_defaults=True):
    """A frame of this client could not be used."""

    code: str
    detail: str
    ref: str | None = None


class Closing(msgspec.Struct, tag="closing"):
    """The last frame before a close by the server."""

    reason: str
    reconnect: bool
    retry_ms: int


ServerFrame = (
    Welcome
    | RoomMessage
    | Signal
    | Ack
    | Joined
    | Left
    | MemberState
    | Count
    | Pong
    | RoomGap
    | Error
    | Closing
)
