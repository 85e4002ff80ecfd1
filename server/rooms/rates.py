"""How often a member may do what costs every other member something: a token bucket."""

from __future__ import annotations

import trio


class Rate:
    """`a_second` on average, at most `burst` at once."""

    __slots__ = ("_a_second", "_at", "_burst", "_tokens")

    def __init__(self, a_second: float, burst: int) -> None:
        self._a_second = a_second
        self._burst = burst
        self._tokens = float(burst)
        self._at = trio.current_time()

    def take_nowait(self) -> bool:
        """Whether it may be done now; then it counts as done."""
        now = trio.current_time()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._a_second)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def owe(self) -> None:
        """It will be done in any case, and counts as done: the next may be so much later."""
        self._tokens -= 1
