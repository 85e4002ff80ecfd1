"""Places: how many generations run at once, in all and for each principal, and a short queue before them.

Who finds the queue full is refused at once; who waits is let in by turns, in the order of coming, but for
those whose principal has as many running as it may: they let the next one by.
"""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Self

import trio


class PlacesFullError(Exception):
    """As many run as may, and as many wait as may."""


class Place:
    """A place, or a turn in the queue for one.  Given back by leaving the `with` block around its use."""

    __slots__ = ("_places", "admitted", "principal")

    def __init__(self, places: Places, principal: str) -> None:
        self._places = places
        self.principal = principal
        self.admitted = trio.Event()

    async def wait(self) -> None:
        """Wait for the place."""
        await self.admitted.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._places.give_back(self)


class Places:
    """All places.  Holds nothing open: it needs no closing."""

    def __init__(self, running: int, each: int, queue: int) -> None:
        """`running` places in all, `each` for one principal, and `queue` turns to wait."""
        self._running_max = running
        self._each_max = each
        self._queue_max = queue
        self._running: Counter[str] = Counter()
        self._waiting: dict[Place, None] = {}

    @property
    def running(self) -> int:
        """Places that are taken."""
        return self._running.total()

    @property
    def waiting(self) -> int:
        """Turns that are taken."""
        return len(self._waiting)

    def take(self, principal: str) -> Place:
        """A place for `principal`, or a turn.  It has to be entered.

        Raises:
            PlacesFullError: there is neither.
        """
        place = Place(self, principal)
        if self._has_room(principal):
            self._admit(place)
        elif len(self._waiting) >= self._queue_max:
            raise PlacesFullError
        else:
            self._waiting[place] = None
        return place

    def give_back(self, place: Place) -> None:
        """Let the next in line have the place."""
        if not place.admitted.is_set():
            del self._waiting[place]
            return
        self._running[place.principal] -= 1
        if not self._running[place.principal]:
            del self._running[place.principal]
        following = next((each for each in self._waiting if self._has_room(each.principal)), None)
        if following is not None:
            del self._waiting[following]
            self._admit(following)

    def _admit(self, place: Place) -> None:
        self._running[place.principal] += 1
        place.admitted.set()

    def _has_room(self, principal: str) -> bool:
        return self.running < self._running_max and self._running[principal] < self._each_max
