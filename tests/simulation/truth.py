"""What is true: everything a store has accepted, in order, and what it must have kept of it.

This is the simple model that clients are checked against: lists, nothing forgotten.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import trio

from server.hub import Cursor, Draft, Gap, MemoryBroker, Message

from .script import Server


class SimulationError(AssertionError):
    """A promise was not kept."""


def check(kept: bool, *what: object) -> None:
    """Fail with `what` unless `kept`."""
    if not kept:
        raise SimulationError(" ".join(map(str, what)))


@dataclass(frozen=True, slots=True)
class Entry:
    """A message as it was accepted; `index` counts those of its topic from 1, and never anew."""

    message: Message
    index: int
    size_to_here: int
    """Bytes of the topic's messages up to and with this one."""

    @property
    def topic(self) -> str:
        """Where it was published."""
        return self.message.topic

    @property
    def offset(self) -> int:
        """Its place among all."""
        return self.message.id.offset


class Truth:
    """One store's life."""

    def __init__(self, server: Server, epoch: str) -> None:
        self.server = server
        self.epoch = epoch
        self.entries: list[Entry] = []
        self.by_topic: dict[str, list[Entry]] = {}
        self.purged_to: dict[str, int] = {}

    @property
    def head(self) -> int:
        """Offset of the newest message."""
        return len(self.entries)

    def add(self, messages: Sequence[Message]) -> None:
        """Accept `messages`."""
        for message in messages:
            topic = self.by_topic.setdefault(message.topic, [])
            size = topic[-1].size_to_here if topic else 0
            entry = Entry(message, len(topic) + 1, size + message.size)
            self.entries.append(entry)
            check(message.id == Cursor(self.epoch, len(self.entries)), "offsets have a hole", message.id)
            following = topic[-1].message.seq + 1 if topic else 1
            anew = message.seq == 1 and self.server.forgets and all(map(self.is_gone, topic[-1:]))
            check(message.seq == following or anew, "seq has a hole", message.topic, message.seq)
            topic.append(entry)

    def entry(self, cursor: Cursor) -> Entry:
        """The message of that id."""
        check(cursor.epoch == self.epoch and 1 <= cursor.offset <= self.head, "no such message:", cursor)
        return self.entries[cursor.offset - 1]

    def between(self, after: int, to: int) -> Iterator[Entry]:
        """Messages behind offset `after`, up to `to`."""
        return iter(self.entries[after:to])

    def count(self, topic: str, offset: int) -> int:
        """How many messages `topic` had at `offset`."""
        return bisect_right(self.by_topic.get(topic, []), offset, key=lambda entry: entry.offset)

    def is_gone(self, entry: Entry) -> bool:
        """Whether the store must have evicted the message by now, or been told to."""
        topic = self.by_topic[entry.topic]
        limits = self.server.rules_of(entry.topic).history
        newer_and_it = topic[-1].size_to_here - entry.size_to_here + entry.message.size
        return (
            len(topic) - entry.index >= limits.messages
            or newer_and_it > limits.size
            or entry.message.stored_at < trio.current_time() - limits.seconds
            or entry.offset <= self.purged_to.get(entry.topic, 0)
        )

    def kept(self, topic: str) -> list[Entry]:
        """What the store must have of `topic`."""
        found = []
        for entry in reversed(self.by_topic.get(topic, [])):
            if self.is_gone(entry):
                break
            found.append(entry)
        return found[::-1]


class RecordingBroker(MemoryBroker):
    """The real broker, with a record of what it accepts."""

    truth: Truth

    async def publish(self, drafts: Sequence[Draft]) -> list[Message]:
        """Publish, and write down."""
        messages = await super().publish(drafts)
        for draft, message in zip(drafts, messages, strict=True):
            check((draft.topic, draft.data) == (message.topic, message.data), "not what was published")
        return messages

    def attach(self, deliver: object) -> None:
        """Write down each message before anybody is told of it."""

        def recorded(messages: Sequence[Message]) -> None:
            self.truth.add(messages)
            deliver(messages)  # type: ignore[operator]

        super().attach(recorded)

    def purge(self, topic: str) -> Gap:
        """Purge, and write down."""
        self.truth.purged_to[topic] = self.truth.head
        return super().purge(topic)
