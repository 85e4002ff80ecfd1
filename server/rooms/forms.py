"""The forms of a room's items on a WebSocket: each as one ready-made frame, made once for all members that
speak the same subprotocol.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ..hub import Form, Gap, Heartbeat, Message, Notice
from ..transport import Framing
from ..wire import room_codecs, sse
from ..wire.room_codecs import Codec
from ..wire.room_frames import RoomGap, RoomMessage, ServerFrame
from ..wire.times import rfc3339
from ..wire.websocket import binary_frame, ping_frame, text_frame

PING = Notice(b"", size=0)
"""A WebSocket ping, in its place among the frames."""


@dataclass(frozen=True, slots=True)
class Together:
    """The payload of a notice that stands for several, in order."""

    notices: tuple[Notice, ...]

    def framed(self, form: Form) -> bytes:
        """Each as `form` has it, one behind the other."""
        return b"".join([notice.frame(form) for notice in self.notices])


def json_frame(item: Message | Notice | Gap | Heartbeat) -> bytes:
    """`item` as a text frame of `sluiceway.v1.json`, or as several."""
    if item is PING:
        return ping_frame()
    if isinstance(item, Notice) and isinstance(item.payload, Together):
        return item.payload.framed(json_frame)
    return text_frame(room_codecs.encode_json(frame_of(item)))


def msgpack_frame(item: Message | Notice | Gap | Heartbeat) -> bytes:
    """`item` as a binary frame of `sluiceway.v1.msgpack`, or as several."""
    if item is PING:
        return ping_frame()
    if isinstance(item, Notice) and isinstance(item.payload, Together):
        return item.payload.framed(msgpack_frame)
    return binary_frame(room_codecs.encode_msgpack(frame_of(item)))


@dataclass(frozen=True, slots=True)
class Protocol:
    """How one member talks: its codec, and the form of what it is sent."""

    codec: Codec
    form: Form

    def framed(self, frame: ServerFrame) -> bytes:
        """`frame`, which is for this member alone, as bytes."""
        return self.form(Notice(frame))


JSON_PROTOCOL = Protocol(room_codecs.JSON, json_frame)
MSGPACK_PROTOCOL = Protocol(room_codecs.MSGPACK, msgpack_frame)
PROTOCOLS = {each.codec.subprotocol: each for each in (JSON_PROTOCOL, MSGPACK_PROTOCOL)}
"""Those that a member can ask for, by subprotocol."""


def room_event(item: Message | Notice | Gap | Heartbeat) -> bytes:
    """`item` as a Server-Sent Event: named after the type of its frame, which is its data as JSON."""
    if isinstance(item, Heartbeat):
        if item.id is None:
            return sse.HEARTBEAT
        return sse.encode_event(id=str(item.id), event="heartbeat", data="{}")
    if isinstance(item, Notice) and isinstance(item.payload, Together):
        return item.payload.framed(room_event)
    frame = frame_of(item)
    name = str(type(frame).__struct_config__.tag)
    cursor = None if isinstance(item, Notice) else str(item.id)
    return sse.encode_event(id=cursor, event=name, data=room_codecs.encode_json(frame).decode())


def room_event_chunk(item: Message | Notice | Gap | Heartbeat) -> bytes:
    """`room_event` in a chunk of its own."""
    return sse.chunk(room_event(item))


ROOM_EVENT_FORMS = {Framing.IDENTITY: room_event, Framing.CHUNKED: room_event_chunk}
"""How a room is told to who listens over HTTP."""


def frame_of(item: Message | Notice | Gap | Heartbeat) -> ServerFrame:
    """`item` as members see it."""
    match item:
        case Message():
            return room_message(item)
        case Notice():
            return item.payload  # type: ignore[return-value]  # notices of rooms are made of frames
        case Gap():
            missed = item.topics[0][1]
            return RoomGap(item.reason, missed, str(item.id))
        case Heartbeat():
            raise TypeError("rooms have pings of their own")


def room_message(message: Message) -> RoomMessage:
    """A message of the hub as members see it."""
    origin = message.origin
    return RoomMessage(
        id=str(message.id),
        sender=origin.sender if origin else None,
        data=msgspec.Raw(message.data.encode()),
        time=rfc3339(message.time),
        ref=origin.ref if origin else None,
        label=origin.label if origin else None,
    )
