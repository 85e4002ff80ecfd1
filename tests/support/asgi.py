"""An HTTP client for an ASGI app, without a server: requests and answers are events in memory.

The events and the scope are those of Hypercorn 0.18 (`hypercorn/protocol/http_stream.py`), with one
difference that tests want: there is no buffer.  What the app sends waits until the test reads it, and the app
gets a piece of a request's body when it asks for one, so that backpressure shows.

    async with open_asgi(app) as peer:
        response = await peer.request("POST", "/topics/a", body=b"hello")
        async with peer.stream("GET", "/topics/a/events") as events:
            first = await events.receive()
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from urllib.parse import unquote

import trio
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveEvent,
    ASGISendEvent,
    ConnectionState,
    HTTPScope,
    LifespanScope,
    LifespanState,
)
from hypercorn.utils import build_and_validate_headers, suppress_body

PATIENCE = 60.0
"""How many seconds of Trio's clock an app may take to notice that its client or its server is gone."""

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
Body = bytes | AsyncIterable[bytes]


class Response:
    """The head of an answer, and its body: whole if it came from `Peer.request`, else read piece by piece."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], exchange: _Exchange) -> None:
        self.status = status
        self.headers = headers
        self.body = b""
        self._exchange = exchange

    def header(self, name: str) -> str | None:
        """The first value of a header, or None."""
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == wanted), None)

    @property
    def text(self) -> str:
        """`body` as UTF-8."""
        return self.body.decode()

    def json(self) -> object:
        """`body` as JSON."""
        return json.loads(self.body)

    async def receive(self) -> bytes:
        """The next piece of the body as the app sent it, or no bytes at its end.

        Raises:
            Exception: the one that ended the app, if it has not sent the whole body.
        """
        return await self._exchange.receive_piece()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self.receive()
        if not piece:
            raise StopAsyncIteration
        return piece


class Peer:
    """A client of one app; made by `open_asgi`."""

    def __init__(
        self, app: ASGIFramework, state: LifespanState, client: tuple[str, int], nursery: trio.Nursery
    ) -> None:
        self._app = app
        self._state = state
        self._client = client
        self._nursery = nursery

    async def request(self, method: str, target: str, *, headers: Headers = (), body: Body = b"") -> Response:
        """Send a request, and return the answer with its whole body.

        As in HTTP, the app may answer without having read the request's body.

        Raises:
            Exception: the one that ended the app.
        """
        async with self.stream(method, target, headers=headers, body=body) as response:
            response.body = b"".join([piece async for piece in response])
        return response

    @asynccontextmanager
    async def stream(
        self, method: str, target: str, *, headers: Headers = (), body: Body = b""
    ) -> AsyncIterator[Response]:
        """Send a request, and yield the answer once its head is there; its body is for the block to read.

        At the end of the block the client disconnects, and the app is waited for.

        Raises:
            Exception: the one that ended the app.
            AssertionError: the app goes on for a minute after the disconnect.
        """
        exchange = _Exchange(self._scope(method, target, headers, body), body)
        self._nursery.start_soon(exchange.run, self._app)
        try:
            yield await exchange.receive_head()
        finally:
            exchange.disconnect()
            with trio.move_on_after(PATIENCE, shield=True) as waiting:
                await exchange.ended.wait()
        assert not waiting.cancelled_caught, "the app goes on after the client has disconnected"
        exchange.raise_failure()

    def _scope(self, method: str, target: str, headers: Headers, body: Body) -> HTTPScope:
        path, _, query = target.encode("ascii").partition(b"?")
        return {
            "type": "http",
            "http_version": "1.1",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "method": method.upper(),
            "scheme": "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": _request_headers(headers, body),
            "client": self._client,
            "server": ("127.0.0.1", 8000),
            "state": ConnectionState(self._state.copy()),
            "extensions": {},
        }


@asynccontextmanager
async def open_asgi(
    app: ASGIFramework, *, client: tuple[str, int] = ("127.0.0.1", 49152)
) -> AsyncIterator[Peer]:
    """Start the app's lifespan, yield a client with the address `client`, and shut the app down.

    Raises:
        RuntimeError: the app says that its start or its shutdown failed.
        ExceptionGroup: holds what the block, or the app outside of a request, raised.
    """
    state: LifespanState = {}
    async with trio.open_nursery() as nursery:
        lifespan = _Lifespan()
        nursery.start_soon(lifespan.run, app, state)
        await lifespan.exchange("startup")
        try:
            yield Peer(app, state, client, nursery)
        finally:
            with trio.move_on_after(PATIENCE, shield=True):
                await lifespan.exchange("shutdown")
        nursery.cancel_scope.cancel()


class _Lifespan:
    """The app's lifespan task, as seen by a server."""

    def __init__(self) -> None:
        self._to_app, self._for_app = trio.open_memory_channel[ASGIReceiveEvent](0)
        self._to_server, self._for_server = trio.open_memory_channel[ASGISendEvent](0)

    async def run(self, app: ASGIFramework, state: LifespanState) -> None:
        scope: LifespanScope = {
            "type": "lifespan",
            "asgi": {"spec_version": "2.0", "version": "3.0"},
            "state": state,
        }
        with self._to_app, self._for_app, self._to_server, self._for_server:
            await app(scope, self._for_app.receive, self._to_server.send)

    async def exchange(self, phase: str) -> None:
        """Tell the app to start up or shut down, and wait until it has."""
        event: ASGIReceiveEvent
        event = {"type": "lifespan.startup"} if phase == "startup" else {"type": "lifespan.shutdown"}
        try:
            await self._to_app.send(event)
            answer = await self._for_server.receive()
        except (trio.ClosedResourceError, trio.EndOfChannel) as error:
            raise RuntimeError(f"the app's lifespan ended before its {phase} was complete") from error
        if answer["type"] != f"lifespan.{phase}.complete":
            raise RuntimeError(f"{phase} ended with {answer!r}")


