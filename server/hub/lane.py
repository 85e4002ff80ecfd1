"""A lane: what waits of one topic for one subscription.

A memory channel of fixed capacity, never waited on: what does not fit is dealt with as the topic's overflow
says.  The oldest item stands before the channel, where it can be looked at: a reader of several topics takes
from all lanes in the order of ids.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import trio

from .cursor import Cursor
from .message import Gap, Message, Notice
from .rules import Overflow, TopicRules

Waiting = Message | Notice | Gap


class Lane:
    """Items of `topic`, oldest first."""

    __slots__ = (
        "_head",
        "_missed",
        "_missed_from",
        "_missed_to",
        "_receive",
        "_rules",
        "_send",
        "count",
        "size",
        "topic",
    )

    def __init__(self, topic: str, rules: TopicRules) -> None:
        self.topic = topic
        self.count = 0
        """Items that wait."""
        self.size = 0
        """Bytes that they are reckoned at."""
        self._rules = rules
        self._head: Waiting | None = None
        self._missed = 0
        self._missed_from: Cursor | None = None
        self._missed_to: Cursor | None = None
        self._send, self._receive = trio.open_memory_channel[Waiting](rules.capacity - 1)

    @property
    def overflow(self) -> Overflow:
        """What the topic does where there is no room."""
        return self._rules.overflow

    def has_room(self, count: int, size: int) -> bool:
        """Whether `count` items of `size` bytes together fit in beside what waits."""
        if not self.count:
            return count <= self._rules.capacity
        return self.count + count <= self._rules.capacity and self.size + size <= self._rules.capacity_bytes

    def put(self, item: Waiting) -> None:
        """Add the newest item, for which there is room."""
        if self._head is None:
            self._head = item
        else:
            self._send.send_nowait(item)
        self.count += 1
        self.size += item.size

    def drop_oldest(self) -> None:
        """Take the oldest item out, to be told of as missed."""
        item = self._pop()
        if isinstance(item, Message):
            self.miss(item)

    def miss(self, message: Message) -> None:
        """Count `message` as one that the reader does not get."""
        self._missed += 1
        self._missed_from = self._missed_from or message.id
        self._missed_to = message.id

    def replace_all(self, item: Waiting) -> None:
        """Let `item` alone wait."""
        while self.count:
            self._pop()
        self.put(item)

    def offset(self) -> float:
        """Where the next item that `take` gives stands among all topics.  Notices stand before all else."""
        if self._missed_from is not None:
            # Before any other topic's message behind it: whoever holds that id has been told.
            return self._missed_from.offset
        match self._head:
            case Message(id=id):
                return id.offset
            case Gap(id=id):
                # All topics' messages up to its id come first.
                return id.offset + 0.5
        return -1

    def has_any(self) -> bool:
        """Whether `take` would give something."""
        return self.count > 0 or self._missed_to is not None

    def take(self) -> Waiting:
        """The next item: first a gap for what was dropped, then the oldest that waits."""
        if self._missed_to is not None:
            gap = Gap(self._missed_to, "overflow", ((self.topic, self._missed),))
            self._missed, self._missed_from, self._missed_to = 0, None, None
            return gap
        return self._pop()

    def close(self) -> None:
        """Give the channel up, and what waits with it."""
        self._head = None
        self._send.close()
        self._receive.close()

    def _pop(self) -> Waiting:
        item = self._head
        assert item is not None
        self.count -= 1
        self.size -= item.size
        self._head = self._receive.receive_nowait() if self.count else None
        return item


def gap_before(gap: Gap, offset: float) -> Gap:
    """`gap` where the next item, of whatever topic, stands at `offset`: its id must not skip that."""
    to = ceil(offset) - 1
    return gap if not 0 <= to < gap.id.offset else replace(gap, id=Cursor(gap.id.epoch, to))
