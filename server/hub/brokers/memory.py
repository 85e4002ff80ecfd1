"""The broker in memory: bounded histories, no durability, one node.

What is published is visible in the same step.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from weakref import WeakSet

import trio

from ..broker import Deliver, Excerpt, ReplayLimits, TopicHistory
from ..cursor import Cursor, new_epoch
from ..history import History
from ..message import Draft, Gap, Message
from ..rules import RulesOf
from ..selection import Selection
from ..start import Start
from .memory_replay import MemoryReplay, Missing, missing_behind

_NOTHING = TopicHistory(first=None, last=None, buffered=0, size=0)


class MemoryBroker:
    """Keeps the newest messages of each topic.

    Everything is gone with the process; a new one has a new epoch.
    """

    def __init__(self, rules_of: RulesOf, replay_limits: ReplayLimits | None = None) -> None:
        self.rules_of = rules_of
        self.replay_limits = replay_limits or ReplayLimits()
        self.epoch = new_epoch()
        self.size = 0
        """Bytes that all histories together are reckoned at."""
        self.forgotten_floor = 0
        """Offset up to which topics that were forgotten may have had messages."""
        self._offset = 0
        self._histories: dict[str, History] = {}
        # Those that are being read: what is forgotten under them they have to tell of.
        self._replays: WeakSet[MemoryReplay] = WeakSet()
        self._deliver: Deliver = _deliver_to_nobody

    @property
    def head(self) -> Cursor:
        """Behind the newest message of the store."""
        return Cursor(self.epoch, self._offset)

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
                limits = self.rules_of(draft.topic).history
                history = self._histories[draft.topic] = History(limits, self.forgotten_floor)
            self._offset += 1
            message = Message(draft, Cursor(self.epoch, self._offset), history.seq + 1, wall, now)
            self.size -= history.size
            history.append(message.without_retry())
            self.size += history.size
            messages.append(message)
        self._deliver(messages)
        return messages

    def open_replay(self, selection: Selection, start: Start) -> MemoryReplay:
        """See `Broker.open_replay`."""
        replay = MemoryReplay(self, selection, start)
        if replay.needed:
            self._replays.add(replay)
        return replay

    def excerpt(self, topic: str, after: Cursor | None, before: Cursor | None, limit: int) -> Excerpt:
        """See `Broker.excerpt`."""
        history = self.pruned(topic)
        kept: Iterator[Message] = iter(())
        end = before.offset if before is not None and self.is_ours(before) else self._offset + 1
        if after is None:
            if history is not None:
                kept = (message for message in history.newest_first() if message.id.offset < end)
            found = list(islice(kept, limit + 1))
            more = len(found) > limit
            messages = found[limit - 1 :: -1] if more else found[::-1]
        else:
            begin = after.offset if self.is_ours(after) else 0
            if history is not None:
                kept = (message for message in history.after(begin, limit + 1) if message.id.offset < end)
            found = list(kept)
            more = len(found) > limit
            messages = found[:limit]
        following = messages[0].id.offset if messages else min(end, self._offset + 1)
        missing = self._missing(topic, history, after, before)
        gap = missing and Gap(Cursor(self.epoch, following - 1), missing.reason, ((topic, missing.missed),))
        return Excerpt(gap, messages, more)

    def _missing(
        self, topic: str, history: History | None, after: Cursor | None, before: Cursor | None
    ) -> Missing | None:
        """What is missing from an excerpt between these cursors."""
        if any(cursor is not None and not self.is_ours(cursor) for cursor in (after, before)):
            return Missing(0, "epoch", topic, None)
        if after is None:
            return None
        if history is not None:
            return missing_behind(topic, history, after.offset, history.seq_at(after.offset))
        floor = self.forgotten_floor
        return Missing(floor, "evicted", topic, None) if after.offset < floor else None

    def history(self, topic: str) -> TopicHistory:
        """What is kept of `topic`, nothing where it is not known."""
        history = self.pruned(topic)
        if history is None or history.first is None or history.last is None:
            return _NOTHING
        return TopicHistory(history.first.id, history.last.id, len(history), history.size)

    def purge(self, topic: str) -> Gap:
        """See `Broker.purge`."""
        history = self._histories.get(topic)
        if history is not None:
            self.size -= history.size
            history.purge()
        # Whoever is live has had, or has waiting, all that there was.
        return Gap(self.head, "purged", ((topic, 0),))

    def forget(self, topic: str) -> bool:
        """Forget `topic` where nothing is kept of it.

        Old cursors meet a gap all the same: the store remembers the floor.
        """
        history = self.pruned(topic)
        if history is None:
            return True
        if len(history):
            return False
        for replay in self._replays:
            replay.forget(topic, history)
        self.forgotten_floor = max(self.forgotten_floor, history.floor)
        del self._histories[topic]
        return True

    def drop(self, topic: str) -> None:
        """See `Broker.drop`."""
        history = self._histories.pop(topic, None)
        if history is not None:
            self.size -= history.size

    # For replays of this store.

    def matching(self, selection: Selection) -> Iterator[tuple[str, History]]:
        """The topics of `selection` that have a history, what is too old taken out."""
        for name in selection.names:
            history = self.pruned(name)
            if history is not None:
                yield name, history
        if selection.prefixes:
            for name, history in self._histories.items():
                if name.startswith(selection.prefixes) and "/" not in name:
                    self._prune(history)
                    yield name, history

    def is_ours(self, cursor: Cursor) -> bool:
        """Whether this store can have given `cursor`."""
        return cursor.epoch == self.epoch and cursor.offset <= self._offset

    def pruned(self, topic: str) -> History | None:
        """The history of `topic`, what is too old taken out."""
        history = self._histories.get(topic)
        if history is not None:
            self._prune(history)
        return history

    def _prune(self, history: History) -> None:
        self.size -= history.size
        history.prune(trio.current_time())
        self.size += history.size


def _deliver_to_nobody(messages: Sequence[Message]) -> None:
    """Until a hub is attached."""
