"""A hang in virtual time is a failure at once."""

from __future__ import annotations

import time

import pytest
import trio
from trio.testing import MockClock

from tests.support.clock import limited


async def test_hours_pass_in_milliseconds(autojump_clock: MockClock) -> None:
    before = time.monotonic()
    await trio.sleep(290)
    assert time.monotonic() - before < 5


async def test_a_deadlock_fails_at_the_limit(autojump_clock: MockClock) -> None:
    with pytest.raises(trio.TooSlowError, match="more than 60 s"):
        await limited(trio.sleep_forever, 60)()
    assert trio.current_time() == 60


@pytest.mark.time_limit(100_000)
async def test_a_marked_test_may_take_longer(autojump_clock: MockClock) -> None:
    await trio.sleep(86_400)


def test_every_trio_test_is_limited(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ntrio_mode = true")
    pytester.makepyfile(
        """
        import trio

        async def test_hangs(autojump_clock):
            await trio.sleep_forever()
        """
    )
    result = pytester.runpytest("-p", "tests.conftest")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*TooSlowError: the test took more than 300 s by its clock*"])
