"""A room: a topic, the members that are in it now, and the connections by which they are.

Presence is told as notices on the room's topic, in one order with its messages.  A room exists while it has
members, those in their grace among them; what was said in it stays in the topic's history.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

import msgspec
import trio

from ..hub import OVERHEAD, Cursor, Hub, Message, Notice, Subscription
from ..wire.room_frames import Count, Joined, Left, MemberInfo, MemberState, ServerFrame, Signal
from .announcements import TOGETHER_SECONDS, Announcements
from .graces import Coalesced, Graces
from .presence import (
    NO_STATE,
    Change,
    Connected,
    Disconnected,
    Event,
    Parting,
    PresenceMode,
    Present,
    Replaced,
    TimePassed,
    grace_of,
    step,
)
from .sessions import Session, Sessions

ROOM_TOPIC_PREFIX = "rooms/"
"""Rooms' topics have names that no client can give a topic: they hold a slash."""
LEAVE_GRACE = 10.0
"""Seconds that a member whose connection broke has to come back unnoticed."""
COUNT_SECONDS = 1.0
"""A room that tells how many there are does so once in this time at most."""
STATE_SECONDS = 0.1
"""A state that replaces another one too soon waits for the end of this time, or for the one that replaces it.
"""


Told = Joined | Left | MemberState | Count
"""What members are told of each other."""


@dataclass(eq=False, slots=True)
class Seat:
    """One connection of `member`, and how to reach it."""

    member: str
    subscription: Subscription
    is_left: bool = False

    def tell(self, frame: ServerFrame) -> None:
        """Send a frame to this connection alone, in order with all else.  Never waits."""
        self.subscription.tell(Notice(frame))


class Room:
    """The members of one room."""

    def __init__(
        self,
        hub: Hub,
        name: str,
        mode: PresenceMode,
        count_later: Callable[[Room], object],
        flush_later: Callable[[Announcements], object],
    ) -> None:
        self.name = name
        self.topic = ROOM_TOPIC_PREFIX + name
        self.mode = mode
        self.members: dict[str, Present] = {}
        self._hub = hub
        self._count_later = count_later
        self._seats: dict[str, list[Seat]] = {}
        self.announcements = Announcements(hub, self.topic, flush_later)

    def sit(self, seat: Seat, name: str, state: bytes) -> None:
        """A connection has come.  The others are told where it is its member's first one."""
        self._seats.setdefault(seat.member, []).append(seat)
        # What waits to be told, its welcome has; and telling of it may bring all that forward.
        self.announcements.begin(seat.subscription)
        self.happen(seat.member, Connected(name, state))

    def rise(self, seat: Seat, grace_ends: float | None) -> None:
        """A connection is gone; its member may come back until `grace_ends`, None for no grace."""
        seats = self._seats[seat.member]
        seats.remove(seat)
        self.announcements.end(seat.subscription)
        self.happen(seat.member, Disconnected(grace_ends), but=(seat.subscription,))
        if not seats:
            del self._seats[seat.member]

    def replace_state(self, member: str, state: bytes) -> None:
        """`member` has replaced its state: the others are told."""
        self.happen(member, Replaced(state))

    def happen(self, member: str, event: Event, but: Collection[Subscription] = ()) -> None:
        """Take `event` in, and tell all but `member` and `but` what it changes."""
        present, change = step(self.members.get(member), event)
        if present is None:
            self.members.pop(member, None)
        else:
            self.members[member] = present
        if change is None or self.mode is PresenceMode.OFF:
            return
        if self.mode is PresenceMode.COUNT:
            if change is not Change.STATE:
                self._count_later(self)
            return
        own = [seat.subscription for seat in self._seats.get(member, ())]
        self.announce(_told(member, present, change), but=(*own, *but))

    def signal(self, member: str, data: msgspec.Raw, to: str | None) -> None:
        """Let the connections of `to`, or of everybody but `member`, have `data`, where there is room for it.

        Who is not there, or still catches up, does not get it.
        """
        self.announcements.introduce(member)
        signal = Signal(member, data)
        notice = Notice(signal, OVERHEAD + 2 * len(bytes(data)), droppable=True)
        if to is None:
            self._hub.announce(self.topic, notice, but=[seat.subscription for seat in self.seats_of(member)])
            return
        for seat in self.seats_of(to):
            if not seat.subscription.is_catching_up:
                seat.subscription.tell(notice)

    def announce(self, frame: Told, but: Collection[Subscription] = ()) -> None:
        """Send `frame` to every connection apart from `but`, at once or in a moment.  Never waits."""
        member = None if isinstance(frame, Count) else frame.member
        size = len(bytes(frame.state)) if isinstance(frame, Joined | MemberState) else 0
        self.announcements.tell(member, Notice(frame, OVERHEAD + 2 * size), but)

    def announce_count(self) -> None:
        """Tell everybody how many there are."""
        self.announce(Count(len(self.members)))

    def seats_of(self, member: str) -> Collection[Seat]:
        """The connections of `member`; none where it is not there."""
        return self._seats.get(member, ())

    def listed(self, member: str, limit: int) -> list[MemberInfo]:
        """At most `limit` members for `member` to know, in the order of coming and itself last; itself alone
        where it is not told who comes and goes.
        """
        others: Iterator[str] = iter(())
        if self.mode is PresenceMode.FULL:
            others = islice((other for other in self.members if other != member), limit - 1)
        return [self.info(each) for each in chain(others, [member])]

    def info(self, member: str) -> MemberInfo:
        """`member` as others see it."""
        present = self.members[member]
        return MemberInfo(member, present.name, msgspec.Raw(present.state))


