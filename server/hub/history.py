"""The history of one topic: its newest messages, bounded by number, age and bytes together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from .message import Message


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """What a topic keeps: the most messages, seconds and bytes.

    Whatever is reached first evicts the oldest.
    """

    messages: int = 1000
    seconds: float = 300.0
    size: int = 8 * 1024 * 1024


class History:
    """The buffered messages of a topic, oldest first."""

    __slots__ = ("_began", "_limits", "_messages", "floor", "purged_to", "seq", "size")

    def __init__(self, limits: HistoryLimits, floor: int) -> None:
        """`floor` is the offset up to which nothing is known of the topic: what it may have held has been
        forgotten.
        """
        self._limits = limits
        self._messages: deque[Message] = deque()
        self.floor = floor
        """Offset of the newest message that is gone.  It never goes back."""
        self.seq = 0
        """`seq` of the newest message ever."""
        self.purged_to = 0
        """Offset up to which messages were taken out on demand."""
        self._began = -1
        self.size = 0
        """Bytes that the buffered messages are reckoned at."""

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def first(self) -> Message | None:
        """The oldest buffered message."""
        return self._messages[0] if self._messages else None

    @property
    def last(self) -> Message | None:
        """The newest buffered message."""
        return self._messages[-1] if self._messages else None

    def append(self, message: Message) -> None:
        """Add the newest message, and evict what no longer fits.

        The newest itself may be too large to stay.
        """
        if self._began < 0 and not self.floor:
            self._began = message.id.offset
        self._messages.append(message)
        self.seq = message.seq
        self.size += message.size
        self.prune(message.stored_at)

    def prune(self, now: float) -> None:
        """Evict what is over the limits at `now`, of Trio's clock."""
        limits = self._limits
        oldest = now - limits.seconds
        messages = self._messages
        while messages and (
            len(messages) > limits.messages or self.size > limits.size or messages[0].stored_at < oldest
        ):
            gone = messages.popleft()
            self.size -= gone.size
            self.floor = gone.id.offset

    def purge(self) -> None:
        """Take all messages out."""
        if self._messages:
            self.floor = self.purged_to = self._messages[-1].id.offset
        self._messages.clear()
        self.size = 0

    @property
    def floor_seq(self) -> int:
        """`seq` of the newest message that is gone."""
        return self.seq - len(self._messages)

    def seq_at(self, offset: int) -> int | None:
        """`seq` of the newest message up to `offset`, None where that is gone and not known."""
        if offset < self._began:
            return 0
        if offset < self.floor:
            return None
        return self.floor_seq + self._index_after(offset)

    def newest_first(self) -> Iterator[Message]:
        """The buffered messages."""
        return reversed(self._messages)

    def after(self, offset: int, limit: int) -> list[Message]:
        """At most `limit` messages behind `offset`, oldest first."""
        start = self._index_after(offset)
        return list(islice(self._messages, start, start + limit))

    def from_end(self, count: int) -> Message | None:
        """The oldest of the newest `count` messages, None where there is none."""
        kept = min(count, len(self._messages))
        return self._messages[-kept] if kept else None

    def _index_after(self, offset: int) -> int:
        messages = self._messages
        low, high = 0, len(messages)
        while low < high:
            middle = (low + high) // 2
            if messages[middle].id.offset <= offset:
                low = middle + 1
            else:
                high = middle
        return low
