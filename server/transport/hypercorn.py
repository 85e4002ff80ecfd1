"""What of Hypercorn is used: its protocol classes, without its tasks, its logs and its reading.

Leaned on inside of Hypercorn 0.18.0 (tests/transport/test_neighbours.py): H11Protocol.stream_send,
.connection, .stream and ._maybe_recycle; HTTPStream.handle, .app_send, .scope, .state; the TaskGroup
protocol's spawn_app.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Self, cast

import h11
from hypercorn.config import Config
from hypercorn.events import Event
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Response
from hypercorn.protocol.h11 import H11Protocol

AsgiMessage = MutableMapping[str, Any]
"""ASGI's own type of a scope or message."""
AsgiApp = Callable[
    [AsgiMessage, Callable[[], Awaitable[AsgiMessage]], Callable[[AsgiMessage], Awaitable[None]]],
    Awaitable[None],
]


def hypercorn_config() -> Config:
    """Hypercorn's settings as far as its protocol classes read them.

    It neither logs nor announces itself.
    """
    config = Config()
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    return config


class InlineTasks:
    """Hypercorn's TaskGroup that starts nothing: it hands out what a task would have been started with."""

    def __init__(self) -> None:
        self.scope: AsgiMessage = {}
        self.send: Callable[[Any], Awaitable[None]]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    async def spawn_app(
        self, _app: object, _config: Config, scope: object, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[object], Awaitable[None]]:
        self.scope = cast("AsgiMessage", scope)
        self.send = send
        return _drop

    def clear(self) -> None:
        """Let go of the last request."""
        self.scope = {}
        self.send = _drop

    def spawn(self, _func: object, *_args: object) -> None:
        raise AssertionError("Hypercorn's HTTP/1.1 streams start no tasks")


async def _drop(event: object) -> None:
    """Hypercorn's events for the app (the disconnect): the app reads from the connection itself."""


class ResponseWriter(H11Protocol):
    """Hypercorn's HTTP/1.1 protocol, its writing half.  Reading and recycling are `HttpConnection`'s."""

    status = 0
    """Of the answer under way."""
    keep_alive_requests = 0

    def __init__(
        self, config: Config, connection: h11.Connection, send: Callable[[Event], Awaitable[None]]
    ) -> None:
        # Not its base's: that makes a parser and an event for the reading half.
        self.config = config
        self.connection = connection
        self.send = send
        self.stream = None

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, Response):
            self.status = event.status_code
        await super().stream_send(event)

    def clear(self) -> None:
        """Let go of the last answer, and of the way out."""
        self.stream = None
        self.send = _drop

    async def _maybe_recycle(self) -> None:
        # Called inside the app's last send.  Whether the connection can go on is decided once the app has
        # returned.
        self.stream = None
