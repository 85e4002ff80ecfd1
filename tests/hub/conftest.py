"""The brokers: a test of the contract runs over each of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server.hub import HistoryLimits, MemoryBroker

OpenBroker = Callable[[HistoryLimits], MemoryBroker]


@pytest.fixture(params=[MemoryBroker], ids=["memory"])
def open_broker(request: pytest.FixtureRequest) -> OpenBroker:
    """Makes an empty store of one implementation; every one has to keep the same promises."""
    opened: OpenBroker = request.param
    return opened
