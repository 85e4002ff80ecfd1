"""A member's connection, from its welcome to its goodbye.

`Membership.run` is the stream's whole life: a subscription to the room's topic that is written to the
connection, and a task that reads what the member sends.  However it ends, it ends in one place: the member
leaves, one reason is counted, and the connection is closed with the code that tells the client what to do.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import trio

from ..hub import Draft, Hub, Live, Origin, Selection, Subscription, TopicsFullError, joined
from ..lifecycle import CloseReason, OpenStream, Registry, RequestHead, reconnects
from ..transport import Connection, ConnectionEndedError, DrainGate
from ..wire import json_text
from ..wire.room_codecs import FrameError
from ..wire.room_frames import (
    ClientMessage,
    ClientPing,
    ClientPresence,
    Closing,
    Error,
    Pong,
    Welcome,
)
from ..wire.websocket import CloseCode
from .forms import JSON_PROTOCOL, Protocol
from .pings import Pings
from .presence import NO_STATE
from .room import ROOM_TOPIC_PREFIX, Room, Rooms, Seat

MEMBERS_IN_WELCOME = 100
ERRORS_IN_A_ROW = 10
"""Bad frames after which a client is not listened to any more."""
GOODBYE_SECONDS = 5.0
"""How long a member that fell behind has to take what was already on its way, and the close frame."""

_log = logging.getLogger("sluiceway.rooms")


class _Goodbye(NamedTuple):
    code: CloseCode
    words: str


_GOODBYES: dict[CloseReason, _Goodbye] = {
    CloseReason.COMPLETED: _Goodbye(CloseCode.NORMAL, "completed"),
    CloseReason.SLOW_CONSUMER: _Goodbye(CloseCode.TOO_SLOW, "slow_consumer"),
    CloseReason.HEARTBEAT_MISSED: _Goodbye(CloseCode.HEARTBEAT_MISSED, "heartbeat_missed"),
    CloseReason.SERVER_DRAINING: _Goodbye(CloseCode.SERVICE_RESTART, "server_draining"),
    CloseReason.LIMIT: _Goodbye(CloseCode.POLICY, "limit"),
    CloseReason.ADMIN: _Goodbye(CloseCode.FORBIDDEN, "admin"),
    CloseReason.FAILED: _Goodbye(CloseCode.INTERNAL_ERROR, "server_failed"),
}


_WITHOUT_CLOSING = frozenset({CloseReason.SLOW_CONSUMER, CloseReason.CLIENT_DISCONNECTED, CloseReason.LIMIT})
"""Ends that a `closing` frame cannot announce, or that the client brought about: the close code says it all.
"""


@dataclass(frozen=True, slots=True)
class RoomServices:
    """What rooms need of the server."""

    hub: Hub
    registry: Registry
    rooms: Rooms
    pings: Pings
    gate: DrainGate


@dataclass(slots=True)
class Membership:
    """One connection's stay in a room, under `name`, speaking `protocol`."""

    services: RoomServices
    head: RequestHead
    room: str
    name: str
    protocol: Protocol = JSON_PROTOCOL
    _goodbye: _Goodbye | None = None
    _heard_code: int | None = None
    _errors: int = 0

    async def run(self, connection: Connection) -> None:
        """Be in the room until either side ends it; then say goodbye.

        Raises:
            trio.BrokenResourceError: the client is gone, or took nothing.
        """
        with self.services.registry.open_stream("room", self.head) as opened:
            try:
                await self._stay(connection, opened)
            except TopicsFullError:
                # The place that the handshake was given went to another room before anybody was in this one.
                self._end(opened, CloseReason.LIMIT, CloseCode.TRY_LATER, "topics_full")
            finally:
                opened.bytes_sent = connection.bytes_sent
        if opened.scope.cancelled_caught:
            raise trio.BrokenResourceError(f"the member was cut off: {opened.reason}")
        reason = opened.reason or CloseReason.COMPLETED
        await self._say_goodbye(connection, reason)

    async def _stay(self, connection: Connection, opened: OpenStream) -> None:
        services = self.services
        # A member's subscription is also how it is told what concerns it alone: one order for all frames.
        subscription = services.hub.subscribe(
            Selection((ROOM_TOPIC_PREFIX + self.room,)),
            Live(),
            form=self.protocol.form,
            sink=connection,
            close=lambda reason: _give_up(opened, subscription, reason),
        )
        seat = Seat(secrets.token_hex(8), subscription)
        with (
            opened.hold("subscription"),
            subscription,
            services.rooms.seated(self.room, seat, self.name, NO_STATE, lambda: self._code(opened)) as room,
            services.pings.keep(connection, subscription, lambda: opened.end(CloseReason.HEARTBEAT_MISSED)),
        ):
            opened.on_end(subscription.end)
            await connection.send_all(self.protocol.framed(self._welcome(seat, room)))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, connection, opened, room, seat)
                async for batch in subscription:
                    for write in joined(batch, self.protocol.form):
                        await connection.send_all(write)
                nursery.cancel_scope.cancel()

    def _welcome(self, seat: Seat, room: Room) -> Welcome:
        return Welcome(
            room=self.room,
            member=seat.member,
            session=secrets.token_hex(16),
            resumed=False,
            cursor=str(seat.subscription.start),
            heartbeat=self.services.pings.interval,
            member_count=len(room.members),
            members=room.listed(seat.member, MEMBERS_IN_WELCOME),
        )

    async def _listen(self, connection: Connection, opened: OpenStream, room: Room, seat: Seat) -> None:
        """Read what the member sends until its connection ends."""
        try:
            while True:
                await self._handle(await connection.receive(), opened, room, seat)
        except ConnectionEndedError as ended:
            self._heard_code = ended.code
            _hear_the_end(ended, opened, seat.subscription)
        except Exception:  # noqa: BLE001 - one member's frame must not end more than its connection
            _log.exception("a frame could not be handled")
            opened.end(CloseReason.FAILED)

    async def _handle(self, message: str | bytes, opened: OpenStream, room: Room, seat: Seat) -> None:
        codec = self.protocol.codec
        if isinstance(message, str) is not codec.is_text:
            words = "binary_unsupported" if codec.is_text else "text_unsupported"
            self._end(opened, CloseReason.LIMIT, CloseCode.UNSUPPORTED_DATA, words)
            await trio.sleep_forever()
            return
        try:
            frame = codec.decode(message)
        except FrameError as error:
            seat.tell(Error(error.code, str(error), error.ref))
            self._errors += 1
            if self._errors >= ERRORS_IN_A_ROW:
                self._end(opened, CloseReason.LIMIT, CloseCode.POLICY, "too_many_errors")
                await trio.sleep_forever()
            return
        self._errors = 0
        match frame:
            case ClientMessage():
                await self._publish(frame, seat)
            case ClientPing():
                seat.tell(Pong())
            case ClientPresence(state):
                room.replace_state(seat.member, bytes(state))

    async def _publish(self, frame: ClientMessage, seat: Seat) -> None:
        origin = Origin(sender=seat.member, ref=frame.ref)
        draft = Draft(ROOM_TOPIC_PREFIX + self.room, json_text.compact(frame.data), origin=origin)
        await self.services.hub.publish([draft])

    def _end(self, opened: OpenStream, reason: CloseReason, code: CloseCode, words: str) -> None:
        self._goodbye = _Goodbye(code, words)
        opened.end(reason)

    def _code(self, opened: OpenStream) -> int:
        """The code with which the connection has been closed, or will be in a moment."""
        if self._heard_code is not None:
            return self._heard_code
        if opened.reason is None or opened.reason is CloseReason.CLIENT_DISCONNECTED:
            return CloseCode.ABNORMAL
        return self._goodbye_of(opened.reason).code

    def _goodbye_of(self, reason: CloseReason) -> _Goodbye:
        return self._goodbye or _GOODBYES.get(reason, _Goodbye(CloseCode.NORMAL, reason.value))

    async def _say_goodbye(self, connection: Connection, reason: CloseReason) -> None:
        goodbye = self._goodbye_of(reason)
        with trio.move_on_after(GOODBYE_SECONDS):
            if reason not in _WITHOUT_CLOSING:
                closing = Closing(reason.value, reconnects(reason), self.services.gate.retry_ms())
                await connection.send_all(self.protocol.framed(closing))
            await connection.close(goodbye.code, goodbye.words)


