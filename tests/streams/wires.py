"""What an event stream needs, without a server around it: services over memory, and connections for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from server.hub import Draft, Earliest, Live, Selection
from server.lifecycle import Registry, RequestHead
from server.streams import EventServices, EventStream, Heartbeats
from server.transport import DrainGate, Framing, Sent
from tests.support.hubs import open_hub
from tests.support.sse import Event, SSEParser


@asynccontextmanager
async def open_services(**limits: Any) -> AsyncIterator[EventServices]:
    """Hub, registry, heartbeats and gate, as an application has them."""
    registry = Registry()
    services = EventServices(
        open_hub(**limits),
        registry,
        Heartbeats(15.0),
        DrainGate(lambda: len(registry.streams), 25.0),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(services.heartbeats.run)
        yield services
        nursery.cancel_scope.cancel()


def event_stream(services: EventServices, *, catch_up: bool = False) -> EventStream:
    head = RequestHead("GET", "/topics/t/events", "", ())
    return EventStream(services, head, Selection(("t",)), Earliest() if catch_up else Live())


async def publish(services: EventServices, *texts: str) -> None:
    await services.hub.publish([Draft("t", text, text=True) for text in texts])


class Wire:
    """A connection that takes everything, at once where it is free."""

    framing = Framing.IDENTITY

    def __init__(self) -> None:
        self.bytes_sent = 0
        self.events: list[Event] = []
        self._parser = SSEParser()
        self._busy = False

    @property
    def data(self) -> list[str]:
        """The data of the messages that arrived."""
        return [event.data for event in self.events if event.event == "message" and event.data is not None]

    def try_send(self, frame: bytes) -> Sent:
        if self._busy:
            return Sent.BUSY
        self._take(frame)
        return Sent.SENT

    async def send_all(self, data: bytes) -> None:
        self._busy = True
        await trio.lowlevel.checkpoint()
        self._take(data)
        self._busy = False

    def _take(self, data: bytes) -> None:
        self.bytes_sent += len(data)
        self.events += self._parser.feed(data)
