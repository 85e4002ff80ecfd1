"""A ticker: one task that looks at many things at a steady pace, in place of a timer for each of them.

Trio only; a copy of this file works on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Generic, Self, TypeVar

import trio

T = TypeVar("T")


class Ticker(Generic[T]):
    """Calls `look` for each thing that is kept, every `seconds`.  `run` must be running.

    `look` must neither wait nor raise, and may make a thing be let go of only later.
    """

    def __init__(self, seconds: float, look: Callable[[T], object]) -> None:
        self._seconds = seconds
        self._look = look
        self._kept: dict[T, None] = {}
        self._somebody = trio.Event()

    @property
    def kept(self) -> Collection[T]:
        """What is looked at."""
        return self._kept.keys()

    def keep(self, thing: T) -> Kept[T]:
        """A context manager: `thing` is looked at as long as it is open."""
        return Kept(self, thing)

    async def run(self) -> None:
        """Tick until cancelled; with nothing to look at, sleep."""
        while True:
            if not self._kept:
                self._somebody = trio.Event()
                await self._somebody.wait()
            await trio.sleep(self._seconds)
            for thing in self._kept:
                self._look(thing)


class Kept(Generic[T]):
    """See `Ticker.keep`."""

    __slots__ = ("_thing", "_ticker")

    def __init__(self, ticker: Ticker[T], thing: T) -> None:
        self._ticker = ticker
        self._thing = thing

    def __enter__(self) -> Self:
        self._ticker._kept[self._thing] = None
        self._ticker._somebody.set()
        return self

    def __exit__(self, *exc_info: object) -> None:
        del self._ticker._kept[self._thing]
