"""Rooms: members who talk over a two-way connection.  They know of connections, never of sockets."""

from .echo import run_echo
from .forms import (
    JSON_PROTOCOL,
    MSGPACK_PROTOCOL,
    PROTOCOLS,
    ROOM_EVENT_FORMS,
    Protocol,
    frame_of,
    room_message,
)
from .membership import Membership, RoomServices, server_draft
from .pings import Pings
from .presence import PresenceMode
from .room import LEAVE_GRACE, ROOM_TOPIC_PREFIX, RoomInfo, Rooms
from .sessions import SessionLimits, Sessions

__all__ = [
    "JSON_PROTOCOL",
    "LEAVE_GRACE",
    "MSGPACK_PROTOCOL",
    "PROTOCOLS",
    "ROOM_EVENT_FORMS",
    "ROOM_TOPIC_PREFIX",
    "Membership",
    "Pings",
    "PresenceMode",
    "Protocol",
    "RoomInfo",
    "RoomServices",
    "Rooms",
    "SessionLimits",
    "Sessions",
    "frame_of",
    "room_message",
    "run_echo",
    "server_draft",
]
