"""The broker: order and history of messages, apart from who listens.

One protocol, several stores.  A broker gives each message its place, keeps what can be replayed, and hands
every message to the hub of this node in that order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .cursor import Cursor
from .message import Draft, Gap, Message
from .rules import RulesOf
from .selection import Selection
from .start import Start

Deliver = Callable[[Sequence[Message]], None]
"""Given messages in order as they become visible; must neither wait nor raise."""


class TopicsFullError(Exception):
    """As many topics are in use as are allowed, and none of them can be forgotten."""


@dataclass(frozen=True, slots=True)
class ReplayLimits:
    """The most that one subscription is replayed: messages, and bytes that they are reckoned at."""

    messages: int = 10_000
    size: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TopicHistory:
    """What is kept of a topic: ids of the oldest and newest buffered message, their number, and bytes."""

    first: Cursor | None
    last: Cursor | None
    buffered: int
    size: int


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A stretch of a topic's history, oldest first: what is missing before it, if anything; whether there is
    more in the direction it was read.
    """

    gap: Gap | None
    messages: list[Message]
    more: bool


class Replay(Protocol):
    """The reading of a selection's history in order of ids, up to the live end.

    It keeps no history from being evicted: what goes while it reads is a gap, with its number.
    """

    start: Cursor
    """Where it begins: the id that makes a client which got nothing yet resume rightly."""
    needed: bool
    """Whether there may be something to read before the live end."""

    async def read(self, limit: int) -> list[Message | Gap]:
        """At most `limit` messages, and the gaps between them.

        An empty list means that this reader is at the live end in this very step.
        """


class Broker(Protocol):
    """Order and history."""

    @property
    def rules_of(self) -> RulesOf:
        """The rules of each topic."""

    @property
    def size(self) -> int:
        """Bytes that all histories together are reckoned at."""

    @property
    def head(self) -> Cursor:
        """Behind the newest message of the store."""

    async def publish(self, drafts: Sequence[Draft]) -> list[Message]:
        """Store `drafts` in their order, all or nothing, and deliver them.

        Raises:
            TopicsFullError: a topic is new and there is no room for it.
        """

    def open_replay(self, selection: Selection, start: Start) -> Replay:
        """A reading of `selection` from `start`.

        A cursor that this store cannot have given gets everything that is kept, behind a gap `epoch`.
        """

    def excerpt(self, topic: str, after: Cursor | None, before: Cursor | None, limit: int) -> Excerpt:
        """At most `limit` messages of `topic` between the cursors: the oldest behind `after`, or without it
        the newest.
        """

    def history(self, topic: str) -> TopicHistory:
        """What is kept of `topic`."""

    def purge(self, topic: str) -> Gap:
        """Take everything out of `topic`; the gap is for whoever listens to it."""

    def forget(self, topic: str) -> bool:
        """Forget `topic` where nothing is kept of it: whether it is forgotten."""

    def drop(self, topic: str) -> None:
        """Forget `topic` with all that is kept of it, for good: its name must never be used again.

        So nobody can come back for it, and no gap tells of it.
        """

    def attach(self, deliver: Deliver) -> None:
        """Deliver to this hub from now on."""
