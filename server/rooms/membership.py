"""A member's connection, from its welcome to its goodbye.

`Membership.run` is the stream's whole life: a subscription to the room's topic that is written to the
connection, and a task that reads what the member sends.  However it ends, it ends in one place: one reason is
counted, and the connection is closed with the code that tells the client what to do.  Whether the member
leaves the room with it depends on that code.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import msgspec
import trio

from ..hub import Draft, Hub, Live, Origin, Selection, Start, Subscription, TopicsFullError, joined
from ..lifecycle import CloseReason, OpenStream, Registry, RequestHead, reconnects
from ..transport import Connection, ConnectionEndedError, DrainGate
from ..wire import json_text
from ..wire.room_frames import Closing, Welcome
from ..wire.websocket import CloseCode
from .forms import JSON_PROTOCOL, Protocol
from .goodbyes import WITHOUT_CLOSING, Goodbye, goodbye_for
from .pings import Pings
from .presence import Parting
from .room import ROOM_TOPIC_PREFIX, Room, Rooms, Seat
from .sessions import Session
from .speaker import ExpelledError, Speaker

MEMBERS_IN_WELCOME = 100
GOODBYE_SECONDS = 5.0
"""How long a member that fell behind has to take what was already on its way, and the close frame."""

_log = logging.getLogger("sluiceway.rooms")


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
    """One connection's stay in a room, speaking `protocol`.

    `secret` is that of the session it resumes; without one that is known, it begins one for a member called
    `name`.  What is kept behind `start` comes first.
    """

    services: RoomServices
    head: RequestHead
    room: str
    name: str
    protocol: Protocol = JSON_PROTOCOL
    secret: str | None = field(default=None, repr=False)
    start: Start = field(default_factory=Live)
    _goodbye: Goodbye | None = None
    _heard_code: int | None = None

    async def run(self, connection: Connection) -> None:
        """Be in the room until either side ends it; then say goodbye.

        Raises:
            trio.BrokenResourceError: the client is gone, or took nothing.
        """
        with self.services.registry.open_stream("room", self.head) as opened:
            try:
                with self.services.rooms.sessions.use(self.room, self.secret, self.name) as (
                    session,
                    resumed,
                ):
                    await self._stay(connection, opened, session, resumed=resumed)
            except TopicsFullError:
                # The place that the handshake was given went to another room before anybody was in this one.
                self._end(opened, Goodbye(CloseCode.TRY_LATER, "topics_full"))
            finally:
                opened.bytes_sent = connection.bytes_sent
        if opened.scope.cancelled_caught:
            raise trio.BrokenResourceError(f"the member was cut off: {opened.reason}")
        reason = opened.reason or CloseReason.COMPLETED
        await self._say_goodbye(connection, reason)

    async def _stay(
        self, connection: Connection, opened: OpenStream, session: Session, *, resumed: bool
    ) -> None:
        services = self.services
        # A member's subscription is also how it is told what concerns it alone: one order for all frames.
        subscription = services.hub.subscribe(
            Selection((ROOM_TOPIC_PREFIX + self.room,)),
            self.start,
            form=self.protocol.form,
            sink=connection,
            close=lambda reason: _give_up(opened, subscription, reason),
        )
        seat = Seat(session.member, subscription)
        with (
            opened.hold("subscription"),
            subscription,
            services.rooms.seated(seat, session, lambda: self._parting(connection, opened)) as room,
            services.pings.keep(
                connection,
                subscription,
                on_missed=lambda: opened.end(CloseReason.HEARTBEAT_MISSED),
                on_stuck=lambda: opened.close(CloseReason.HEARTBEAT_MISSED),
            ),
        ):
            opened.on_end(subscription.end)
            # Not kept in a variable: it would be held as long as the connection, a hundred members in each.
            await connection.send_all(
                self.protocol.framed(self._welcome(room, session, subscription, resumed=resumed))
            )
            speaker = Speaker(services.hub, services.rooms, room, session, seat, self.protocol.codec)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, connection, opened, speaker)
                async for batch in subscription:
                    for write in joined(batch, self.protocol.form):
                        await connection.send_all(write)
                nursery.cancel_scope.cancel()

    def _welcome(self, room: Room, session: Session, subscription: Subscription, *, resumed: bool) -> Welcome:
        return Welcome(
            room=self.room,
            member=session.member,
            session=session.secret,
            resumed=resumed,
            cursor=str(subscription.start),
            heartbeat=self.services.pings.interval,
            member_count=len(room.members),
            members=room.listed(session.member, MEMBERS_IN_WELCOME),
        )

    async def _listen(self, connection: Connection, opened: OpenStream, speaker: Speaker) -> None:
        """Read what the member sends until its connection ends."""
        try:
            while True:
                await speaker.handle(await connection.receive())
        except ConnectionEndedError as ended:
            self._heard_code = ended.code
            _hear_the_end(ended, opened, speaker.seat.subscription)
            # Not once its connection is done with: it may take nothing of what is on its way to it.
            self.services.rooms.leave(speaker.room, speaker.seat, self._parting(connection, opened))
        except ExpelledError as expelled:
            self._end(opened, expelled.goodbye)
        except Exception:  # noqa: BLE001 - one member's frame must not end more than its connection
            _log.exception("a frame could not be handled")
            opened.end(CloseReason.FAILED)

    def _end(self, opened: OpenStream, goodbye: Goodbye) -> None:
        self._goodbye = goodbye
        opened.end(CloseReason.LIMIT)

    def _parting(self, connection: Connection, opened: OpenStream) -> Parting:
        unheard = trio.current_time() - connection.last_heard
        return Parting(self._code(opened), max(0.0, unheard - self.services.pings.interval))

    def _code(self, opened: OpenStream) -> int:
        """The code with which the connection has been closed, or will be in a moment."""
        if self._heard_code is not None:
            return self._heard_code
        if opened.reason is None or opened.reason is CloseReason.CLIENT_DISCONNECTED:
            return CloseCode.ABNORMAL
        return self._goodbye_for(opened.reason).code

    def _goodbye_for(self, reason: CloseReason) -> Goodbye:
        return self._goodbye or goodbye_for(reason)

    async def _say_goodbye(self, connection: Connection, reason: CloseReason) -> None:
        goodbye = self._goodbye_for(reason)
        with trio.move_on_after(GOODBYE_SECONDS):
            if reason not in WITHOUT_CLOSING:
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
