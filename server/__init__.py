"""Sluiceway: a structured-concurrency streaming server.

`server.app` is the ASGI application for ``hypercorn -k trio server:app``; ``python -m server`` is the server
itself.  With routes or feeds of one's own it is `run(blueprints=…, feeds=…)`, and `asgi_app(…)` for other
ASGI servers.  Importing this package opens nothing and imports little.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quart import Blueprint

    from .generations import Provider, Stream
    from .hub import Feed

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


async def app(scope: _Message, receive: _Receive, send: _Send) -> None:
    """The ASGI application.  It has no state: what it is, lifespan startup builds from the environment."""
    # Here, since importing `server` must stay cheap.
    from .application import serve_asgi  # noqa: PLC0415

    await serve_asgi(scope, receive, send)


def run(
    arguments: Sequence[str] | None = None,
    *,
    blueprints: Sequence[Blueprint] = (),
    feeds: Sequence[Feed] = (),
    providers: Mapping[str, Provider | Stream] | None = None,
) -> int:
    """Run the server with routes, feeds and generations' providers added to it, until it is told to stop.
    Returns the exit code.

    It takes the flags, the environment and the file that ``python -m server`` takes; `arguments` are in place
    of those of the command line.
    """
    from .__main__ import main  # noqa: PLC0415 - as above

    return main(arguments, blueprints=blueprints, feeds=feeds, providers=providers)


def asgi_app(
    *,
    blueprints: Sequence[Blueprint] = (),
    feeds: Sequence[Feed] = (),
    providers: Mapping[str, Provider | Stream] | None = None,
) -> Callable[[_Message, _Receive, _Send], Awaitable[None]]:
    """What `server.app` is, with routes, feeds and providers added to it.  It has no state either."""

    async def extended(scope: _Message, receive: _Receive, send: _Send) -> None:
        from .application import Extension, serve_asgi  # noqa: PLC0415 - as above

        await serve_asgi(scope, receive, send, Extension(blueprints, feeds, providers or {}))

    return extended
