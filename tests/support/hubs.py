"""A hub over memory, its rules and limits as a test wants them."""

from __future__ import annotations

from collections.abc import Callable

from server.hub import (
    HistoryLimits,
    Hub,
    HubLimits,
    MemoryBroker,
    Overflow,
    ReplayLimits,
    RulesOf,
    TopicRules,
    same_rules,
)


def open_hub(
    history: HistoryLimits | None = None,
    *,
    capacity: int = 1000,
    capacity_bytes: int = 1024 * 1024,
    overflow: Overflow = Overflow.DISCONNECT,
    max_topics: int = 10_000,
    max_queued: int = 10_000,
    max_queued_bytes: int = 4 * 1024 * 1024,
    block_seconds: float = 30.0,
    replay: ReplayLimits | None = None,
    rules_of: RulesOf | None = None,
    broker: Callable[[RulesOf, ReplayLimits | None], MemoryBroker] = MemoryBroker,
) -> Hub:
    """A hub whose topics all have the same rules, or those of `rules_of`."""
    rules = TopicRules(capacity, capacity_bytes, overflow, history or HistoryLimits())
    limits = HubLimits(max_topics, max_queued, max_queued_bytes, block_seconds)
    return Hub(broker(rules_of or same_rules(rules), replay), limits)