class _Exchange:
    """One request and its answer: the app's `receive` and `send`, and the client's side of both."""

    def __init__(self, scope: HTTPScope, body: Body) -> None:
        self.ended = trio.Event()
        self._scope = scope
        self._body = _pieces(body)
        self._body_read = False
        self._over = trio.Event()
        self._body_scope = trio.CancelScope()
        self._head: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._to_client, self._for_client = trio.open_memory_channel[bytes](0)
        self._has_head = trio.Event()
        self._failure: Exception | None = None

    async def run(self, app: ASGIFramework) -> None:
        try:
            async with aclosing(self._body):
                await app(self._scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001  # it is raised again, to whoever waits for the answer
            self._failure = error
        finally:
            self._to_client.close()
            self._has_head.set()
            self.ended.set()

    async def receive_head(self) -> Response:
        await self._has_head.wait()
        if self._head is None:
            self.raise_failure()
            raise RuntimeError("the app ended without an answer")
        return Response(*self._head, self)

    async def receive_piece(self) -> bytes:
        try:
            return await self._for_client.receive()
        except trio.EndOfChannel:
            self.raise_failure()
            return b""

    def disconnect(self) -> None:
        """What the app sends goes nowhere from now on, and what it receives is `http.disconnect`."""
        self._over.set()
        self._body_scope.cancel()
        self._for_client.close()

    def raise_failure(self) -> None:
        """Raise what ended the app, once."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    async def _receive(self) -> ASGIReceiveEvent:
        await trio.lowlevel.checkpoint()
        if not self._body_read and not self._over.is_set():
            with trio.CancelScope() as self._body_scope:
                piece = await anext(self._body, None)
                self._body_read = piece is None
                return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def _send(self, event: ASGISendEvent) -> None:
        await trio.lowlevel.checkpoint()
        if self._over.is_set():
            return
        if event["type"] == "http.response.start" and self._head is None:
            self._head = int(event["status"]), build_and_validate_headers(event.get("headers", []))
            self._has_head.set()
        elif event["type"] == "http.response.body" and self._head is not None:
            await self._send_piece(bytes(event.get("body", b"")))
            if not event.get("more_body", False):
                self._over.set()
                self._to_client.close()
        else:
            raise RuntimeError(f"{event['type']} is out of order")

    async def _send_piece(self, piece: bytes) -> None:
        assert self._head is not None
        if not piece or suppress_body(self._scope["method"], self._head[0]):
            return
        try:
            await self._to_client.send(piece)
        except trio.BrokenResourceError:
            return


async def _pieces(body: Body) -> AsyncGenerator[bytes, None]:
    if isinstance(body, bytes):
        if body:
            yield body
        return
    try:
        async for piece in body:
            yield piece
    finally:
        if isinstance(body, AsyncGenerator):
            await body.aclose()


def _request_headers(headers: Headers, body: Body) -> list[tuple[bytes, bytes]]:
    """What the caller gave, with what every HTTP/1.1 client adds; names in lower case."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    found = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in pairs]
    names = {name for name, _ in found}
    if b"host" not in names:
        found.insert(0, (b"host", b"localhost"))
    if not isinstance(body, bytes):
        if not names & {b"content-length", b"transfer-encoding"}:
            found.append((b"transfer-encoding", b"chunked"))
    elif body and b"content-length" not in names:
        found.append((b"content-length", str(len(body)).encode()))
    return found
