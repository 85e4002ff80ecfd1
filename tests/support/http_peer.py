"""A client over a memory stream, for tests of the whole server in virtual time.

`open_world` opens the application and, at its end, checks that nothing is left of it; `World.connect` gives
an `HttpPeer`, a connection as the network would bring it, through dispatch, Quart and the handover.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import h11
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from server.application import NOTHING, Application, Extension, open_application
from server.generations import Provider
from server.settings import Settings
from server.transport import ConnectionServer

from .decoding import Decoder, decoder_of
from .sse import Event, SSEParser

LOCAL = ("127.0.0.1", 8000)
PEER = ("127.0.0.1", 50000)

Headers = dict[str, str]
StreamPair = tuple[trio.abc.Stream, trio.abc.Stream]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was read to its end."""

    status: int
    headers: Headers
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def problem(self) -> tuple[int, str]:
        """Status and code of a problem, which must be one."""
        assert self.headers["content-type"] == "application/problem+json", self
        body = self.json()
        assert body["status"] == self.status
        assert {"type", "title", "detail"} < body.keys()
        return self.status, body["code"]


@dataclass(slots=True)
class EventReader:
    """An answer that is an event stream, read event by event."""

    peer: HttpPeer
    status: int
    headers: Headers
    parser: SSEParser = field(default_factory=SSEParser)
    complete: bool | None = None
    """Once ended: whether the answer ended as it should, and was not cut off."""
    decoder: Decoder = field(init=False)
    _waiting: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.decoder = decoder_of(self.headers.get("content-encoding"))

    async def next(self) -> Event:
        """The next event, comments among them.

        Raises:
            EOFError: the stream has ended.
        """
        while not self._waiting:
            if self.complete is None:
                await self._read()
            if not self._waiting and self.complete is not None:
                raise EOFError
        return self._waiting.pop(0)

    async def next_data(self) -> Event:
        """The next event that is no comment."""
        while (event := await self.next()).comment is not None:
            pass
        return event

    async def rest(self) -> list[Event]:
        """All events up to the stream's end."""
        events = []
        try:
            while True:
                events.append(await self.next())
        except EOFError:
            return events

    async def _read(self) -> None:
        event = await self.peer.next_http_event()
        if isinstance(event, h11.Data):
            self._waiting += self.parser.feed(self.decoder.decode(bytes(event.data)))
        else:
            self.complete = isinstance(event, h11.EndOfMessage)
            assert not self.complete or (self.parser.is_between_events and self.decoder.ended)


