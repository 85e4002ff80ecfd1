"""The form of a room's items on a WebSocket: each as one ready-made text frame, made once for all members."""

from __future__ import annotations

import msgspec

from ..hub import Gap, Heartbeat, Message, Notice
from ..wire import room_frames
from ..wire.room_frames import RoomGap, RoomMessage, ServerFrame
from ..wire.times import rfc3339
from ..wire.websocket import ping_frame, text_frame

PING = Notice(b"", size=0)
"""A WebSocket ping, in its place among the frames."""


def json_frame(item: Message | Notice | Gap | Heartbeat) -> bytes:
    """`item` as a text frame of `sluiceway.v1.json`."""
    if item is PING:
        return ping_frame()
    return text_frame(room_frames.encode(_frame_of(item)))


def _frame_of(item: Message | Notice | Gap | Heartbeat) -> ServerFrame:
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
