"""Event streams: a subscription of the hub as Server-Sent Events.

The stream's whole life is `EventStream.run`, which the connection awaits once the response is its own:
everything it holds is opened there with `with`, and however it ends, it ends through the registry with one
reason.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import trio

from ..hub import Form, Hub, Selection, Start, TopicsFullError, joined
from ..lifecycle import CloseReason, OpenStream, Registry, RequestHead, StreamKind, reconnects
from ..transport import ByteStream, DrainGate, Framing
from ..wire import json_text, sse
from .forms import EVENT_FORMS, framed
from .heartbeats import Heartbeats

FIRST_RETRY_MS = (1000, 5000)
"""Between which every stream's reconnection time is drawn, so that a crash brings no herd."""


@dataclass(frozen=True, slots=True)
class EventServices:
    """What event streams need of the server."""

    hub: Hub
    registry: Registry
    heartbeats: Heartbeats
    gate: DrainGate


@dataclass(frozen=True, slots=True)
class EventStream:
    """One subscriber over HTTP: to `selection`, from `start` on, each item in the one of `forms` that the
    stream's framing asks for.
    """

    services: EventServices
    head: RequestHead
    selection: Selection
    start: Start
    forms: Mapping[Framing, Form] = field(default_factory=lambda: EVENT_FORMS)
    visible_heartbeat: bool = False
    kind: StreamKind = "events"
    until: Callable[[OpenStream], AbstractContextManager[object]] = nullcontext
    """A context manager around the stream, which may end it as `completed`."""
    last: Callable[[], bytes] = bytes
    """The last events of a stream that is completed, before `closing`."""

    async def run(self, stream: ByteStream) -> None:
        """Write the stream until it ends.  Returning means that the answer is complete.

        Raises:
            trio.BrokenResourceError: the client is gone, or was too slow; the answer is to be cut off.
        """
        services = self.services
        with services.registry.open_stream(self.kind, self.head) as opened:
            try:
                try:
                    await self._follow(stream, opened)
                except TopicsFullError:
                    # The topic that the route had admitted was forgotten before anybody was subscribed to it.
                    opened.reason = opened.reason or CloseReason.LIMIT
                reason = opened.reason or CloseReason.COMPLETED
                last = self.last() if reason is CloseReason.COMPLETED else b""
                closing = last + closing_event(reason, services.gate.retry_ms())
                await stream.send_all(framed(closing, stream.framing))
            finally:
                opened.bytes_sent = stream.bytes_sent
        if opened.scope.cancelled_caught:
            raise trio.BrokenResourceError(f"the stream was ended: {opened.reason}")

    async def _follow(self, stream: ByteStream, opened: OpenStream) -> None:
        """Write the first block and then every message, until the subscription ends."""
        services = self.services
        form = self.forms[stream.framing]
        with (
            opened.hold("subscription"),
            services.hub.subscribe(
                self.selection,
                self.start,
                form=form,
                visible_heartbeat=self.visible_heartbeat,
                sink=stream,
                close=opened.close,
            ) as subscription,
            services.heartbeats.keep(subscription),
        ):
            opened.on_end(subscription.end)
            first = sse.encode_event(id=str(subscription.start), retry=random.randint(*FIRST_RETRY_MS))
            await stream.send_all(framed(first, stream.framing))
            with self.until(opened):
                async for batch in subscription:
                    for write in joined(batch, form):
                        await stream.send_all(write)


def closing_event(reason: CloseReason, retry_ms: int) -> bytes:
    """The last event of a stream that the server ends: why, whether to come back, and when (milliseconds)."""
    data = {"reason": reason.value, "reconnect": reconnects(reason), "retry_ms": retry_ms}
    return sse.encode_event(event="closing", data=json_text.encode(data), retry=retry_ms)


def refused_events(reason: CloseReason, retry_ms: int) -> bytes:
    """The whole body of an event stream that cannot be served for now.

    Any other answer than 200 with this, a 503 among them, would make EventSource give up for good.
    """
    return sse.encode_event(retry=retry_ms) + closing_event(reason, retry_ms)
