"""Feeds: tasks that publish to a topic while anybody listens to it.

One task a feed, however many listen; while nobody does it waits and costs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from ..wire import json_text
from .hub import Hub
from .message import Draft

RETRY_SECONDS = (1.0, 30.0)
"""How long a feed that failed pauses before it is run again: at first, doubled each time, and at most."""

_log = logging.getLogger("sluiceway.feeds")


class Publish(Protocol):
    """What a feed publishes with."""

    async def __call__(self, data: object, *, event: str | None = None, text: bool = False) -> None:
        """Publish `data` to the feed's topic: as JSON, or, with `text`, a str as it is."""


@dataclass(frozen=True, slots=True)
class Feed:
    """`run` publishes to `topic` while anybody listens.  The server lets no client publish there.

    It is an async function of one `Publish`, cancelled `linger` seconds after the last listener has left, so
    that a page which is loaded again does not start it anew.  One that returns is done until all have left
    and somebody comes again.  One that raises is logged, and run again after a pause.
    """

    topic: str
    run: Callable[[Publish], Awaitable[object]]
    linger: float = 5.0


async def run_feed(hub: Hub, feed: Feed) -> None:
    """Run `feed` whenever somebody listens.  Runs until cancelled."""
    with hub.keep(feed.topic):
        while True:
            await hub.wait_watched(feed.topic)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_when_left, hub, feed, nursery.cancel_scope)
                nursery.start_soon(_run_again_and_again, hub, feed)


async def _run_again_and_again(hub: Hub, feed: Feed) -> None:
    async def publish(data: object, *, event: str | None = None, text: bool = False) -> None:
        if text and not isinstance(data, str):
            raise TypeError(f"text is a str, not {type(data).__name__}")
        shown = str(data) if text else json_text.encode(data)
        await hub.publish([Draft(feed.topic, shown, event, text=text)])

    first, longest = RETRY_SECONDS
    pause = first
    while True:
        started = trio.current_time()
        try:
            await feed.run(publish)
            await trio.sleep_forever()
        except Exception:  # noqa: BLE001 - the guard: a feed that fails is no end of the server
            _log.exception("the feed of %s failed", feed.topic)
        if trio.current_time() - started > longest:
            pause = first
        await trio.sleep(pause)
        pause = min(2 * pause, longest)


async def _cancel_when_left(hub: Hub, feed: Feed, scope: trio.CancelScope) -> None:
    while True:
        await hub.wait_unwatched(feed.topic)
        with trio.move_on_after(feed.linger) as lingering:
            await hub.wait_watched(feed.topic)
        if lingering.cancelled_caught:
            scope.cancel()
            return


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
