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

Deliver = Callable[[Sequence[Message]], None]
"""Given messages in order as they become visible; must neither wait nor raise."""


class TopicsFullError(Exception):
    """As many topics are in use as are allowed, and none of them can be forgotten."""


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of a topic's history: first what is missing before it, if anything, then messages, oldest
    first.
    """

    gap: Gap | None
    messages: list[Message]


@dataclass(frozen=True, slots=True)
class TopicHistory:
    """What is kept of a topic: ids of the oldest and newest buffered message, their number, and bytes."""

    first: Cursor | None
    last: Cursor | None
    buffered: int
    size: int


class Broker(Protocol):
    """Order and history.  `open_` functions of the implementations make one."""

    @property
    def head(self) -> Cursor:
        """Behind the newest message of the store."""

    async def publish(self, drafts: Sequence[Draft]) -> list[Message]:
        """Store `drafts` in their order, all or nothing, and deliver them.

        Raises:
            TopicsFullError: a topic is new and there is no room for it.
        """

    async def replay(self, topic: str, after: Cursor | None, limit: int) -> Page:
        """At most `limit` messages of `topic` behind `after`; None stands for the beginning of what is kept.

        A cursor that this store cannot have given gets everything that is kept, behind a gap `epoch`.
        """

    def rewound(self, topic: str, count: int) -> Cursor:
        """Just before the newest `count` messages of `topic`, or before all that is kept."""

    def history(self, topic: str) -> TopicHistory:
        """What is kept of `topic`."""

    def attach(self, deliver: Deliver) -> None:
        """Deliver to this hub from now on."""
