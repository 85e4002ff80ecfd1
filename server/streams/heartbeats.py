"""Heartbeats: one ticker for all streams, in place of a timer for each.

Whatever is sent marks a subscription as touched.  Each tick looks at all of them: one that was not touched
for a whole interval is sent a sign of life, which also is how a peer that vanished without a word is found
out.
"""

from __future__ import annotations

from typing import Protocol, Self

import trio

TICKS = 15
"""Ticks an interval: silence is noticed after one interval, and a fifteenth of it at most."""


class Beating(Protocol):
    """What the ticker sees of a stream: whether anything was sent since it looked last, and how to break the
    silence.
    """

    touched: bool

    def heartbeat(self) -> None:
        """Send a sign of life.  Never waits."""


class Heartbeats:
    """The ticker.  `run` must be running."""

    def __init__(self, seconds: float) -> None:
        """`seconds` of silence after which a sign of life is sent."""
        self._seconds = seconds
        self._silent_ticks: dict[Beating, int] = {}
        self._watched = trio.Event()

    def keep(self, stream: Beating) -> _Kept:
        """A context manager: as long as it is open, `stream` is never silent for long."""
        return _Kept(self, stream)

    async def run(self) -> None:
        """Tick until cancelled; without a stream to watch, sleep."""
        while True:
            if not self._silent_ticks:
                self._watched = trio.Event()
                await self._watched.wait()
            await trio.sleep(self._seconds / TICKS)
            self._tick()

    def _tick(self) -> None:
        for stream, silent_ticks in self._silent_ticks.items():
            if stream.touched:
                stream.touched = False
                self._silent_ticks[stream] = 0
            elif silent_ticks < TICKS - 1:
                self._silent_ticks[stream] = silent_ticks + 1
            else:
                stream.heartbeat()
                stream.touched = False
                self._silent_ticks[stream] = 0


class _Kept:
    __slots__ = ("_heartbeats", "_stream")

    def __init__(self, heartbeats: Heartbeats, stream: Beating) -> None:
        self._heartbeats = heartbeats
        self._stream = stream

    def __enter__(self) -> Self:
        self._heartbeats._silent_ticks[self._stream] = 0
        self._heartbeats._watched.set()
        return self

    def __exit__(self, *exc_info: object) -> None:
        del self._heartbeats._silent_ticks[self._stream]
