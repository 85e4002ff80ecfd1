"""The frames of rooms, protocol `sluiceway.v1.json`: one JSON object each, with `type`.

Frames to clients are structs that encode themselves; frames from clients are decoded into structs, strictly.
What a client sent as `data` is passed on as it came, never interpreted.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from . import json_text

JSON_SUBPROTOCOL = "sluiceway.v1.json"
MAX_FRAME = 64 * 1024
"""Bytes that a frame from a client may have."""

Ref = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class ClientMessage(msgspec.Struct, tag="message", forbid_unknown_fields=True):
    """Broadcast `data` to the room; `ref`, where given, is acknowledged."""

    data: msgspec.Raw
    ref: Ref | None = None


class ClientPing(msgspec.Struct, tag="ping", forbid_unknown_fields=True):
    """Ask for a `pong`."""


ClientFrame = ClientMessage | ClientPing


class FrameError(ValueError):
    """A client's frame is not one.  `code` is stable; the text is fit to be shown; `ref` is the frame's,
    where it can be read.
    """

    def __init__(
        self, code: Literal["frame_malformed", "frame_invalid"], detail: str, ref: str | None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.ref = ref


def decode(text: str) -> ClientFrame:
    """The frame that a client sent.

    Raises:
        FrameError: it is not JSON, or no frame that is known.
    """
    try:
        frame: ClientFrame = json_text.decode(text.encode(), ClientFrame)  # type: ignore[arg-type]
    except json_text.MalformedError as error:
        raise FrameError("frame_malformed", f"{error}.", _ref_of(text)) from None
    except json_text.InvalidError as error:
        where = f" at {error.pointer}" if error.pointer else ""
        raise FrameError("frame_invalid", f"Not a frame: {error}{where}.", _ref_of(text)) from None
    return frame


class _Referring(msgspec.Struct):
    ref: Ref | None = None


def _ref_of(text: str) -> str | None:
    """What a frame that cannot be used calls itself: its sender waits for an answer under that name."""
    try:
        return msgspec.json.decode(text, type=_Referring).ref
    except (msgspec.DecodeError, RecursionError):
        return None


class MemberInfo(msgspec.Struct):
    """A member, as others see it."""

    member: str
    name: str
    state: dict[str, object]


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


class Ack(msgspec.Struct, tag="ack"):
    """The message with this `ref` is in the room's history, as `id`."""

    ref: str
    id: str
    duplicate: bool


class Joined(msgspec.Struct, tag="joined"):
    """Somebody came."""

    member: str
    name: str
    state: dict[str, object]


class Left(msgspec.Struct, tag="left"):
    """Somebody is gone."""

    member: str


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


ServerFrame = Welcome | RoomMessage | Ack | Joined | Left | Pong | RoomGap | Error | Closing


def encode(frame: ServerFrame) -> bytes:
    """`frame` as the text of one JSON object, in UTF-8."""
    return json_text.encode(frame).encode()
