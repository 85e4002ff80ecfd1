"""What rooms do when time has passed: let go of who has not come back, and tell what was held back.

One sleeper for each, however many members and rooms there are, and none where nothing is due.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Generic, TypeVar

import trio

_T = TypeVar("_T")
_MOST_OUT_OF_DATE = 64


class Graces(Generic[_T]):
    """Graces, each of somebody.  `run` must be running."""

    def __init__(self, on_over: Callable[[_T], object]) -> None:
        """`on_over` is called with each whose grace is over; it must neither wait nor raise."""
        self._on_over = on_over
        self._ends: dict[_T, float] = {}
        # With what is out of date among it, which is found when its time has come.
        self._queue: list[tuple[float, int, _T]] = []
        self._count = count()
        self._wake = trio.Event()

    def __len__(self) -> int:
        return len(self._ends)

    def begin(self, who: _T, ends: float) -> None:
        """`who` has until `ends`, of Trio's clock."""
        self._ends[who] = ends
        heappush(self._queue, (ends, next(self._count), who))
        if len(self._queue) > _MOST_OUT_OF_DATE + 2 * len(self._ends):
            self._queue = [(ends, next(self._count), who) for who, ends in self._ends.items()]
            heapify(self._queue)
        if self._queue[0][0] == ends:
            self._wake.set()

    def end(self, who: _T) -> None:
        """`who` has no grace to wait for.  Safe where there is none."""
        self._ends.pop(who, None)

    async def run(self) -> None:
        """Wait for graces to be over, until cancelled."""
        while True:
            self._wake = trio.Event()
            with trio.move_on_at(self._queue[0][0] if self._queue else inf):
                await self._wake.wait()
            now = trio.current_time()
            while self._queue and self._queue[0][0] <= now:
                ends, _, who = heappop(self._queue)
                if self._ends.get(who) == ends:
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

    def ask(self, what: _T) -> bool:
        """Have `call` called with `what`, soon; False where that had been asked for."""
        if what in self._due:
            return False
        self._due[what] = None
        self._something.set()
        return True

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
