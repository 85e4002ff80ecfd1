"""Sluiceway: a structured-concurrency streaming server.

`server.app` is the ASGI application for ``hypercorn -k trio server:app``; ``python -m server`` is the server
itself. Importing this package opens nothing and imports little.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """The ASGI application.  It has no state: what it is, lifespan startup builds from the environment."""
    # Here, since importing `server` must stay cheap.
    from .application import serve_asgi  # noqa: PLC0415

    await serve_asgi(scope, receive, send)
