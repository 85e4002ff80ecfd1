"""The ledger names what a test left behind, and only that."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import trio

from tests.support import ledger
from tests.support.ledger import LeakError, Ledger, no_task_left


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "SETTLE_SECONDS", 0.02)


def test_a_descriptor_left_open_is_named(impatient: None, tmp_path: Path) -> None:
    before = Ledger()
    number = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(LeakError, match=rf"descriptor {number} \({tmp_path}\)"):
        before.check()
    os.close(number)
    before.check()


def test_a_number_that_is_used_anew_is_another_descriptor(impatient: None) -> None:
    first = socket.socket()
    before = Ledger()
    number = first.fileno()
    first.close()
    with socket.socket() as second:
        assert second.fileno() == number
        with pytest.raises(LeakError, match="socket:"):
            before.check()


def test_a_channel_end_left_open_is_named(impatient: None) -> None:
    before = Ledger()
    send, receive = trio.open_memory_channel[int](1)
    receive.close()
    with pytest.raises(LeakError, match="send channel"):
        before.check()
    send.close()
    before.check()


def test_a_forgotten_channel_is_none() -> None:
    before = Ledger()
    cycle: list[object] = [*trio.open_memory_channel[int](1)]
    cycle.append(cycle)
    del cycle
    before.check()


def test_a_run_of_trio_leaves_nothing() -> None:
    before = Ledger()
    trio.run(trio.to_thread.run_sync, len, "")
    before.check()


async def test_a_task_in_another_tasks_nursery_is_named(impatient: None) -> None:
    async def own_a_nursery(task_status: trio.TaskStatus[trio.Nursery]) -> None:
        async with trio.open_nursery() as inner:
            task_status.started(inner)
            await trio.sleep_forever()

    async with trio.open_nursery() as outer:
        inner: trio.Nursery
        inner = await outer.start(own_a_nursery)
        found: list[str] = []

        async def leave_a_task() -> None:
            try:
                async with no_task_left():
                    inner.start_soon(trio.sleep_forever, name="straggler")
            except LeakError as error:
                found.append(str(error))

        async with trio.open_nursery() as caller:
            caller.start_soon(leave_a_task)
        assert "straggler (in a nursery of" in found[0]
        outer.cancel_scope.cancel()


async def test_a_system_task_left_is_named(impatient: None) -> None:
    told = trio.Event()

    async def linger() -> None:
        await told.wait()

    with pytest.raises(LeakError, match="forgotten"):
        async with no_task_left():
            trio.lowlevel.spawn_system_task(linger, name="forgotten")
    told.set()


async def test_a_task_that_is_ending_is_waited_for() -> None:
    async with no_task_left():
        trio.lowlevel.spawn_system_task(trio.sleep, 0.01)


async def test_the_nursery_of_the_test_itself_is_exempt(nursery: trio.Nursery) -> None:
    nursery.start_soon(trio.sleep_forever)


def test_every_test_is_watched(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ntrio_mode = true")
    pytester.makepyfile(
        """
        import os, pytest, trio

        opened = []

        def test_descriptor():
            opened.append(os.dup(0))

        async def test_task():
            trio.lowlevel.spawn_system_task(trio.sleep_forever, name="straggler")

        @pytest.mark.leaves_open("on purpose")
        async def test_allowed():
            trio.lowlevel.spawn_system_task(trio.sleep_forever)
            opened.append(os.dup(0))

        def test_closes_what_was_open_before():
            for number in opened:
                os.close(number)
        """
    )
    result = pytester.runpytest("-p", "tests.conftest")
    result.assert_outcomes(passed=3, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*LeakError: left open: descriptor*", "*LeakError: tasks left: straggler*"])
