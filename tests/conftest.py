"""What holds for every test: a limit on its time, and nothing left open after it."""

from __future__ import annotations

import gc
import os
from collections.abc import Awaitable, Callable, Generator, Iterator
from functools import wraps
from typing import ParamSpec

import pytest

from tests.support.clock import TIME_LIMIT, autojump_clock, limited
from tests.support.ledger import Ledger, no_task_left

__all__ = ["autojump_clock", "ledger"]

pytest_plugins = ["pytester"]

P = ParamSpec("P")

_failed = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("simulation")
    group.addoption("--seeds", type=int, default=200, help="simulations to run (tests/simulation)")
    group.addoption("--seed", type=int, default=None, help="the one simulation to run")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"time_limit(seconds): how long a Trio test may take by its clock, if not {TIME_LIMIT:g} s"
    )
    config.addinivalue_line("markers", "leaves_open(reason): the test leaves tasks, channels or files behind")


def pytest_collection_finish(session: pytest.Session) -> None:
    # What the modules made is there to stay; without it the ledger's look at all objects takes a millisecond.
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Put limit and task ledger around a Trio test, inside what pytest-trio is about to put around it.

    A fixture could not: pytest-trio runs only those async fixtures that a test names.
    """
    if isinstance(item, pytest.Function) and item.get_closest_marker("trio") is not None:
        marker = item.get_closest_marker("time_limit")
        seconds = TIME_LIMIT if marker is None else marker.args[0]
        strict = item.get_closest_marker("leaves_open") is None
        inner = getattr(item.obj, "hypothesis", None)
        if inner is None:
            item.obj = _guarded(item.obj, seconds, strict)
        elif not hasattr(inner.inner_test, "_trio_test_runner_wrapped"):
            inner.inner_test = _guarded(inner.inner_test, seconds, strict)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


@pytest.fixture(autouse=True)
def ledger(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test after which more descriptors or memory channels are open than before.

    A test that has failed is not asked: its traceback keeps alive what its frames hold.
    """
    before = Ledger()
    yield
    leaves_open = request.node.get_closest_marker("leaves_open") is not None
    if not leaves_open and not request.node.stash.get(_failed, False):
        before.check()


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """In CI a skip is a failure: everything that a test needs is there to be installed."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _guarded(fn: Callable[P, Awaitable[None]], seconds: float, strict: bool) -> Callable[P, Awaitable[None]]:
    fn = limited(fn, seconds)
    if not strict:
        return fn

    @wraps(fn)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        async with no_task_left():
            await fn(*args, **kwargs)

    return guarded
