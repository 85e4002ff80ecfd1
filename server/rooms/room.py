"""A room: a topic, and the members that are in it now.

Presence is told as notices on the room's topic, in one order with its messages.  A room exists while it has
members; what was said in it stays in the topic's history.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from ..hub import Cursor, Hub, Message, Notice, Subscription
from ..wire.room_frames import Ack, Joined, Left, MemberInfo

ROOM_TOPIC_PREFIX = "rooms/"
"""Rooms' topics have names that no client can give a topic: they hold a slash."""
NO_STATE = msgspec.Raw(b"{}")


@dataclass(eq=False, slots=True)
class Member:
    """Somebody in a room, and how to reach them."""

    id: str
    name: str
    subscription: Subscription
    state: msgspec.Raw = field(default_factory=lambda: NO_STATE)

    def info(self) -> MemberInfo:
        """As others see it."""
        return MemberInfo(self.id, self.name, self.state)

    def tell(self, frame: object) -> None:
        """Send a frame to this member alone, in order with all else.  Never waits."""
        self.subscription.tell(Notice(frame))


class Room:
    """The members of one room."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.name = name
        self.topic = ROOM_TOPIC_PREFIX + name
        self.members: dict[str, Member] = {}
        self._hub = hub

    def enter(self, member: Member) -> None:
        """Let `member` in, and tell the others."""
        self.members[member.id] = member
        info = member.info()
        self._hub.announce(
            self.topic, Notice(Joined(info.member, info.name, info.state)), but=member.subscription
        )

    def leave(self, member: Member) -> None:
        """Take `member` out, and tell the others."""
        del self.members[member.id]
        self._hub.announce(self.topic, Notice(Left(member.id)), but=member.subscription)

    def acknowledge(self, message: Message) -> None:
        """Tell a message's sender, if it is here, that the message is kept.

        Called before anybody gets the message.
        """
        origin = message.origin
        if origin is None or origin.ref is None or origin.sender is None:
            return
        sender = self.members.get(origin.sender)
        if sender is not None:
            sender.tell(Ack(origin.ref, str(message.id), duplicate=False))


@dataclass(frozen=True, slots=True)
class RoomInfo:
    """A room as it stands."""

    room: str
    member_count: int
    last: Cursor | None


class Rooms:
    """Every room of this process."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._rooms: dict[str, Room] = {}

    def present(self, room: str, member: Member) -> _Presence:
        """A context manager: `member` is in the room named `room` as long as it is open.  Yields the room."""
        return _Presence(self, room, member)

    def room(self, name: str) -> Room | None:
        """The room, None where nobody is in it."""
        return self._rooms.get(name)

    def info(self, name: str) -> RoomInfo | None:
        """The room as it stands, None where it has never been used."""
        kept = self._hub.topic(ROOM_TOPIC_PREFIX + name)
        if kept is None:
            return None
        room = self._rooms.get(name)
        return RoomInfo(name, len(room.members) if room else 0, kept.last)

    def names(self) -> list[str]:
        """Every room in use or with something kept, sorted."""
        return sorted(
            name.removeprefix(ROOM_TOPIC_PREFIX)
            for name in self._hub.topic_names()
            if name.startswith(ROOM_TOPIC_PREFIX)
        )

    def _open(self, name: str) -> Room:
        room = self._rooms.get(name)
        if room is None:
            room = Room(self._hub, name)
            self._hub.set_tap(room.topic, room.acknowledge)
            self._rooms[name] = room
        return room

    def _close_empty(self, room: Room) -> None:
        if not room.members:
            del self._rooms[room.name]
            self._hub.set_tap(room.topic, None)


class _Presence:
    __slots__ = ("_member", "_name", "_room", "_rooms")

    def __init__(self, rooms: Rooms, name: str, member: Member) -> None:
        self._rooms = rooms
        self._name = name
        self._member = member
        self._room: Room | None = None

    def __enter__(self) -> Room:
        self._room = self._rooms._open(self._name)
        self._room.enter(self._member)
        return self._room

    def __exit__(self, *exc_info: object) -> None:
        assert self._room is not None
        self._room.leave(self._member)
        self._rooms._close_empty(self._room)
