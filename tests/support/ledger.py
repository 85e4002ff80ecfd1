"""What a test opened and did not close: tasks, memory channels, file descriptors.

`no_task_left` compares the tasks inside one `trio.run`, `Ledger` what the process holds before and after it.
`tests/conftest.py` puts both around every test; a test that asks about one moment within uses `no_task_left`
itself.
"""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

SETTLE_SECONDS = 1.0
"""How long, in real time, what has been told to end may take to do so."""

_DESCRIPTORS = Path("/proc/self/fd")

Channel = trio.MemorySendChannel[object] | trio.MemoryReceiveChannel[object]


class LeakError(AssertionError):
    """Something outlived what opened it; the message lists it."""


@asynccontextmanager
async def no_task_left() -> AsyncIterator[None]:
    """Fails if tasks started in the block are alive after it, wherever in the tree of the run they are.

    Tasks get a moment to end, by real time and without moving Trio's clock.  Nurseries that the calling task
    itself has around the block are exempt, as pytest-trio's fixture `nursery` is: they are cancelled later.

    Raises:
        LeakError: names the tasks and the nursery's owner.
    """
    before = _all_tasks()
    yield
    deadline = time.monotonic() + SETTLE_SECONDS
    while (left := _all_tasks() - before) and time.monotonic() < deadline:
        await trio.lowlevel.checkpoint()
        _wait_really(0.001)
    if left:
        raise LeakError("tasks left: " + ", ".join(sorted(_describe(task) for task in left)))


class Ledger:
    """The open memory channels and file descriptors of the process, now and at `check`.

    Trio's own epoll and wake-up descriptors are closed with each run, so that both are looked at outside of
    one.  A channel counts if it was made since, is not closed, and something still refers to it: one that is
    merely forgotten costs nothing.  Make it after `gc.freeze()`, or each look walks through every object
    there is.
    """

    def __init__(self) -> None:
        self._channels = _open_channels()
        self._descriptors = _open_descriptors()

    def check(self) -> None:
        """Compare.

        Raises:
            LeakError: names what is open that was not before.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        while (found := self._look()) and time.monotonic() < deadline:
            _wait_really(0.01)
        if found:
            raise LeakError("left open: " + ", ".join(found))

    def _look(self) -> list[str]:
        descriptors = _open_descriptors().items() - self._descriptors.items()
        channels = _open_channels()
        known = {id(channel) for channel in self._channels}
        return [f"descriptor {number} ({target})" for number, target in sorted(descriptors)] + [
            repr(channel) for channel in channels if id(channel) not in known
        ]


def _all_tasks() -> set[trio.lowlevel.Task]:
    """Every task of this run, but for those in nurseries which the current task has open."""
    current = trio.lowlevel.current_task()
    root = trio.lowlevel.current_root_task()
    assert root is not None
    found: set[trio.lowlevel.Task] = set()
    waiting = [root]
    while waiting:
        task = waiting.pop()
        found.add(task)
        if task is not current:
            waiting.extend(child for nursery in task.child_nurseries for child in nursery.child_tasks)
    return found


def _describe(task: trio.lowlevel.Task) -> str:
    parent = task.parent_nursery.parent_task.name if task.parent_nursery is not None else "nothing"
    return f"{task.name} (in a nursery of {parent})"


def _open_channels() -> list[Channel]:
    gc.collect()
    return [
        thing
        for thing in gc.get_objects()
        # By type and not isinstance, which would ask proxies and lazy modules for their class.
        if type(thing) in (trio.MemorySendChannel, trio.MemoryReceiveChannel) and not thing._closed
    ]


def _open_descriptors() -> dict[int, str]:
    found: dict[int, str] = {}
    for entry in _DESCRIPTORS.iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink())
        except FileNotFoundError:  # the one that the listing itself used
            continue
    return found


def _wait_really(seconds: float) -> None:
    time.sleep(seconds)
