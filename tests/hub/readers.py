"""Subscribers for tests of the hub: a sink that answers as told, and a reader that writes what it is given.

What reached the client is in `Sink.wire`, in order, as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import trio
from trio.testing import wait_all_tasks_blocked

from server.hub import (
    Draft,
    Form,
    Gap,
    Heartbeat,
    Hub,
    Item,
    Live,
    Message,
    Notice,
    Selection,
    Start,
    Subscription,
)
from server.lifecycle import CloseReason
from server.transport import Sent


def form(item: Message | Notice | Gap | Heartbeat) -> bytes:
    """A message as its text on a line, anything else as a word."""
    match item:
        case Message():
            return f"{item.data}\n".encode()
        case Gap():
            return f"gap {item.reason}\n".encode()
        case _:
            return b"heartbeat\n"


def full_form(item: Message | Notice | Gap | Heartbeat) -> bytes:
    """All that a client is told, on a line: the kind, where it stands, and what it says."""
    match item:
        case Message():
            return f"message {item.id.offset} {item.topic} {item.data}\n".encode()
        case Gap():
            missed = ",".join(f"{topic}={count}" for topic, count in item.topics)
            return f"gap {item.id.offset} {item.reason} {missed}\n".encode()
        case Heartbeat() if item.id is not None:
            return f"heartbeat {item.id.offset}\n".encode()
        case _:
            return f"{type(item).__name__.lower()}\n".encode()


class Sink:
    """A connection's ordered writes: `answers` to `try_send`, then `then` for ever.

    As `OrderedStream` does, it keeps the rest of a frame that was taken in part, and is busy until that has
    been flushed.
    """

    def __init__(self, answers: Iterable[Sent] = (), then: Sent = Sent.SENT, form: Form = form) -> None:
        self.wire: list[str] = []
        self.form = form
        self.offered = 0
        self._answers = iter(answers)
        self._then = then
        self._rest: bytes | None = None

    def try_send(self, frame: bytes) -> Sent:
        self.offered += 1
        if self._rest is not None:
            return Sent.BUSY
        sent = next(self._answers, self._then)
        if sent is Sent.SENT:
            self.wire += frame.decode().splitlines()
        elif sent is Sent.KEPT:
            self._rest = frame
        return sent

    def write(self, batch: Sequence[Item]) -> None:
        """What `send_all` would do with the frames of `batch`."""
        rest, self._rest = self._rest, None
        frames = [rest or b"", *(item.frame(self.form) for item in batch)]
        self.wire += b"".join(frames).decode().splitlines()


class Subscriber:
    """A subscription of `hub` with its sink, and the reasons it was closed with."""

    def __init__(
        self,
        hub: Hub,
        sink: Sink | None = None,
        topic: str = "t",
        *topics: str,
        start: Start | None = None,
        visible_heartbeat: bool = False,
    ) -> None:
        self.sink = sink or Sink()
        self.closed: list[CloseReason] = []
        self.subscription: Subscription = hub.subscribe(
            Selection.of((topic, *topics)),
            start or Live(),
            form=self.sink.form,
            visible_heartbeat=visible_heartbeat,
            sink=self.sink,
            close=self.closed.append,
        )

    @property
    def wire(self) -> list[str]:
        return self.sink.wire

    async def run(self, pauses: Iterable[float] = ()) -> None:
        """Write what comes until cancelled or ended, pausing before each write."""
        waits = iter(pauses)
        async for batch in self.subscription:
            await trio.sleep(next(waits, 0))
            self.sink.write(batch)

    async def write_once(self) -> None:
        """Write one batch."""
        self.sink.write(await anext(self.subscription))

    async def write_what_waits(self) -> None:
        """Write batches until nothing more comes by itself, or the subscription ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()


def drafts(*texts: str, topic: str = "t") -> list[Draft]:
    return [Draft(topic, text) for text in texts]
