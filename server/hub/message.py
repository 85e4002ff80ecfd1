"""What flows through the hub: messages, and the notices that stand between them.

A message is immutable and is turned into bytes once for each wire form, however many subscribers there are.
A *form* is a plain function from an item to bytes; the function itself is the key of the cache.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from .cursor import Cursor

OVERHEAD = 512
"""Bytes that a message costs beyond its text, measured roughly: objects, cursor, cached frame heads."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who a message comes from, where that is told: the member, its own reference, or a label given by the
    server side.
    """

    sender: str | None = None
    ref: str | None = None
    label: str | None = None


class Draft(msgspec.Struct, frozen=True):
    """A message before the broker has given it a place.

    `data` is JSON on one line, or, where `text` is true, text as it came.  `retry` is in milliseconds.
    """

    topic: str
    data: str
    event: str | None = None
    retry: int | None = None
    text: bool = False
    origin: Origin | None = None


class Message:
    """One immutable entry of a topic.

    `seq` counts the topic's messages from 1 without holes; `time` is Unix time, for display; `stored_at` is
    Trio's clock, for age; `size` is in bytes, what it is reckoned at wherever bytes are bounded.
    """

    __slots__ = (
        "_frames",
        "data",
        "event",
        "id",
        "origin",
        "retry",
        "seq",
        "size",
        "stored_at",
        "text",
        "time",
        "topic",
    )

    def __init__(self, draft: Draft, id: Cursor, seq: int, time: float, stored_at: float) -> None:
        self.topic = draft.topic
        self.data = draft.data
        self.event = draft.event
        self.retry = draft.retry
        self.text = draft.text
        self.origin = draft.origin
        self.id = id
        self.seq = seq
        self.time = time
        self.stored_at = stored_at
        self.size = reckoned_size(draft.data)
        self._frames: dict[Form, bytes] = {}

    def without_retry(self) -> Message:
        """The same message as history keeps it: a `retry` is for the connections of its moment."""
        if self.retry is None:
            return self
        draft = Draft(self.topic, self.data, self.event, None, self.text, self.origin)
        return Message(draft, self.id, self.seq, self.time, self.stored_at)

    def frame(self, form: Form) -> bytes:
        """This message in `form`, made at the first call."""
        frame = self._frames.get(form)
        if frame is None:
            frame = self._frames[form] = form(self)
        return frame


class Burst:
    """Messages that were published at once, of one topic or several, in order: they leave in one write where
    they can.
    """

    __slots__ = ("_frames", "messages")

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self._frames: dict[Form, bytes] = {}

    def frame(self, form: Form) -> bytes:
        """All of them in `form`, one behind the other, made at the first call."""
        frame = self._frames.get(form)
        if frame is None:
            frame = self._frames[form] = b"".join([message.frame(form) for message in self.messages])
        return frame


BURST_BYTES = 64 * 1024
"""What a burst is reckoned at may come to this, or one message."""


def in_bursts(messages: Sequence[Message]) -> Iterator[Message | Burst]:
    """`messages`, in order, as bursts; a message alone as itself."""
    start, size = 0, 0
    for index, message in enumerate(messages):
        size += message.size
        if index > start and size > BURST_BYTES:
            yield _burst(messages[start:index])
            start, size = index, message.size
    if messages:
        yield _burst(messages[start:])


def _burst(messages: Sequence[Message]) -> Message | Burst:
    return messages[0] if len(messages) == 1 else Burst(messages)


def reckoned_size(data: str) -> int:
    """What a message with this text is reckoned at: the text as Python holds it, and one cached frame of it.

    A single character beyond ASCII can make the former four times the latter, and every line of the text is
    a field of its own in the latter: a mebibyte of line ends is a frame of seven.
    """
    if data.isascii():
        held = encoded = len(data)
    else:
        held, encoded = sys.getsizeof(data), len(data.encode())
    lines = 0
    if "\n" in data or "\r" in data:
        lines = data.count("\n") + data.count("\r") - data.count("\r\n")
    return held + encoded + lines * len("data: ") + OVERHEAD


GapReason = Literal["evicted", "overflow", "epoch", "limit", "purged"]


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages that a subscriber will not get.  `id` stands just before the first message that follows.

    `topics` names each topic with the number missed, None where it is not known.
    """

    id: Cursor
    reason: GapReason
    topics: tuple[tuple[str, int | None], ...]
    size: int = OVERHEAD

    def frame(self, form: Form) -> bytes:
        """This gap in `form`."""
        return form(self)


class Notice:
    """Something for subscribers that is no message: it has no id, is not kept, and is not replayed.

    `payload` is what the forms of its topic know how to encode.  One that is `droppable` is the first thing
    that a subscription with much to read goes without.
    """

    __slots__ = ("_frames", "droppable", "payload", "size")

    def __init__(self, payload: object, size: int = OVERHEAD, *, droppable: bool = False) -> None:
        self.payload = payload
        self.droppable = droppable
        self.size = size
        self._frames: dict[Form, bytes] = {}

    def frame(self, form: Form) -> bytes:
        """This notice in `form`, made at the first call."""
        frame = self._frames.get(form)
        if frame is None:
            frame = self._frames[form] = form(self)
        return frame


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing has happened, and the connection stands.

    With `id`, where the stream stands, it is shown to the client.
    """

    id: Cursor | None = None
    size: int = 0

    def frame(self, form: Form) -> bytes:
        """A heartbeat in `form`."""
        return form(self)


@dataclass(frozen=True, slots=True)
class Flush:
    """No bytes of its own: what the kernel did not take of the frame before is waiting to be written."""

    size: int = 0

    def frame(self, form: Form) -> bytes:  # noqa: ARG002 - the same in every form
        """Nothing."""
        return b""


JOINED_BYTES = 64 * 1024
"""What is waiting is joined into writes of about this size."""


def joined(batch: Sequence[Item], form: Form) -> Iterator[bytes]:
    """The frames of `batch` in few writes.  At least one, be it empty, where the batch has an item."""
    frames: list[bytes] = []
    size = 0
    for item in batch:
        frame = item.frame(form)
        frames.append(frame)
        size += len(frame)
        if size >= JOINED_BYTES:
            yield b"".join(frames)
            frames.clear()
            size = 0
    if frames:
        yield b"".join(frames)


Item = Message | Notice | Gap | Heartbeat | Flush
Form = Callable[[Message | Notice | Gap | Heartbeat], bytes]
