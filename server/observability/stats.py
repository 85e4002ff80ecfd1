"""The shape of `/stats`: what is open now, what has passed, what waits in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

import trio

from ..hub import Hub
from ..lifecycle import ConnectionKind, Registry, StreamKind


class MessageStats(TypedDict):
    """Messages since the start; `delivered` and `dropped` count each subscription."""

    published: int
    delivered: int
    dropped: int


class Stats(TypedDict):
    """The answer of `/stats`: see docs/reference/http.md."""

    uptime: float
    connections: dict[ConnectionKind, int]
    subscriptions: int
    tasks: int
    streams: dict[StreamKind, int]
    messages: MessageStats
    buffered_bytes: int
    ceiling_bytes: int
    closed: dict[StreamKind, dict[str, int]]
    leaked: int


class StatsSource:
    """Collects the statistics of one server."""

    def __init__(
        self, registry: Registry, hub: Hub, ceiling_bytes: int, kept_beside: Callable[[], int]
    ) -> None:
        """`kept_beside` says how many bytes are held outside of the hub."""
        self._registry = registry
        self._hub = hub
        self._ceiling_bytes = ceiling_bytes
        self._kept_beside = kept_beside
        self._started_at = trio.current_time()

    def collect(self) -> Stats:
        """The statistics now."""
        registry, hub = self._registry, self._hub
        return {
            "uptime": round(trio.current_time() - self._started_at, 3),
            "connections": dict(registry.connections),
            "subscriptions": hub.subscriptions,
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            "streams": registry.count_open(),
            "messages": {"published": hub.published, "delivered": hub.delivered, "dropped": hub.dropped},
            "buffered_bytes": hub.buffered_bytes + hub.history_bytes + self._kept_beside(),
            "ceiling_bytes": self._ceiling_bytes,
            "closed": {
                kind: {reason.value: count for reason, count in reasons.items()}
                for kind, reasons in registry.closed.items()
            },
            "leaked": registry.leaked,
        }
