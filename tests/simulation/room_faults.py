"""Faults of rooms to find: see `faults`."""

from __future__ import annotations

from typing import Any

from server.hub import Hub, Live, Subscription
from server.rooms.announcements import Announcements
from server.rooms.graces import Graces
from server.rooms.pings import Pings
from server.rooms.room import Room, Rooms, Seat
from server.rooms.sessions import Session, Sessions
from server.wire.room_frames import Ack, Left, MemberState

from .faults import Patch, fault


@fault
def a_members_leave_is_not_told(patch: Patch) -> None:
    """It is gone from the room, and nobody hears."""

    old = Room.announce

    def announce(self: Room, frame: Any, but: Any = ()) -> None:
        if not isinstance(frame, Left):
            old(self, frame, but)

    patch.setattr(Room, "announce", announce)


@fault
def an_ack_comes_behind_its_message(patch: Patch) -> None:
    """The tap is called after the pass."""
    old = Hub._deliver

    def deliver(self: Hub, messages: Any) -> None:
        taps = {name: topic.tap for name, topic in self._topics.items() if topic.tap is not None}
        for name in taps:
            self._topics[name].tap = None
        old(self, messages)
        for name, tap in taps.items():
            self._topics[name].tap = tap
        for message in messages:
            if message.topic in taps:
                taps[message.topic](message)

    patch.setattr(Hub, "_deliver", deliver)


@fault
def an_ack_that_was_lost_is_not_repeated(patch: Patch) -> None:
    """What is said again under a ref is passed over in silence."""
    old = Seat.tell

    def tell(self: Seat, frame: Any) -> None:
        if not (isinstance(frame, Ack) and frame.duplicate):
            old(self, frame)

    patch.setattr(Seat, "tell", tell)


@fault
def refs_are_not_remembered(patch: Patch) -> None:
    """What is said again is in the room again."""
    patch.setattr(Session, "known", lambda self, ref: None)


@fault
def any_data_will_do_under_a_ref(patch: Patch) -> None:
    """Other data under a ref that is known is acknowledged as if it had been said."""
    patch.setattr("server.rooms.speaker.digest_of", lambda data: b"")
    patch.setattr("server.rooms.sessions.digest_of", lambda data: b"")


@fault
def a_session_is_not_taken_back(patch: Patch) -> None:
    """Who comes back is another member."""
    old = Sessions.use

    def use(self: Sessions, room: str, secret: str | None, name: str) -> Any:
        return old(self, room, None, name)

    patch.setattr(Sessions, "use", use)


@fault
def who_comes_back_to_a_room_begins_live(patch: Patch) -> None:
    """What was said meanwhile is lost."""
    patch.setattr("server.web.handshakes._start_of", lambda query: Live())


@fault
def there_is_no_grace(patch: Patch) -> None:
    """Who is cut leaves at once."""
    patch.setattr("server.rooms.room.grace_of", lambda parting, most: 0.0)


@fault
def who_leaves_has_a_grace(patch: Patch) -> None:
    """Also after a close with 1000."""
    patch.setattr("server.rooms.room.grace_of", lambda parting, most: most)


@fault
def who_comes_back_leaves_all_the_same(patch: Patch) -> None:
    """The grace goes on."""

    def on_grace_over(self: Rooms, who: tuple[str, str]) -> None:
        room = self._rooms[who[0]]
        room.announce(Left(who[1]))

    patch.setattr(Graces, "end", lambda self, who: None)
    patch.setattr(Rooms, "_on_grace_over", on_grace_over)


@fault
def who_comes_is_told_of_nobody_while_it_catches_up(patch: Patch) -> None:
    """Comings and goings go to those that are live."""
    old = Announcements.begin

    def begin(self: Announcements, subscription: Subscription) -> None:
        old(self, subscription)
        self._arriving.clear()

    patch.setattr(Announcements, "begin", begin)


@fault
def who_comes_is_told_what_its_welcome_has_had(patch: Patch) -> None:
    """Of what waited to be told together."""
    old = Announcements.begin

    def begin(self: Announcements, subscription: Subscription) -> None:
        old(self, subscription)
        self._since.clear()

    patch.setattr(Announcements, "begin", begin)


@fault
def what_waits_to_be_told_comes_behind_a_message(patch: Patch) -> None:
    """Nobody has been introduced who speaks at once."""
    patch.setattr(Rooms, "_hear", lambda self, room, message: self.sessions.keep(message))
    patch.setattr("server.rooms.announcements.TOGETHER_SECONDS", 2.0)


@fault
def a_state_is_told_to_nobody(patch: Patch) -> None:
    """It is kept, and who comes later sees it."""
    old = Room.announce

    def announce(self: Room, frame: Any, but: Any = ()) -> None:
        if not isinstance(frame, MemberState):
            old(self, frame, but)

    patch.setattr(Room, "announce", announce)


@fault
def a_whisper_is_heard_by_all(patch: Patch) -> None:
    """Whomever it is for."""
    old = Room.signal

    def signal(self: Room, member: str, data: Any, to: str | None) -> None:
        old(self, member, data, None)

    patch.setattr(Room, "signal", signal)


@fault
def a_missed_heartbeat_ends_nothing(patch: Patch) -> None:
    """Whose network is gone stays in its room for ever."""
    patch.setattr(Pings, "_look_at", lambda self, watched: None)


@fault
def an_ack_waits_until_all_is_replayed(patch: Patch) -> None:
    """So that the message itself may come before."""
    old = Subscription._take

    def take(self: Subscription, limit: float) -> Any:
        return [] if self.is_catching_up else old(self, limit)

    patch.setattr(Subscription, "_take", take)
