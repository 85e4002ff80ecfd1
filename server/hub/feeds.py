"""Feeds: tasks that publish to a topic while anybody listens to it.

One task a feed, however many listen; while nobody does it waits and costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from .hub import Hub
from .message import Draft


async def run_ticking_feed(hub: Hub, topic: str, seconds: float, make: Callable[[], Draft]) -> None:
    """Publish `make()` to `topic` at once when somebody comes, and each `seconds` while anybody listens.

    Runs until cancelled.
    """
    with hub.keep(topic):
        while True:
            await hub.wait_watched(topic)
            next_tick = trio.current_time()
            while hub.watchers(topic):
                await hub.publish([make()])
                next_tick = max(next_tick + seconds, trio.current_time())
                await trio.sleep_until(next_tick)
