"""Heartbeats: one ticker for all streams, in place of a timer for each.

Whatever is sent marks a subscription as touched.  Each tick looks at all of them: one that was not touched
for a whole interval is sent a sign of life, which also is how a peer that vanished without a word is found
out.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from ..patterns import Ticker

TICKS = 15
"""Ticks an interval: silence is noticed after one interval, and a fifteenth of it at most."""


class Beating(Protocol):
    """What the ticker sees of a stream: whether anything was sent since it looked last, and how to break the
    silence.  `silent_ticks` is the ticker's own.
    """

    touched: bool
    silent_ticks: int

    def heartbeat(self) -> None:
        """Send a sign of life.  Never waits."""


class Heartbeats:
    """The ticker.  `run` must be running."""

    def __init__(self, seconds: float) -> None:
        """`seconds` of silence after which a sign of life is sent."""
        self._ticker = Ticker(seconds / TICKS, _look_at)

    def keep(self, stream: Beating) -> AbstractContextManager[object]:
        """A context manager: as long as it is open, `stream` is never silent for long."""
        return self._ticker.keep(stream)

    async def run(self) -> None:
        """Tick until cancelled; without a stream to watch, sleep."""
        await self._ticker.run()


def _look_at(stream: Beating) -> None:
    if stream.touched:
        stream.silent_ticks = 0
    elif stream.silent_ticks < TICKS - 1:
        stream.silent_ticks += 1
    else:
        stream.heartbeat()
        stream.silent_ticks = 0
    stream.touched = False
