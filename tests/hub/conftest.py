"""The brokers: a test of the contract runs over each of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server.hub import HistoryLimits, MemoryBroker, TopicRules, same_rules

OpenBroker = Callable[[HistoryLimits], MemoryBroker]


def open_memory(limits: HistoryLimits) -> MemoryBroker:
    """A store in memory that keeps so much of every topic."""
    return MemoryBroker(same_rules(TopicRules(history=limits)))


@pytest.fixture(params=[open_memory], ids=["memory"])
def open_broker(request: pytest.FixtureRequest) -> OpenBroker:
    """Makes an empty store of one implementation; every one has to keep the same promises."""
    opened: OpenBroker = request.param
    return opened
