"""Rooms with everything they need, and guests on connections in memory, for tests in virtual time.

`open_house` opens the services, and checks at its end that nothing is left of any guest.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import trio

from server.hub import After, Cursor, HistoryLimits, Live, MemoryBroker, Overflow, ReplayLimits, RulesOf
from server.lifecycle import CloseReason, Registry, RequestHead
from server.rooms import (
    JSON_PROTOCOL,
    Membership,
    Pings,
    PresenceMode,
    Protocol,
    Rooms,
    RoomServices,
    SessionLimits,
    Sessions,
)
from server.transport import DrainGate

from .connections import Peer
from .frames import Binary, Close, Frame, PingFrame, PongFrame, Text
from .hubs import open_hub
from .memory_connection import MemoryPeer, memory_connection

HEAD = RequestHead("GET", "/rooms/lobby", "", ())

Json = dict[str, Any]


async def hear(peer: Peer) -> Json:
    """The next object that `peer` is sent; pings and pongs are passed over.

    Raises:
        EOFError: there is none any more.
    """
    while True:
        frame = await peer.receive()
        if isinstance(frame, PingFrame | PongFrame):
            continue
        return object_of(frame)


def object_of(frame: Frame) -> Json:
    """The object in `frame`, as JSON in text or as MessagePack in bytes."""
    match frame:
        case Text(text):
            heard: Json = json.loads(text)
        case Binary(data):
            heard = msgspec.msgpack.decode(data)
        case _:
            raise AssertionError(f"{frame} holds no object")
    return heard


async def hear_until(peer: Peer, type: str) -> Json:
    """The next object of `type` that `peer` is sent."""
    while (heard := await hear(peer))["type"] != type:
        pass
    return heard


async def hear_to_the_end(peer: Peer) -> tuple[list[Json], Close | None]:
    """What `peer` is still sent: objects, and the close frame, None where the connection ended without."""
    objects = []
    try:
        while True:
            match await peer.receive():
                case Text() | Binary() as frame:
                    objects.append(object_of(frame))
                case Close() as close:
                    return objects, close
                case _:
                    pass
    except EOFError:
        return objects, None


def saying(data: object, ref: str | None = None) -> str:
    """The frame that says `data`."""
    return json.dumps({"type": "message", "data": data} | ({"ref": ref} if ref is not None else {}))


@dataclass(slots=True)
class Guest:
    """A member, from its own side."""

    peer: MemoryPeer
    membership: Membership
    ended: trio.Event = field(default_factory=trio.Event)
    welcome: Json = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Its public name."""
        member: str = self.welcome["member"]
        return member

    @property
    def session(self) -> str:
        """Its secret."""
        secret: str = self.welcome["session"]
        return secret

    async def hear(self) -> Json:
        """The next object."""
        return await hear(self.peer)

    async def say(self, data: object, ref: str | None = None) -> None:
        """Send a message."""
        await self.send(json.loads(saying(data, ref)))

    async def be(self, state: object) -> None:
        """Replace its presence state."""
        await self.send({"type": "presence", "state": state})

    async def signal(self, data: object, to: str | None = None) -> None:
        """Send a signal."""
        await self.send({"type": "signal", "data": data} | ({} if to is None else {"to": to}))

    async def send(self, frame: Json) -> None:
        """Send a frame, in its protocol."""
        is_text = self.membership.protocol.codec.is_text
        await self.peer.send(json.dumps(frame) if is_text else msgspec.msgpack.encode(frame))


