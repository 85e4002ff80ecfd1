"""Time in tests: a clock that jumps, and a limit that turns a hang into a failure.

A test that takes the fixture `autojump_clock` runs in virtual time: whenever every task waits, the clock
jumps to the next deadline, so that hours pass in milliseconds.  It is for tests over memory streams alone:
the clock does not know that a real socket, a thread or a process is still at work, and jumps over it.

Every Trio test is limited to five minutes of its own clock.  In virtual time a deadlock therefore fails at
once, since the limit is the next deadline once nothing else can happen; in real time it fails before a CI job
does.  A test that lets more time pass on purpose says so with `@pytest.mark.time_limit(seconds)`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec

import pytest
import trio
from trio.testing import MockClock

TIME_LIMIT = 300.0
"""How many seconds a test may take, by the clock it runs on."""

P = ParamSpec("P")


@pytest.fixture
def autojump_clock() -> MockClock:
    """The clock of pytest-trio's fixture of this name: it jumps as soon as all tasks wait."""
    return MockClock(autojump_threshold=0)


def limited(fn: Callable[P, Awaitable[None]], seconds: float = TIME_LIMIT) -> Callable[P, Awaitable[None]]:
    """`fn`, which fails with `trio.TooSlowError` after `seconds` of Trio's clock."""

    @wraps(fn)
    async def within_limit(*args: P.args, **kwargs: P.kwargs) -> None:
        with trio.move_on_after(seconds) as scope:
            await fn(*args, **kwargs)
        if scope.cancelled_caught:
            raise trio.TooSlowError(f"the test took more than {seconds:g} s by its clock")

    return within_limit
