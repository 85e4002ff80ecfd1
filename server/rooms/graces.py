"""What rooms do when time has passed: let go of who has not come back, and say how many are there.

One sleeper for each, however many members and rooms there are, and none where nothing is due.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import trio

_T = TypeVar("_T")


class Graces(Generic[_T]):
    """Graces of one length, `seconds`, each of somebody.  `run` must be running."""

    def __init__(self, seconds: float, on_over: Callable[[_T], object]) -> None:
        """`on_over` is called with each whose grace is over; it must neither wait nor raise."""
        self.seconds = seconds
        self._on_over = on_over
        # All are as long, so that the order in which they began is the order in which they end.
        self._ends: dict[_T, float] = {}
        self._somebody = trio.Event()

    def __len__(self) -> int:
        return len(self._ends)

    def begin(self, who: _T) -> None:
        """From now on, `who` has `seconds`."""
        self._ends.pop(who, None)
        self._ends[who] = trio.current_time() + self.seconds
        self._somebody.set()

    def end(self, who: _T) -> None:
        """`who` has no grace to wait for.  Safe where there is none."""
        self._ends.pop(who, None)

    async def run(self) -> None:
        """Wait for graces to be over, until cancelled."""
        while True:
            if not self._ends:
                self._somebody = trio.Event()
                await self._somebody.wait()
                continue
            await trio.sleep_until(next(iter(self._ends.values())))
            now = trio.current_time()
            over = []
            for who, ends in self._ends.items():
                if ends > now:
                    break
                over.append(who)
            for who in over:
                del self._ends[who]
                self._on_over(who)


class Coalesced(Generic[_T]):
    """Calls that are put together: at most one in `seconds` for each.  `run` must be running."""

    def __init__(self, seconds: float, call: Callable[[_T], object]) -> None:
        """`call` must neither wait nor raise."""
        self._seconds = seconds
        self._call = call
        self._due: dict[_T, None] = {}
        self._something = trio.Event()

    def ask(self, what: _T) -> None:
        """Have `call` called with `what`, soon."""
        self._due[what] = None
        self._something.set()

    def drop(self, what: _T) -> None:
        """Not any more."""
        self._due.pop(what, None)

    async def run(self) -> None:
        """Call what is asked for, until cancelled."""
        while True:
            await self._something.wait()
            await trio.sleep(self._seconds)
            self._something = trio.Event()
            due, self._due = self._due, {}
            for what in due:
                self._call(what)
