"""Three clients as others write them, in a room behind a network that cuts them: all hear the same, once.

`python -m tests.clients.through_cuts` does it for a minute, or longer.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import chromium
from tests.clients.conftest import assert_nothing_failed
from tests.clients.through_cuts import FLAGS, talk_through_cuts, three_members
from tests.support.cutting_proxy import CuttingProxy
from tests.support.npm import npm_install
from tests.support.process import ServerProcess

__all__ = ["chromium"]

LINES = 100
"""How much each of the three says.  It comes to some dozens of cuts."""


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `ws` in it."""
    return npm_install(tmp_path_factory.mktemp("node"), "ws@8")


@pytest.mark.parametrize("seed", [6])
def test_three_clients_hear_the_same_through_cuts(seed: int, chromium: Browser, node_modules: Path) -> None:
    with ServerProcess(FLAGS) as server:
        with (
            CuttingProxy(server.port) as proxy,
            three_members(server, proxy.port, chromium, node_modules) as members,
        ):
            outcome = talk_through_cuts(seed, server, members, proxy, LINES, seconds=0)
        print(outcome)
        outcome.assert_all_heard_the_same()
        assert min(outcome.cuts.values()) > 0
        assert all(report.connections > 1 for report in outcome.reports.values())
        assert sum(report.duplicates for report in outcome.reports.values()) > 0
        assert_nothing_failed(server)