def _hear_the_end(ended: ConnectionEndedError, opened: OpenStream, subscription: Subscription) -> None:
    """The client has closed, or has been closed for what it sent."""
    reason = CloseReason.LIMIT if ended.code == CloseCode.TOO_BIG else CloseReason.CLIENT_DISCONNECTED
    if ended.code == CloseCode.ABNORMAL:
        opened.close(reason)
        return
    subscription.discard()
    opened.scope.deadline = min(opened.scope.deadline, trio.current_time() + GOODBYE_SECONDS)
    opened.end(reason)


def _give_up(opened: OpenStream, subscription: Subscription, reason: CloseReason) -> None:
    """End a member that fell behind: what is queued is dropped, what is on its way may still arrive, for a
    moment.
    """
    if reason is not CloseReason.SLOW_CONSUMER:
        opened.close(reason)
        return
    subscription.discard()
    opened.scope.deadline = min(opened.scope.deadline, trio.current_time() + GOODBYE_SECONDS)
    opened.end(reason)


def server_draft(room: str, data: msgspec.Raw, label: str | None) -> Draft:
    """A message to `room` from the server side: it has no sender, so that it cannot pose as a member's."""
    return Draft(ROOM_TOPIC_PREFIX + room, json_text.compact(data), origin=Origin(label=label))