class HttpPeer:
    """The client's end of one connection."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.CLIENT)

    async def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        json_body: object = None,
        **headers: str,
    ) -> Answer:
        """Send a request and read its answer, after which the connection can take another.

        Headers are keywords with `_` for `-`; `json_body` is sent as JSON.
        """
        if json_body is not None:
            body = json.dumps(json_body).encode()
            headers.setdefault("content_type", "application/json")
        response = await self._ask(method, target, body, headers)
        pieces = []
        while isinstance(event := await self.next_http_event(), h11.Data):
            pieces.append(bytes(event.data))
        assert isinstance(event, h11.EndOfMessage), "the answer was cut off"
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        return Answer(response.status_code, _headers_of(response), b"".join(pieces))

    async def post_events(self, target: str, json_body: object, **headers: str) -> EventReader:
        """Send `json_body` and read the head of the answer, which is an event stream."""
        headers.setdefault("content_type", "application/json")
        response = await self._ask("POST", target, json.dumps(json_body).encode(), headers)
        return EventReader(self, response.status_code, _headers_of(response))

    async def open_events(self, target: str, **headers: str) -> EventReader:
        """Ask for an event stream, as EventSource does, and read the head of the answer."""
        headers.setdefault("accept", "text/event-stream")
        response = await self._ask("GET", target, b"", headers)
        return EventReader(self, response.status_code, _headers_of(response))

    async def exchange(self, data: bytes, *, eof: bool = False) -> bytes:
        """Send bytes as they are, with `eof` the end of them, and read all that comes until the server
        closes.
        """
        await self.stream.send_all(data)
        if eof:
            assert isinstance(self.stream, trio.abc.HalfCloseableStream)
            await self.stream.send_eof()
        received = b""
        while piece := await self.stream.receive_some():
            received += piece
        return received

    async def next_http_event(self) -> h11.Event | None:
        """The next part of the answer, None where the connection ended within it."""
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(bytes(await self.stream.receive_some()))
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            return None
        assert isinstance(event, h11.Event), event
        return event

    async def aclose(self) -> None:
        """Go away: the server sees the end of the connection."""
        await trio.aclose_forcefully(self.stream)

    async def _ask(self, method: str, target: str, body: bytes, headers: Headers) -> h11.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"host": "127.0.0.1:8000"} | sent
        if (body or method not in ("GET", "HEAD", "OPTIONS")) and "transfer-encoding" not in sent:
            sent.setdefault("content-length", str(len(body)))
        parts = [
            self._http.send(h11.Request(method=method, target=target, headers=list(sent.items()))),
            self._http.send(h11.Data(data=body)) if body else b"",
            self._http.send(h11.EndOfMessage()),
        ]
        await self.stream.send_all(b"".join(part or b"" for part in parts))
        event = await self.next_http_event()
        assert isinstance(event, h11.Response), event
        return event


@dataclass(frozen=True, slots=True)
class World:
    """An application with its server, and connections to it."""

    application: Application
    server: ConnectionServer
    nursery: trio.Nursery

    def connect(self, pair: Callable[[], StreamPair] = memory_stream_pair, **options: Any) -> HttpPeer:
        """A new connection."""
        ours, theirs = pair()
        self.nursery.start_soon(self.serve, theirs, options.get("local", LOCAL))
        return HttpPeer(ours)

    async def request(self, method: str, target: str, body: bytes = b"", **options: Any) -> Answer:
        """One request on a connection of its own."""
        peer = self.connect()
        try:
            return await peer.request(method, target, body, **options)
        finally:
            await peer.aclose()

    async def publish(self, topic: str, data: object) -> str:
        """Publish `data`; the id of the message."""
        answer = await self.request("POST", f"/topics/{topic}", json_body={"data": data})
        assert answer.status == 201, answer
        return str(answer.json()["id"])

    async def stats(self) -> Any:
        """What `/stats` says."""
        return (await self.request("GET", "/stats")).json()

    async def wait_no_stream(self) -> None:
        """Wait until nothing more happens by itself, when every stream must have ended."""
        await wait_all_tasks_blocked()
        assert self.application.registry.streams == {}

    async def serve(self, stream: trio.abc.Stream, local: tuple[str, int] = LOCAL) -> None:
        """Serve one connection, as the listener does."""
        try:
            await self.server.serve_stream(stream, PEER, local)
        finally:
            await trio.aclose_forcefully(stream)


@asynccontextmanager
async def open_world(
    settings: Settings | None = None,
    binds: Sequence[tuple[str, int]] = (LOCAL,),
    extension: Extension = NOTHING,
    *,
    provider: Provider | None = None,
) -> AsyncIterator[World]:
    """The application over memory streams, with `provider` where it is given.  At the end every connection is
    cut, and must leave nothing.
    """
    settings = settings or Settings()
    if provider is not None:
        settings = replace(settings, provider=provider.name)
        extension = replace(extension, providers={provider.name: provider})
    async with open_application(settings, binds, extension=extension) as application:
        server = application.server()
        async with trio.open_nursery() as nursery:
            yield World(application, server, nursery)
            nursery.cancel_scope.cancel()
        hub, registry = application.events.hub, application.registry
        assert (hub.subscriptions, hub.buffered_bytes, registry.leaked, server.failures) == (0, 0, 0, 0)
        assert registry.streams == {}


def _headers_of(response: h11.Response) -> Headers:
    headers: Headers = {}
    for name, value in response.headers:
        key = name.decode()
        headers[key] = f"{headers[key]}, {value.decode()}" if key in headers else value.decode()
    return headers
