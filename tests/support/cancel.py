"""Cancel a piece of code at every moment at which a cancellation could reach it.

Code that cleans up when it is cancelled at one `await` often does not at the next one.  `cancel_at_each_step`
runs an async function again and again and cancels it a moment later each time, until it ends before its turn
comes.

A moment, or step, is the entry, each time a task of the function has just yielded (a cancellation interrupts
what it waits for), and each time one is about to resume (what it waited for has come, and is followed by a
cancellation: where a lock or an item that was already handed over gets lost).  The tasks of the function are
the one that awaits it and all that are started in nurseries below.  They are watched by a Trio instrument, so
the function needs no help of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

import trio
from trio._core import _run as trio_run  # for the scheduler's coin; Trio 0.35 has no public way to it


async def cancel_at_each_step(
    fn: Callable[[], Awaitable[object]],
    *,
    after: Callable[[int], object] | None = None,
    limit: int = 2000,
) -> int:
    """Await `fn()` over and over, cancelled at its 1st, 2nd, ... step, until it ends uncancelled.

    Trio shuffles tasks that become runnable together; the coin it throws is seeded alike for every run, so
    that step k of one run is step k of the next one, as far as `fn` itself is deterministic.

    Args:
        fn: makes everything it needs anew.  What it does in shielded cleanup is left to finish.
        after: called with the number of the step after each run, the last and uncancelled one too, to assert
        what must
            hold; what it returns is awaited if it can be.
        limit: how many steps a run may have.

    Returns:
        The number of steps of an uncancelled run.

    Raises:
        AssertionError: `fn` has more than `limit` steps.
        Exception: whatever `fn` or `after` raises, other than the cancellation, with a note that names the
        step.
    """
    coin = trio_run._r.getstate()
    try:
        for step in range(1, limit + 2):
            trio_run._r.seed(0)
            try:
                cancelled = await _run_until(step, fn)
                if after is not None:
                    result = after(step)
                    if inspect.isawaitable(result):
                        await result
            except Exception as error:
                error.add_note(f"while cancelled at step {step}")
                raise
            if not cancelled:
                return step - 1
    finally:
        trio_run._r.setstate(coin)
    raise AssertionError(f"still not at its end after {limit} steps")


async def _run_until(step: int, fn: Callable[[], Awaitable[object]]) -> bool:
    """Await `fn()`, cancelled at `step`; whether its run came so far."""
    with trio.CancelScope() as scope:
        counter = _StepCounter(step, scope)
        trio.lowlevel.add_instrument(counter)
        try:
            counter.count()
            await fn()
        finally:
            trio.lowlevel.remove_instrument(counter)
    return scope.cancel_called


class _StepCounter(trio.abc.Instrument):
    """Cancels `scope` at the given step of the current task and of those it will have started."""

    def __init__(self, step: int, scope: trio.CancelScope) -> None:
        self._left = step
        self._scope = scope
        self._root = trio.lowlevel.current_task()
        # What the caller's own nurseries run is outside `scope`, though it descends from the same task.
        self._foreign = frozenset(self._root.child_nurseries)

    def count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._scope.cancel("cancel_at_each_step")

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._is_ours(task):
            self.count()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._is_ours(task):
            self.count()

    def _is_ours(self, task: trio.lowlevel.Task) -> bool:
        current = task
        while current is not self._root:
            nursery = current.parent_nursery
            if nursery is None or nursery in self._foreign:
                return False
            current = nursery.parent_task
        return True
