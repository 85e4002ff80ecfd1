"""A server of connections for a small ASGI app, and a client that reads its answers, byte by byte in memory.

The client parses with h11, whose client side knows nothing of ours, so that framing which only our own
parser would take is an error here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h11
import trio
from trio.testing import memory_stream_pair

from server.lifecycle import CloseReason, Registry, RequestHead
from server.transport import AsgiApp, AsgiMessage, ConnectionServer, DrainGate, RunStream, ServerOptions
from server.wire.problem import Problem

Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]
MemoryStream = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]


def open_door(head: RequestHead) -> Problem | bytes | None:
    """Let everything through but a body announced as larger than 100,000 bytes."""
    if int(head.header("content-length") or 0) > 100_000:
        return Problem("body_too_large", "A body here may have 100000 bytes.")
    return None


def shut_door(head: RequestHead) -> Problem | bytes | None:
    """What those over the limit of connections are told."""
    return b"retry: 1000\n\n" if head.accepts_event_stream else Problem("connections_full", "Full.")


@dataclass
class Site:
    """A server, what it counts, and each answer that it reported: path, status, seconds."""

    app: AsgiApp
    options: ServerOptions = field(default_factory=ServerOptions)
    answers: list[tuple[str | None, int, float]] = field(default_factory=list)
    ended: list[CloseReason] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registry = Registry(lambda _, reason: self.ended.append(reason))
        self.gate = DrainGate(lambda: len(self.registry.streams), self.options.drain_seconds)
        self.server = ConnectionServer(
            self.app,
            self.registry,
            self.gate,
            door=open_door,
            door_when_full=shut_door,
            on_answer=self._note,
            options=self.options,
        )

    def _note(self, head: RequestHead | None, status: int, seconds: float) -> None:
        self.answers.append((head.path if head else None, status, seconds))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Client]:
        """A client whose connection this server serves over memory; it is closed after the block."""
        near, far = memory_stream_pair()
        client = Client(near, far)
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                await self.server.serve_stream(far)
                client.over.set()
                await far.aclose()

            nursery.start_soon(serve)
            yield client
            await near.aclose()


@dataclass(frozen=True)
class Answer:
    """One response, as a client parsed it.

    `before` are the statuses of the interim responses before it; `complete` is False where the connection
    ended in its body.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    before: tuple[int, ...] = ()
    complete: bool = True

    @property
    def closes(self) -> bool:
        """Whether it says that the connection ends with it."""
        return self.headers.get("connection") == "close"


class Client:
    """The client's side of one connection.  `over` is set when the server is done with it."""

    def __init__(self, stream: trio.abc.HalfCloseableStream, server_side: MemoryStream | None = None) -> None:
        self.stream = stream
        self.server_side = server_side
        self.over = trio.Event()
        self._received = b""

    async def send(self, data: bytes) -> None:
        """Send raw bytes."""
        await self.stream.send_all(data)

    async def get(self, target: str = "/", *headers: str, method: str = "GET", version: str = "1.1") -> None:
        """Send a request without a body."""
        lines = [f"{method} {target} HTTP/{version}", "Host: localhost", *headers, "", ""]
        await self.send("\r\n".join(lines).encode())

    async def post(self, body: bytes, *headers: str) -> None:
        """Send a request with `body` and, unless `headers` frame it otherwise, its length."""
        framing = headers or (f"Content-Length: {len(body)}",)
        lines = ["POST /echo HTTP/1.1", "Host: localhost", *framing, "", ""]
        await self.send("\r\n".join(lines).encode() + body)

    async def answer(self, method: str = "GET") -> Answer:
        """Read one answer to a request by `method`; bytes behind it are kept for the next one."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("host", "localhost")]))
        parser.send(h11.EndOfMessage())
        data, self._received = self._received, b""
        if data:
            parser.receive_data(data)
        before: list[int] = []
        response: h11.Response | None = None
        body = bytearray()
        complete = False
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError:
                if response is None:
                    raise
                break
            if event is h11.NEED_DATA:
                parser.receive_data(bytes(await self.stream.receive_some(65536)))
            elif isinstance(event, h11.InformationalResponse):
                before.append(event.status_code)
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                complete = isinstance(event, h11.EndOfMessage)
                break
        self._received = bytes(parser.trailing_data[0])
        assert response is not None, "no answer"
        headers = {name.decode(): value.decode() for name, value in response.headers}
        return Answer(response.status_code, headers, bytes(body), tuple(before), complete)

    async def rest(self) -> bytes:
        """All that comes until the server ends the connection."""
        pieces, self._received = [self._received], b""
        try:
            while piece := await self.stream.receive_some(65536):
                pieces.append(bytes(piece))
        except trio.BrokenResourceError:
            pass
        return b"".join(pieces)


async def read_body(receive: Receive) -> bytes:
    """The whole body of a request."""
    body = bytearray()
    while True:
        message = await receive()
        assert message["type"] == "http.request", message
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)


async def respond(send: Send, body: bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    """Answer with `body` and its length."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def echo(scope: AsgiMessage, receive: Receive, send: Send) -> None:
    """An app that answers with method, target and body."""
    body = await read_body(receive)
    line = f"{scope['method']} {scope['raw_path'].decode()}"
    if scope["query_string"] and "?" not in line:
        line += "?" + scope["query_string"].decode()
    await respond(send, line.encode() + b" " + body)


async def ignore_body(scope: AsgiMessage, receive: Receive, send: Send) -> None:
    """An app that answers without a look at the body."""
    await respond(send, b"ignored")


def streaming(run: RunStream, *headers: tuple[bytes, bytes]) -> AsgiApp:
    """An app that hands each connection over to `run`."""

    async def app(scope: AsgiMessage, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": list(headers)}
        await scope["sluiceway.handover"](start, run)

    return app
