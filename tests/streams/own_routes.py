"""Routes of somebody's own, as a test writes them, in the whole server over memory streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import h11
import trio
from quart import Blueprint, Response

from server.application import Extension
from server.lifecycle import CloseReason, StreamKind
from server.settings import Settings
from server.streams import ByteWriter, EventWriter, TextWriter, stream_bytes, stream_events, stream_text
from tests.support.http_peer import HttpPeer, World, open_world
from tests.support.memory_socket import ClientEnd, memory_tcp

HELPERS: dict[str, Callable[..., Response]] = {
    "bytes": stream_bytes,
    "text": stream_text,
    "events": stream_events,
}
KINDS: dict[str, StreamKind] = {"bytes": "file", "text": "text", "events": "events"}
Write = Callable[[Any], Awaitable[object]]


def routes(make: Callable[[], Response]) -> Extension:
    """A route `/own` that answers what `make` returns."""
    blueprint = Blueprint("own", __name__)

    @blueprint.route("/own", methods=["GET", "POST"])
    async def own() -> Response:
        return make()

    return Extension(blueprints=[blueprint])


@asynccontextmanager
async def open_own(make: Callable[[], Response], settings: Settings | None = None) -> AsyncIterator[World]:
    """The server with the route `/own`."""
    async with open_world(settings, extension=routes(make)) as world:
        yield world


async def put(writer: ByteWriter | TextWriter | EventWriter, text: str) -> None:
    """Write `text`, whatever the writer is."""
    match writer:
        case ByteWriter():
            await writer.write(text.encode())
        case TextWriter():
            await writer.write(text)
        case EventWriter():
            await writer.send(text)


async def get(world: World, target: str = "/own", **headers: str) -> tuple[int, dict[str, str], bytes, bool]:
    """Status, headers and body of the answer, and whether it is whole."""
    peer = world.connect()
    try:
        response = await peer._ask("GET", target, b"", headers)
        body = b""
        while isinstance(event := await peer.next_http_event(), h11.Data):
            body += bytes(event.data)
        shown = {name.decode(): value.decode() for name, value in response.headers}
        return response.status_code, shown, body, isinstance(event, h11.EndOfMessage)
    finally:
        await peer.aclose()


def slow_connection(world: World, room: int, write_deadline: float = 30.0) -> tuple[HttpPeer, ClientEnd]:
    """A client for whom `room` bytes may be under way."""
    ours, theirs = memory_tcp(room, write_deadline)
    return world.connect(lambda: (ours, theirs)), ours


async def ask(client: trio.abc.Stream, target: str = "/own", version: str = "1.1") -> None:
    """Send a GET, and read nothing."""
    await client.send_all(f"GET {target} HTTP/{version}\r\nHost: 127.0.0.1:8000\r\n\r\n".encode())


def closed(world: World, kind: StreamKind) -> dict[CloseReason, int]:
    """How many streams of `kind` have ended, by reason."""
    return dict(world.application.registry.closed.get(kind, {}))
