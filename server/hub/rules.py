"""The rules of a topic: how much of it is kept, how much of it may wait for a reader, and what happens to one
that falls further behind.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

from .history import HistoryLimits


class Overflow(enum.Enum):
    """What becomes of a subscription that has as much of a topic waiting as it may."""

    DISCONNECT = "disconnect"
    """It ends: the client comes back with its id, and reads from history what it missed."""
    DROP_OLDEST = "drop_oldest"
    """The oldest that waits makes room, and a gap says how many did."""
    LATEST = "latest"
    """Only the newest waits.  That is what the topic means, so there is no gap."""
    BLOCK = "block"
    """The publisher waits for it, at most the write deadline; then it ends."""


@dataclass(frozen=True, slots=True)
class TopicRules:
    """The rules of one topic.

    `capacity` (messages) and `capacity_bytes` are what may wait of it in one subscription.  A single message
    larger than the bytes allowed may wait where nothing else does.
    """

    capacity: int = 1000
    capacity_bytes: int = 1024 * 1024
    overflow: Overflow = Overflow.DISCONNECT
    history: HistoryLimits = field(default_factory=HistoryLimits)
    compress: bool = False
    """Whether its event streams are compressed where the client does not say otherwise."""
    whole: bool = False
    """Whether what is kept of it is replayed whole, however much that is."""


RulesOf = Callable[[str], TopicRules]
"""The rules of the topic of that name.  The same name always has the same rules."""


def same_rules(rules: TopicRules) -> RulesOf:
    """`rules` for every topic."""
    return lambda _: rules
