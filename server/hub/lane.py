"""A lane: what waits of one topic for one subscription.

Memory channels of fixed capacity, never waited on: what does not fit is dealt with as the topic's overflow
says.  Messages, notices, and notices that may be dropped wait in queues of their own, since they give way to
each other; a running number keeps them in one order.  The oldest of each stands before its channel, where it
can be looked at: a reader of several topics takes from all lanes in the order of ids.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import trio

from .cursor import Cursor
from .message import Gap, Message, Notice
from .rules import Overflow, TopicRules

Waiting = Message | Notice | Gap


class _Numbered(NamedTuple):
    number: int
    item: Waiting


class _Queue:
    """Items of one kind, oldest first."""

    __slots__ = ("_receive", "_send", "count", "head")

    def __init__(self, capacity: int) -> None:
        self.count = 0
        self.head: _Numbered | None = None
        self._send, self._receive = trio.open_memory_channel[_Numbered](capacity - 1)

    def put(self, numbered: _Numbered) -> None:
        if self.head is None:
            self.head = numbered
        else:
            self._send.send_nowait(numbered)
        self.count += 1

    def pop(self) -> Waiting:
        head = self.head
        assert head is not None
        self.count -= 1
        self.head = self._receive.receive_nowait() if self.count else None
        return head.item

    def close(self) -> None:
        self.head = None
        self._send.close()
        self._receive.close()


class Lane:
    """Items of `topic`, oldest first."""

    __slots__ = (
        "_messages",
        "_missed_from",
        "_missed_to",
        "_notices",
        "_number",
        "_rules",
        "_signals",
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
        self._missed_from = 0
        self._missed_to: Cursor | None = None
        self._number = 0
        self._messages = _Queue(rules.capacity)
        # Few topics have notices: these are made when they come.
        self._notices: _Queue | None = None
        self._signals: _Queue | None = None

    @property
    def overflow(self) -> Overflow:
        """What the topic does where there is no room."""
        return self._rules.overflow

    @property
    def messages(self) -> int:
        """Messages that wait, and gaps of the topic."""
        return self._messages.count

    def has_room(self, count: int, size: int) -> bool:
        """Whether `count` items of `size` bytes together fit in beside what waits."""
        if not self.count:
            alone = count == 1 or size <= self._rules.capacity_bytes
            return alone and count <= self._rules.capacity
        return self.count + count <= self._rules.capacity and self.size + size <= self._rules.capacity_bytes

    def has_room_to_spare(self, size: int) -> bool:
        """Whether half of the lane would stay free beside one more item of `size` bytes."""
        rules = self._rules
        return self.count + 1 <= rules.capacity // 2 and self.size + size <= rules.capacity_bytes // 2

    def put(self, item: Waiting) -> None:
        """Add the newest item, for which there is room."""
        self._number += 1
        self._queue_of(item).put(_Numbered(self._number, item))
        self.count += 1
        self.size += item.size

    def drop_oldest(self) -> int:
        """Take the oldest message, or gap, out, to be told of as missed; how many messages that is."""
        item = self._pop(self._messages)
        if not isinstance(item, Message):
            return 0
        self.miss(item)
        return 1

    def drop_messages(self) -> None:
        """Take all messages out, as if they had not been."""
        self._clear(self._messages)

    def drop_signals(self) -> int:
        """Take out what may be dropped; how much there was."""
        if self._signals is None:
            return 0
        count = self._signals.count
        self._clear(self._signals)
        return count

    def miss(self, message: Message) -> None:
        """Count `message`, newer than all that were dropped, as one that the reader does not get."""
        if not self.missed:
            self._missed_from = message.id.offset
        self.missed += 1
        self._missed_to = message.id

    def offset(self) -> float:
        """Where the next item stands among those of all topics.  Notices stand before all else.

        What was dropped stands where the first of it would have been: a reader that is cut off behind a later
        message of another topic must have been told of it.
        """
        if self.missed:
            return self._missed_from
        head = self._next().head
        assert head is not None
        item = head.item
        if isinstance(item, Message):
            return item.id.offset
        # A gap is behind the message whose id it may have in common: that may be another topic's.
        return item.id.offset + 0.5 if isinstance(item, Gap) else -1

    def has_any(self) -> bool:
        """Whether there is something to take."""
        return self.count > 0 or self.missed > 0

    def take(self) -> Waiting:
        """The oldest item that waits, where nothing is `missed`."""
        return self._pop(self._next())

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
        """Give the channels up, and what waits in them."""
        for queue in self._queues():
            queue.close()

    def _pop(self, queue: _Queue) -> Waiting:
        item = queue.pop()
        self.count -= 1
        self.size -= item.size
        return item

    def _clear(self, queue: _Queue) -> None:
        while queue.head is not None:
            self._pop(queue)

    def _queues(self) -> tuple[_Queue, ...]:
        if self._notices is None and self._signals is None:
            return (self._messages,)
        return tuple(queue for queue in (self._messages, self._notices, self._signals) if queue is not None)

    def _queue_of(self, item: Waiting) -> _Queue:
        if not isinstance(item, Notice):
            return self._messages
        if item.droppable:
            if self._signals is None:
                self._signals = _Queue(self._rules.capacity)
            return self._signals
        if self._notices is None:
            self._notices = _Queue(self._rules.capacity)
        return self._notices

    def _next(self) -> _Queue:
        """The queue whose oldest item is the oldest of all."""
        waiting = [queue for queue in self._queues() if queue.head is not None]
        return waiting[0] if len(waiting) == 1 else min(waiting, key=_number_of_head)


def _number_of_head(queue: _Queue) -> int:
    assert queue.head is not None
    return queue.head.number