class House:
    """The services, and the guests that have been let in."""

    def __init__(self, services: RoomServices, nursery: trio.Nursery, write_deadline: float) -> None:
        self.services = services
        self.failures: list[Exception] = []
        """What came out of a membership that is no broken connection."""
        self._nursery = nursery
        self._write_deadline = write_deadline

    @property
    def closed(self) -> dict[CloseReason, int]:
        """How many members have ended, by reason."""
        return dict(self.services.registry.closed.get("room", {}))

    def enter(
        self,
        name: str = "guest",
        *,
        room: str = "lobby",
        buffer: int = 64 * 1024,
        protocol: Protocol = JSON_PROTOCOL,
        session: str | None = None,
        after: str | None = None,
    ) -> Guest:
        """Let a guest in; what it is sent has not been read.  `buffer` bytes may be on their way to it."""
        start = Live() if after is None else After(Cursor.parse(after) or Cursor("", 0))
        connection, peer = memory_connection(room=buffer, write_deadline=self._write_deadline)
        guest = Guest(peer, Membership(self.services, HEAD, room, name, protocol, session, start))

        async def run() -> None:
            # What the transport does around it.
            try:
                await guest.membership.run(connection)
                await connection.close(1000, "")
            except* trio.BrokenResourceError:
                pass
            except* Exception as failed:  # noqa: BLE001 - shown by the test
                self.failures.append(failed)
            finally:
                connection.cut()
                guest.ended.set()

        self._nursery.start_soon(run)
        return guest

    async def join(
        self,
        name: str = "guest",
        *,
        room: str = "lobby",
        buffer: int = 64 * 1024,
        protocol: Protocol = JSON_PROTOCOL,
        session: str | None = None,
        after: str | None = None,
    ) -> Guest:
        """Let a guest in, and read its welcome."""
        guest = self.enter(name, room=room, buffer=buffer, protocol=protocol, session=session, after=after)
        guest.welcome = await guest.hear()
        assert guest.welcome["type"] == "welcome"
        # Until its writer waits: what is said from now on leaves at once.
        await trio.testing.wait_all_tasks_blocked()
        return guest

    async def join_two(self) -> tuple[Guest, Guest]:
        """Two guests who know of each other."""
        first = await self.join("first")
        second = await self.join("second")
        assert (await first.hear())["type"] == "joined"
        return first, second

    def check_nothing_is_left(self, room: str = "lobby") -> None:
        """Assert that no member is there and nothing is held for one."""
        services = self.services
        assert services.registry.streams == {}
        assert services.registry.leaked == 0
        assert services.rooms.room(room) is None
        assert not services.rooms._rooms
        assert not services.rooms._graces
        sessions = services.rooms.sessions
        assert len(sessions) == len(sessions._idle)
        assert not any(session.connections or session.saying for session in sessions._idle.values())
        assert services.hub.subscriptions == 0
        assert services.hub.buffered_bytes == 0
        assert not services.pings._ticker.kept
        assert self.failures == []


@asynccontextmanager
async def open_house(
    *,
    capacity: int = 1000,
    max_topics: int = 100,
    write_deadline: float = 30.0,
    leave_grace: float = 10.0,
    presence: PresenceMode = PresenceMode.FULL,
    sessions: SessionLimits | None = None,
    history: HistoryLimits | None = None,
    overflow: Overflow = Overflow.DISCONNECT,
    broker: Callable[[RulesOf, ReplayLimits | None], MemoryBroker] = MemoryBroker,
) -> AsyncIterator[House]:
    """Open the services, and send all guests away at the end."""
    registry = Registry()
    hub = open_hub(history, capacity=capacity, overflow=overflow, max_topics=max_topics, broker=broker)
    gate = DrainGate(lambda: len(registry.streams), 25.0)
    rooms = Rooms(hub, Sessions(sessions), lambda _: presence, leave_grace)
    services = RoomServices(hub, registry, rooms, Pings(), gate)
    async with trio.open_nursery() as background:
        background.start_soon(services.pings.run)
        background.start_soon(rooms.run)
        async with trio.open_nursery() as nursery:
            house = House(services, nursery, write_deadline)
            yield house
            nursery.cancel_scope.cancel()
        await trio.sleep(leave_grace)
        await trio.testing.wait_all_tasks_blocked()
        background.cancel_scope.cancel()
    house.check_nothing_is_left()
