"""What a member sends, and what becomes of it: one `Speaker` for each connection."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..hub import Draft, Hub, Origin
from ..wire import json_text
from ..wire.room_codecs import Codec, FrameError
from ..wire.room_frames import Ack, ClientMessage, ClientPing, ClientPresence, ClientSignal, Error, Pong
from ..wire.websocket import CloseCode
from .goodbyes import Goodbye
from .rates import Rate
from .room import Room, Rooms, Seat
from .sessions import Said, Session, digest_of

ERRORS_IN_A_ROW = 10
"""Bad frames after which a client is not listened to any more."""

SIGNALS_A_SECOND, SIGNALS_AT_ONCE = 50, 100
"""What a connection may signal; more is dropped."""
STATES_A_SECOND, STATES_AT_ONCE = 10, 20
"""How often the others are told of a state that a connection replaces; what is replaced before is not told.
"""


class ExpelledError(Exception):
    """The client has sent what ends its connection, with `goodbye`."""

    def __init__(self, goodbye: Goodbye) -> None:
        super().__init__(goodbye.words)
        self.goodbye = goodbye


@dataclass(slots=True)
class Speaker:
    """A connection, as the source of frames in `codec`."""

    hub: Hub
    rooms: Rooms
    room: Room
    session: Session
    seat: Seat
    codec: Codec
    _errors: int = 0
    _signals: Rate = field(default_factory=lambda: Rate(SIGNALS_A_SECOND, SIGNALS_AT_ONCE))
    _states: Rate = field(default_factory=lambda: Rate(STATES_A_SECOND, STATES_AT_ONCE))

    async def handle(self, message: str | bytes) -> None:
        """Do what `message` asks.

        Raises:
            ExpelledError: it ends the connection.
        """
        if isinstance(message, str) is not self.codec.is_text:
            words = "binary_unsupported" if self.codec.is_text else "text_unsupported"
            raise ExpelledError(Goodbye(CloseCode.UNSUPPORTED_DATA, words))
        try:
            frame = self.codec.decode(message)
        except FrameError as error:
            self._count_error(error)
            return
        self._errors = 0
        match frame:
            case ClientMessage():
                await self._say(frame)
            case ClientPing():
                self.seat.tell(Pong())
            case ClientSignal(data, to) if self._signals.take_nowait():
                self.room.signal(self.session.member, data, to)
            case ClientPresence(state):
                self.session.state = bytes(state)
                self._replace_state()

    def _replace_state(self) -> None:
        if self._states.take_nowait():
            self.room.replace_state(self.session.member, self.session.state)
        elif self.rooms.replace_state_later(self.session):
            self._states.owe()

    def _count_error(self, error: FrameError) -> None:
        self.seat.tell(Error(error.code, str(error), error.ref))
        self._errors += 1
        if self._errors >= ERRORS_IN_A_ROW:
            raise ExpelledError(Goodbye(CloseCode.POLICY, "too_many_errors"))

    async def _say(self, frame: ClientMessage) -> None:
        data = json_text.compact(frame.data)
        draft = Draft(self.room.topic, data, origin=Origin(sender=self.session.member, ref=frame.ref))
        if frame.ref is None:
            await self.hub.publish([draft])
        else:
            await self._say_once(draft, frame.ref)

    async def _say_once(self, draft: Draft, ref: str) -> None:
        """Publish `draft`, unless it was published under `ref` before."""
        digest = digest_of(draft.data)
        while (known := self.session.known(ref)) is not None:
            if known.digest != digest:
                detail = "Under this ref other data was sent before. A new message takes a new ref."
                self.seat.tell(Error("ref_conflict", detail, ref))
                return
            if isinstance(known, Said):
                self.seat.tell(Ack(ref, str(known.id), duplicate=True))
                return
            # Another connection of this member is at it, and may yet fail.
            await known.settled.wait()
        with self.session.say(ref, digest, self.seat.tell):
            await self.hub.publish([draft])
