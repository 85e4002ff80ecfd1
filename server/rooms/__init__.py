"""Rooms: members who talk over a two-way connection.  They know of connections, never of sockets."""

from .echo import run_echo
from .forms import JSON_PROTOCOL, MSGPACK_PROTOCOL, PROTOCOLS, Protocol
from .membership import Membership, RoomServices, server_draft
from .pings import Pings
from .room import ROOM_TOPIC_PREFIX, Member, RoomInfo, Rooms

__all__ = [
    "JSON_PROTOCOL",
    "MSGPACK_PROTOCOL",
    "PROTOCOLS",
    "ROOM_TOPIC_PREFIX",
    "Member",
    "Membership",
    "Pings",
    "Protocol",
    "RoomInfo",
    "RoomServices",
    "Rooms",
    "run_echo",
    "server_draft",
]
