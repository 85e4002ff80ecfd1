"""What members may be told of each other's leaving, by the table of close codes."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from .attendance import Absence, Attendance, closed, vanished
from .truth import SimulationError


def _one_that_has_gone(absence: Absence) -> Attendance:
    attendance = Attendance()
    attendance.come("ann", prompt=True)
    attendance.go("ann", absence)
    return attendance


@pytest.mark.parametrize("code", [1001, 1005, 1006])
async def test_who_is_cut_leaves_when_its_grace_is_over(code: int, autojump_clock: MockClock) -> None:
    attendance = _one_that_has_gone(closed(code, 0.0))
    await trio.sleep(9)
    with pytest.raises(SimulationError):
        attendance.check_left("ann", prompt=True)
    await trio.sleep(1)
    attendance.check_left("ann", prompt=True)
    await trio.sleep(1)
    with pytest.raises(SimulationError):
        attendance.check_left("ann", prompt=True)
    attendance.check_left("ann", prompt=False)


async def test_who_closes_for_good_leaves_at_once(autojump_clock: MockClock) -> None:
    attendance = _one_that_has_gone(closed(1000, 0.0))
    attendance.check_left("ann", prompt=True)
    await trio.sleep(1)
    with pytest.raises(SimulationError):
        attendance.check_left("ann", prompt=True)


async def test_who_is_back_in_time_does_not_leave(autojump_clock: MockClock) -> None:
    attendance = _one_that_has_gone(closed(1006, 0.0))
    await trio.sleep(9)
    attendance.try_to_come("ann")
    attendance.come("ann", prompt=True)
    await trio.sleep(1)
    for prompt in (True, False):
        with pytest.raises(SimulationError):
            attendance.check_left("ann", prompt=prompt)


async def test_silence_is_taken_off_the_grace(autojump_clock: MockClock) -> None:
    attendance = _one_that_has_gone(closed(1006, 26.0))
    await trio.sleep(4)
    attendance.check_left("ann", prompt=True)


async def test_nobody_is_shown_for_long_who_has_vanished(autojump_clock: MockClock) -> None:
    attendance = _one_that_has_gone(vanished())
    await trio.sleep(34)
    attendance.check_left("ann", prompt=True)
    await trio.sleep(2)
    with pytest.raises(SimulationError):
        attendance.check_left("ann", prompt=True)


async def test_where_the_end_is_not_known_anything_may_be_told() -> None:
    attendance = _one_that_has_gone(Absence())
    attendance.check_left("ann", prompt=True)
