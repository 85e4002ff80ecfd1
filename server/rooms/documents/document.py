"""A document in memory: the updates that make it up, and who edits it.

The updates are kept as one that was merged, and those that came since.  They are merged when somebody needs
to know what they miss, or when they have become many (`settle`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from ...hub import Subscription
from ...wire.y_protocol import NOTHING, AwarenessEntry
from .awareness import AwarenessStates
from .updates import EMPTY, UpdateError, Updates

DOCUMENT_TOPIC_PREFIX = "documents/"
"""Documents' topics have names that no client can give a topic: they hold a slash."""
MANY = 1024
"""Updates that are merged without anybody asking, and rows that the store has one put in place of."""
_STORED_SPARE = 1024 * 1024
_MANY_BYTES = 64 * 1024
_STATE_KEPT = 4096
"""Bytes of a state vector that is kept and not asked for again: one of a few hundred clients."""
_OVERHEAD = 64
"""Bytes that an update by itself is reckoned at beside its own."""

_log = logging.getLogger("sluiceway.documents")


@dataclass(eq=False, slots=True)
class Editor:
    """Somebody's connection to a document, and the clients of Yjs it has spoken for."""

    subscription: Subscription
    clients: set[int] = field(default_factory=set)


class Document:
    """One document.  Everything here happens at once: nothing waits."""

    def __init__(self, name: str, updates: Updates, merged: bytes = EMPTY) -> None:
        self.name = name
        self.topic = DOCUMENT_TOPIC_PREFIX + name
        self.editors: dict[Editor, None] = {}
        self.awareness = AwarenessStates()
        self.users = 0
        """Who keeps it from being forgotten: editors, and updates on their way into the store."""
        self.reserved = 0
        """Bytes of updates on their way into the store."""
        self.reckoned = 0
        """Its size when that was last added up."""
        self.last_row = 0
        """The newest row of it in the store."""
        self.rows = 0
        """How many rows the store has of it."""
        self.stored = 0
        """Bytes that these have."""
        self._updates = updates
        self._merged = merged
        self._state: bytes | None = None
        self._tail: list[bytes] = []
        self._tail_size = 0
        self._speakers: dict[int, Editor] = {}

    @property
    def size(self) -> int:
        """Bytes that its content takes."""
        return len(self._merged) + self._tail_size

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever written into it."""
        return not self._tail and self._merged == EMPTY

    @property
    def is_to_be_compacted(self) -> bool:
        """Whether the store has too much of it: many rows, or far more bytes than it has content, as when
        the same is written again and again.
        """
        return self.rows >= MANY or self.stored > 2 * self.size + _STORED_SPARE

    def apply(self, update: bytes) -> None:
        """Take in an update that has been checked."""
        self._tail.append(update)
        self._tail_size += len(update) + _OVERHEAD
        if len(self._tail) >= MANY or self._tail_size > _MANY_BYTES + len(self._merged) // 2:
            self.settle()

    def settle(self) -> bytes:
        """The whole document as one update."""
        if self._tail:
            self._merged = self._merge()
            self._tail.clear()
            self._tail_size = 0
            self._state = None
        return self._merged

    def _merge(self) -> bytes:
        try:
            # The new ones first: merging takes the longer the more it is given at once.
            merged = self._updates.merge([self._merged, self._updates.merge(self._tail)])
            self._updates.state(merged)
        except UpdateError:
            return self._merge_one_by_one()
        return merged

    def _merge_one_by_one(self) -> bytes:
        """Merge what can be: each was checked by itself, and one fails together with the others."""
        merged = self._merged
        for update in self._tail:
            try:
                more = self._updates.merge([merged, update])
                self._updates.state(more)
            except UpdateError:
                _log.exception("an update of %d bytes of document %s was left out", len(update), self.name)
            else:
                merged = more
        return merged

    def state(self) -> bytes:
        """What it has, as a state vector."""
        merged = self.settle()
        if self._state is not None:
            return self._state
        state = self._updates.state(merged)
        # It is nearly as large as the document where each client has written next to nothing.
        if len(state) <= _STATE_KEPT:
            self._state = state
        return state

    def missing(self, state: bytes) -> bytes:
        """What somebody misses who has `state`.

        Raises:
            UpdateError: `state` is no state vector.
        """
        return self._updates.missing(self.settle(), state)

    def has(self, update: bytes) -> bool:
        """Whether all that is in `update`, which has been checked, is known."""
        if update == EMPTY:
            return True
        merged = self.settle()
        return self._updates.merge([merged, update]) == merged

    # Who is there

    def enter(self, editor: Editor) -> None:
        """`editor` is here."""
        self.editors[editor] = None

    def leave(self, editor: Editor) -> list[AwarenessEntry]:
        """`editor` is gone: what the others are to be told of the clients it spoke for."""
        del self.editors[editor]
        gone = self.awareness.remove(sorted(editor.clients))
        for client in editor.clients:
            del self._speakers[client]
        if not self.editors:
            self.awareness = AwarenessStates()
        return gone

    def hear(self, editor: Editor, entries: tuple[AwarenessEntry, ...]) -> list[AwarenessEntry]:
        """`editor` has told of clients: what of it is news.  It speaks for those from now on.

        Raises:
            AwarenessTooLargeError, AwarenessFullError: for one of them; it speaks for those before.
        """
        news = []
        for entry in entries:
            if not self.awareness.take(entry):
                continue
            news.append(entry)
            speaker = self._speakers.pop(entry.client, None)
            if speaker is not None:
                speaker.clients.discard(entry.client)
            if entry.state != NOTHING:
                self._speakers[entry.client] = editor
                editor.clients.add(entry.client)
        return news
