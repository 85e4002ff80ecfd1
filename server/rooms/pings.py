"""Pings: noticing members whose network is gone, by one ticker for all of them.

Each member is sent a ping each `interval`.  Whatever comes from it, the pong first of all, shows that it is
there; a member from which nothing has come within `patience` of a ping is gone.  Where a ping cannot leave,
since the member takes nothing, it is gone after as long a silence, if it has taken nothing for `patience`: a
network that is gone swallows what its buffers hold, and no more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import trio

from ..hub import Subscription
from ..patterns import Ticker
from ..transport import Connection
from .forms import PING

INTERVAL = 20.0
PATIENCE = 10.0
_TICK = 1.0


@dataclass(eq=False, slots=True)
class _Watched:
    connection: Connection
    subscription: Subscription
    on_missed: Callable[[], object]
    on_stuck: Callable[[], object]
    next_ping: float
    pinged_at: float | None = None


class Pings:
    """The ticker.  `run` must be running.  Times in seconds of Trio's clock."""

    def __init__(self, interval: float = INTERVAL, patience: float = PATIENCE) -> None:
        self._interval = interval
        self._patience = patience
        self._ticker = Ticker(min(_TICK, interval / 4, patience / 4), self._look_at)

    @property
    def interval(self) -> float:
        """Seconds between two pings."""
        return self._interval

    @property
    def silence(self) -> float:
        """Seconds of silence after which a member is gone."""
        return self._interval + self._patience

    def keep(
        self,
        connection: Connection,
        subscription: Subscription,
        on_missed: Callable[[], object],
        on_stuck: Callable[[], object],
    ) -> AbstractContextManager[object]:
        """A context manager: while it is open, `on_missed` is called when a pong is missed, and `on_stuck`
        when neither is anything heard nor can anything be written.  They must not wait.
        """
        due = trio.current_time() + self._interval
        return self._ticker.keep(_Watched(connection, subscription, on_missed, on_stuck, due))

    async def run(self) -> None:
        """Tick until cancelled; without a member to watch, sleep."""
        await self._ticker.run()

    def _look_at(self, watched: _Watched) -> None:
        now = trio.current_time()
        if self._is_stuck(watched.connection, now):
            watched.on_stuck()
            return
        pinged_at = watched.pinged_at
        if pinged_at is not None:
            if watched.connection.last_heard >= pinged_at:
                watched.pinged_at = None
            elif not watched.subscription.idle:
                # The ping, or what follows it, has not left yet; its time begins when it has.
                watched.pinged_at = now
            elif now >= pinged_at + self._patience:
                watched.pinged_at = None
                watched.on_missed()
                return
        if now >= watched.next_ping:
            watched.next_ping = now + self._interval
            if watched.subscription.idle and watched.pinged_at is None:
                watched.pinged_at = now
                watched.subscription.tell(PING)

    def _is_stuck(self, connection: Connection, now: float) -> bool:
        refused_at = connection.refused_at
        if refused_at is None or now < refused_at + self._patience:
            return False
        return now >= connection.last_heard + self.silence
