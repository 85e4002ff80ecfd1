"""Rooms: members who talk over a two-way connection.  They know of connections, never of sockets."""

from .echo import run_echo
from .membership import Membership, RoomServices, server_draft
from .pings import Pings
from .room import ROOM_TOPIC_PREFIX, Member, RoomInfo, Rooms

__all__ = [
    "ROOM_TOPIC_PREFIX",
    "Member",
    "Membership",
    "Pings",
    "RoomInfo",
    "RoomServices",
    "Rooms",
    "run_echo",
    "server_draft",
]
