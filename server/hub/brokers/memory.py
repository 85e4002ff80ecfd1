"""The broker in memory: bounded histories, no durability, one node.

What is published is visible in the same step.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import trio

from ..broker import Deliver, Page, TopicHistory
from ..cursor import Cursor, new_epoch
from ..history import History, HistoryLimits
from ..message import Draft, Gap, GapReason, Message

_NOTHING = TopicHistory(first=None, last=None, buffered=0, size=0)


class MemoryBroker:
    """Keeps the newest messages of each topic.

    Everything is gone with the process; a new one has a new epoch.
    """

    def __init__(self, limits: HistoryLimits) -> None:
        self._limits = limits
        self._epoch = new_epoch()
        self._offset = 0
        self._histories: dict[str, History] = {}
        self._forgotten_floor = 0
        self._deliver: Deliver = _deliver_to_nobody
        self.size = 0
        """Bytes that all histories together are reckoned at."""

    @property
    def head(self) -> Cursor:
        """Behind the newest message of the store."""
        return Cursor(self._epoch, self._offset)

    def attach(self, deliver: Deliver) -> None:
        """Deliver to this hub from now on."""
        self._deliver = deliver

    async def publish(self, drafts: Sequence[Draft]) -> list[Message]:
        """Store and deliver `drafts` in one step, without a checkpoint: nothing can come between or cancel
        it.
        """
        now, wall = trio.current_time(), time.time()
        messages = []
        for draft in drafts:
            history = self._histories.get(draft.topic)
            if history is None:
                history = self._histories[draft.topic] = History(self._limits, self._forgotten_floor)
            self._offset += 1
            message = Message(draft, Cursor(self._epoch, self._offset), history.seq + 1, wall, now)
            self.size -= history.size
            history.append(message.without_retry())
            self.size += history.size
            messages.append(message)
        self._deliver(messages)
        return messages

    async def replay(self, topic: str, after: Cursor | None, limit: int) -> Page:
        """See `Broker.replay`.  Without a checkpoint: a short page and what follows it are one step."""
        history = self._pruned(topic)
        if history is None:
            return Page(self._gap_of_unknown(topic, after), [])
        if after is None:
            return Page(None, history.after(history.floor, limit))
        if not self._is_ours(after):
            return self._from_start(topic, history, "epoch", limit)
        if after.offset < history.floor:
            return self._from_start(topic, history, "evicted", limit)
        return Page(None, history.after(after.offset, limit))

    def rewound(self, topic: str, count: int) -> Cursor:
        """See `Broker.rewound`."""
        history = self._pruned(topic)
        message = history.from_end(count) if history is not None else None
        return self.head if message is None else Cursor(self._epoch, message.id.offset - 1)

    def history(self, topic: str) -> TopicHistory:
        """What is kept of `topic`, nothing where it is not known."""
        history = self._pruned(topic)
        if history is None or history.first is None or history.last is None:
            return _NOTHING
        return TopicHistory(history.first.id, history.last.id, len(history), history.size)

    def forget(self, topic: str) -> bool:
        """Forget `topic` where nothing is kept of it.

        Old cursors meet a gap all the same: the store remembers the floor.
        """
        history = self._pruned(topic)
        if history is None:
            return True
        if len(history):
            return False
        self._forgotten_floor = max(self._forgotten_floor, history.floor)
        del self._histories[topic]
        return True

    def _pruned(self, topic: str) -> History | None:
        history = self._histories.get(topic)
        if history is not None:
            self.size -= history.size
            history.prune()
            self.size += history.size
        return history

    def _is_ours(self, cursor: Cursor) -> bool:
        return cursor.epoch == self._epoch and cursor.offset <= self._offset

    def _gap_of_unknown(self, topic: str, after: Cursor | None) -> Gap | None:
        if after is None:
            return None
        if not self._is_ours(after):
            return Gap(self.head, "epoch", ((topic, None),))
        if after.offset < self._forgotten_floor:
            return Gap(self.head, "evicted", ((topic, None),))
        return None

    def _from_start(self, topic: str, history: History, reason: GapReason, limit: int) -> Page:
        messages = history.after(history.floor, limit)
        before = Cursor(self._epoch, messages[0].id.offset - 1) if messages else self.head
        # How many messages a cursor has missed is not kept: their `seq` went with them.
        return Page(Gap(before, reason, ((topic, None),)), messages)


def _deliver_to_nobody(messages: Sequence[Message]) -> None:
    """Until a hub is attached."""