def _told(member: str, present: Present | None, change: Change) -> Told:
    if present is None:
        return Left(member)
    if change is Change.JOINED:
        return Joined(member, present.name, msgspec.Raw(present.state))
    return MemberState(member, msgspec.Raw(present.state))


@dataclass(frozen=True, slots=True)
class RoomInfo:
    """A room as it stands."""

    room: str
    member_count: int
    last: Cursor | None


ModeOf = Callable[[str], PresenceMode]
"""What the members of the room of that name are told of each other."""


class Rooms:
    """Every room of this process.  `run` must be running."""

    def __init__(
        self,
        hub: Hub,
        sessions: Sessions,
        mode_of: ModeOf = lambda _: PresenceMode.FULL,
        leave_grace: float = LEAVE_GRACE,
    ) -> None:
        """`leave_grace` is in seconds; 0 for none."""
        self._hub = hub
        self.sessions = sessions
        self._mode_of = mode_of
        self._rooms: dict[str, Room] = {}
        self._leave_grace = leave_grace
        self._graces: Graces[tuple[str, str]] = Graces(self._on_grace_over)
        sessions.on_forgotten = self._on_forgotten
        self._counts: Coalesced[Room] = Coalesced(COUNT_SECONDS, Room.announce_count)
        self._states: Coalesced[Session] = Coalesced(STATE_SECONDS, self._replace_state)
        self._flushes: Coalesced[Announcements] = Coalesced(TOGETHER_SECONDS, Announcements.flush)

    async def run(self) -> None:
        """Do what is due when time has passed, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._graces.run)
            nursery.start_soon(self._counts.run)
            nursery.start_soon(self._states.run)
            nursery.start_soon(self._flushes.run)

    def seated(self, seat: Seat, session: Session, parting: Callable[[], Parting]) -> _Seated:
        """A context manager: as long as it is open, or until `leave`, `seat`, a connection of `session`, is
        in the room of that, which it yields.

        Args:
            seat: the connection.
            session: its own.
            parting: asked at the end: how the connection has closed, or is about to.

        Raises:
            TopicsFullError: at its start, there is no room for another room.
        """
        return _Seated(self, session.room, seat, Connected(session.name, session.state), parting)

    def replace_state_later(self, session: Session) -> bool:
        """Have the others told in a moment of the state that the member of `session` has by then; False
        where they will be anyway.
        """
        return self._states.ask(session)

    def leave(self, room: Room, seat: Seat, parting: Parting) -> None:
        """`seat` is nobody's any more.  Safe to call again: the first time counts."""
        if seat.is_left:
            return
        seat.is_left = True
        grace = grace_of(parting, self._leave_grace)
        room.rise(seat, trio.current_time() + grace if grace else None)
        present = room.members.get(seat.member)
        if present is not None and present.leaves_at is not None:
            self._graces.begin((room.name, seat.member), present.leaves_at)
        self._close_empty(room)

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

    def _sit(self, name: str, seat: Seat, coming: Connected) -> Room:
        room = self._rooms.get(name)
        if room is None:
            room = Room(self._hub, name, self._mode_of(name), self._counts.ask, self._flushes.ask)
            self._hub.set_tap(room.topic, partial(self._hear, room))
            self._rooms[name] = room
        self._graces.end((name, seat.member))
        room.sit(seat, coming.name, coming.state)
        return room

    def _hear(self, room: Room, message: Message) -> None:
        """Called with each message of the room before anybody gets it."""
        if message.origin is not None and message.origin.sender is not None:
            room.announcements.introduce(message.origin.sender)
        self.sessions.keep(message)

    def _replace_state(self, session: Session) -> None:
        room = self._rooms.get(session.room)
        if room is not None:
            room.replace_state(session.member, session.state)

    def _on_forgotten(self, session: Session) -> None:
        """Nobody can come back as this member any more."""
        room = self._rooms.get(session.room)
        present = room.members.get(session.member) if room else None
        if room is not None and present is not None and present.leaves_at is not None:
            self._graces.end((room.name, session.member))
            room.happen(session.member, TimePassed(present.leaves_at))
            self._close_empty(room)

    def _on_grace_over(self, who: tuple[str, str]) -> None:
        name, member = who
        room = self._rooms[name]
        room.happen(member, TimePassed(trio.current_time()))
        self._close_empty(room)

    def _close_empty(self, room: Room) -> None:
        if not room.members:
            del self._rooms[room.name]
            # There may be listeners who are no members.
            room.announcements.flush()
            self._flushes.drop(room.announcements)
            self._counts.drop(room)
            self._hub.set_tap(room.topic, None)


class _Seated:
    __slots__ = ("_coming", "_name", "_parting", "_room", "_rooms", "_seat")

    def __init__(
        self, rooms: Rooms, name: str, seat: Seat, coming: Connected, parting: Callable[[], Parting]
    ) -> None:
        self._rooms = rooms
        self._name = name
        self._seat = seat
        self._coming = coming
        self._parting = parting
        self._room: Room | None = None

    def __enter__(self) -> Room:
        self._room = self._rooms._sit(self._name, self._seat, self._coming)
        return self._room

    def __exit__(self, *exc_info: object) -> None:
        assert self._room is not None
        self._rooms.leave(self._room, self._seat, self._parting())


__all__ = [
    "LEAVE_GRACE",
    "NO_STATE",
    "ROOM_TOPIC_PREFIX",
    "ModeOf",
    "Room",
    "RoomInfo",
    "Rooms",
    "Seat",
]
