"""A lane: what waits of one topic for one subscription.

A memory channel of fixed capacity, never waited on: what does not fit is dealt with as the topic's overflow
says.  The oldest item stands before the channel, where it can be looked at: a reader of several topics takes
from all lanes in the order of ids.
"""

from __future__ import annotations

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
        "_missed_from",
        "_missed_to",
        "_receive",
        "_rules",
        "_send",
        "count",
        "missed",
        "size",
        "topic",
    )

    def __init__(self, topic: str, rules: TopicRules) -> None:
        self.topic = topic
        self.count = 0
        """Items that wait."""
        self.size = 0
        """Bytes that they are reckoned at."""
        self.missed = 0
        """Messages that were dropped, and that the reader has not been told of."""
        self._rules = rules
        self._head: Waiting | None = None
        self._missed_from = 0
        self._missed_to: Cursor | None = None
        self._send, self._receive = trio.open_memory_channel[Waiting](rules.capacity - 1)

    @property
    def overflow(self) -> Overflow:
        """What the topic does where there is no room."""
        return self._rules.overflow

    def has_room(self, count: int, size: int) -> bool:
        """Whether `count` items of `size` bytes together fit in beside what waits."""
        if not self.count:
            alone = count == 1 or size <= self._rules.capacity_bytes
            return alone and count <= self._rules.capacity
        return self.count + count <= self._rules.capacity and self.size + size <= self._rules.capacity_bytes

    def put(self, item: Waiting) -> None:
        """Add the newest item, for which there is room."""
        if self._head is None:
            self._head = item
        else:
            self._send.send_nowait(item)
        self.count += 1
        self.size += item.size

    def drop_oldest(self) -> int:
        """Take the oldest item out, to be told of as missed; how many messages that is."""
        item = self._pop()
        if not isinstance(item, Message):
            return 0
        self.miss(item)
        return 1

    def miss(self, message: Message) -> None:
        """Count `message`, newer than all that were dropped, as one that the reader does not get."""
        if not self.missed:
            self._missed_from = message.id.offset
        self.missed += 1
        self._missed_to = message.id

    def replace_all(self, item: Waiting) -> None:
        """Let `item` alone wait."""
        while self.count:
            self._pop()
        self.put(item)

    def offset(self) -> float:
        """Where the next item stands among those of all topics.  Notices stand before all else.

        What was dropped stands where the first of it would have been: a reader that is cut off behind a later
        message of another topic must have been told of it.
        """
        if self.missed:
            return self._missed_from
        head = self._head
        if isinstance(head, Message):
            return head.id.offset
        # A gap is behind the message whose id it may have in common: that may be another topic's.
        return head.id.offset + 0.5 if isinstance(head, Gap) else -1

    def has_any(self) -> bool:
        """Whether there is something to take."""
        return self.count > 0 or self.missed > 0

    def take(self) -> Waiting:
        """The oldest item that waits, where nothing is `missed`."""
        return self._pop()

    def take_gap(self, following: float) -> Gap:
        """The gap for what is `missed`, to be taken first.

        `following` is where the next item of another topic stands: the gap's id does not pass that, though
        some of what was dropped may be behind it.  Who resumes there gets that if history still has it.
        """
        end = self._missed_to
        assert end is not None
        if following <= end.offset:
            end = end._replace(offset=ceil(following) - 1)
        gap = Gap(end, "overflow", ((self.topic, self.missed),))
        self.missed, self._missed_to = 0, None
        return gap

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
