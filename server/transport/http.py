"""One HTTP/1.1 connection: read a head, let the app answer through Hypercorn, hand streams over.

Hypercorn's H11Protocol and HTTPStream turn the app's ASGI messages into bytes; its TCPServer, whose read loop
and shielded writes are what ends or hangs a stock server, is replaced by `HttpConnection`: strictly one
request at a time, in the connection's own task, with the request's body read only when the app asks for it.
So a request costs no task, a body has backpressure by construction, `100 Continue` is said exactly when the
body is wanted, and bytes pipelined behind a request stay where they are until it has been answered.

A streaming answer calls the scope's `sluiceway.handover` and returns.  Its head is then held back,
Hypercorn's and Quart's part is over and freed, and the connection's task runs the stream on the bare
`OrderedStream`.

Leaned on inside of Hypercorn 0.18.0 (tests/transport/test_neighbours.py): H11Protocol.stream_send,
.connection, .stream and ._maybe_recycle; HTTPStream.handle, .app_send, .scope, .state; the TaskGroup
protocol's spawn_app.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Event, RawData
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Request, Response, StreamClosed
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGISendEvent, ConnectionState

from ..lifecycle import RequestHead
from ..wire import sse
from ..wire.problem import CONTENT_TYPE, Problem
from .drain import IdleConnections
from .head import MAX_HEAD, PrefaceError, RefusedError, is_websocket_upgrade, refused_by_h11, request_head
from .websocket import WebSocketDoor, check_handshake, serve_websocket
from .writes import ByteStream, Framing, OrderedStream

AsgiMessage = MutableMapping[str, Any]
"""ASGI's own type of a scope or message."""
AsgiApp = Callable[
    [AsgiMessage, Callable[[], Awaitable[AsgiMessage]], Callable[[AsgiMessage], Awaitable[None]]],
    Awaitable[None],
]
RunStream = Callable[[ByteStream], Awaitable[None]]
"""What a streaming answer does once the connection is its own.

Returning ends the answer well; raising aborts it.
"""
Door = Callable[[RequestHead], Problem | bytes | None]
"""Looks at a head before the app: None lets it through, a Problem refuses, bytes are the body of a whole
event stream.
"""


@dataclass(frozen=True, slots=True)
class Takeover:
    """What has the connection for itself from now on: `run`, on the bare stream."""

    run: RunStream
    is_websocket: bool = False


OnAnswer = Callable[[RequestHead | None, int, float], object]
"""Told of each answer: its request (None where it could not be parsed), status, and seconds until it was
complete.
"""

BODY_CHUNK = 64 * 1024
DISCARD_AFTER_ANSWER = 64 * 1024
"""Bytes of a body nobody read that are discarded to keep the connection; a longer one closes it."""
LINGER_BYTES = 1024 * 1024
LINGER_SECONDS = 2.0

_log = logging.getLogger("sluiceway.transport")


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Times in seconds."""

    keep_alive: float = 60.0
    """How long an idle connection is kept."""
    head_seconds: float = 30.0
    """Within which a head that has begun must be whole."""
    body_pause: float = 30.0
    """How long a body that the app waits for may pause."""


class BodyReadError(Exception):
    """Raised from ASGI `receive`: the rest of the body will not come, for the reason in `problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def hypercorn_config() -> Config:
    """Hypercorn's settings as far as its protocol classes read them.

    It neither logs nor announces itself.
    """
    config = Config()
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    return config


class _InlineTasks:
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

    def spawn(self, _func: object, *_args: object) -> None:
        raise AssertionError("Hypercorn's HTTP/1.1 streams start no tasks")


async def _drop(event: object) -> None:
    """Hypercorn's events for the app (the disconnect): the app reads from the connection itself."""


class _ResponseWriter(H11Protocol):
    """Hypercorn's HTTP/1.1 protocol, its writing half.  Reading and recycling are `HttpConnection`'s."""

    status = 0
    """Of the answer under way."""

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, Response):
            self.status = event.status_code
        await super().stream_send(event)

    async def _maybe_recycle(self) -> None:
        # Called inside the app's last send.  Whether the connection can go on is decided once the app has
        # returned.
        self.stream = None


class HttpConnection:
    """The HTTP side of one accepted connection."""

    def __init__(
        self,
        app: AsgiApp,
        stream: OrderedStream,
        *,
        door: Door,
        websockets: WebSocketDoor,
        idle: IdleConnections,
        on_answer: OnAnswer,
        options: HttpOptions,
        config: Config,
        context: WorkerContext,
        peer: tuple[str, int] | None,
        local: tuple[str, int] | None,
        secure: bool,
    ) -> None:
        self._app = app
        self._stream = stream
        self._door = door
        self._websockets = websockets
        self._options = options
        self._config = config
        self._peer = peer
        self._local = local
        self._secure = secure
        self._tasks = _InlineTasks()
        self._protocol = _ResponseWriter(
            cast("AppWrapper", app),  # never called by Hypercorn here: `_InlineTasks` starts nothing
            config,
            context,
            self._tasks,
            ConnectionState({}),
            secure,
            peer,
            local,
            self._protocol_send,
        )
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._protocol.connection = self._h11
        self._idle = idle
        self._on_answer = on_answer
        self._head: RequestHead | None = None
        self._started_at = 0.0
        self._method = b""
        self._continue_due = False
        self._eof = False
        self._corked = False
        self._takeover: Takeover | None = None
        self._body_refused = False

    async def serve(self) -> Takeover | None:
        """Serve requests until the connection has to end (None) or a stream or WebSocket takes it over.

        Raises:
            trio.BrokenResourceError: the peer went away.
        """
        try:
            while True:
                request = await self._read_request()
                if request is None:
                    return None
                if not await self._serve_request(request):
                    return self._takeover
                self._h11.start_next_cycle()
        except PrefaceError:
            return None
        except RefusedError as refused:
            await self._refuse(refused.problem)
            return None

    # Reading

    async def _read_request(self) -> h11.Request | None:
        """The next head, or None where the client ends or leaves the connection idle."""
        self._method = b""
        self._started_at = trio.current_time()
        started = self._h11.trailing_data[0] != b""
        deadline = trio.current_time() + (self._options.head_seconds if started else self._options.keep_alive)
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as error:
                raise refused_by_h11(error) from None
            if isinstance(event, h11.Request):
                return event
            if event is not h11.NEED_DATA:
                return None
            if not started:
                data = await self._read_first_bytes(deadline)
                if not data:
                    return None
                started = True
                self._started_at = trio.current_time()
                deadline = trio.current_time() + self._options.head_seconds
            else:
                with trio.move_on_at(deadline) as scope:
                    data = await self._receive_some()
                if scope.cancelled_caught:
                    raise RefusedError(Problem("head_slow", "The head was not whole in time."))
            self._h11.receive_data(data)

    async def _read_first_bytes(self, deadline: float) -> bytes:
        """What an idle connection says next; b"" where it ends, is idle for too long, or is not wanted any
        more.
        """
        with self._idle.scope(deadline):
            return await self._receive_some()
        return b""

    async def _receive_body(self) -> AsgiMessage:
        """ASGI `receive`: the next piece of the body, read only now; after its end, the client's EOF."""
        if self._h11.their_state not in (h11.SEND_BODY, h11.ERROR):
            return await self._wait_for_eof()
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError:
                self._body_refused = True
                raise BodyReadError(self._body_problem()) from None
            if isinstance(event, h11.Data):
                return {"type": "http.request", "body": bytes(event.data), "more_body": True}
            if isinstance(event, h11.EndOfMessage):
                return {"type": "http.request", "body": b"", "more_body": False}
            await self._read_more_body()

    def _body_problem(self) -> Problem:
        if self._eof:
            return Problem("body_incomplete", "The connection ended within the body.")
        return Problem("request_malformed", "The body is not framed as its head says.")

    async def _wait_for_eof(self) -> AsgiMessage:
        """Wait until the client ends the connection.

        Behind too many pipelined bytes it cannot be seen: wait for ever.
        """
        while len(self._h11.trailing_data[0]) < BODY_CHUNK:
            data = await self._receive_some()
            self._h11.receive_data(data)
            if not data:
                return {"type": "http.disconnect"}
        await trio.sleep_forever()
        raise AssertionError

    async def _receive_some(self) -> bytes:
        try:
            return bytes(await self._stream.stream.receive_some(BODY_CHUNK))
        except trio.BrokenResourceError:
            self._stream.mark_broken()
            raise

    async def _read_more_body(self) -> None:
        self._continue_due = False
        if self._h11.they_are_waiting_for_100_continue:
            # Said only here, when the body is wanted: a refusal that needs no body comes in its place.
            await self._stream.send_all(
                self._h11.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
            )
        with trio.move_on_after(self._options.body_pause) as scope:
            data = await self._receive_some()
        if scope.cancelled_caught:
            self._body_refused = True
            raise BodyReadError(
                Problem("body_slow", f"The body paused for {self._options.body_pause:g} seconds.")
            )
        self._eof = not data
        self._h11.receive_data(data)

    # Answering

    async def _serve_request(self, request: h11.Request) -> bool:
        """Answer one request.  True where the connection can take another."""
        self._method = request.method
        self._started_at = trio.current_time()
        self._continue_due = self._h11.they_are_waiting_for_100_continue
        self._head = head = request_head(
            request, self._peer[0] if self._peer else "", self._local[0] if self._local else "", self._secure
        )
        refusal = self._door(head)
        if isinstance(refusal, Problem):
            raise RefusedError(refusal)
        if refusal is not None:
            await self._answer_early(200, sse.CONTENT_TYPE, refusal)
            return False
        if is_websocket_upgrade(head) and request.http_version == b"1.1":
            self._accept_websocket(head)
            return False
        await self._run_app(request, head)
        self._report(self._protocol.status)
        if self._takeover is not None:
            return False
        return await self._discard_body()

    def _accept_websocket(self, head: RequestHead) -> None:
        verdict = check_handshake(head) or self._websockets(head)
        if isinstance(verdict, Problem):
            raise RefusedError(verdict)
        # h11 has nothing to do with what follows: everything behind the head is the WebSocket's.
        early = bytes(self._h11.trailing_data[0])
        self._takeover = Takeover(
            lambda stream: serve_websocket(cast("OrderedStream", stream), head, early, verdict),
            is_websocket=True,
        )
        self._report(101)

    def _report(self, status: int) -> None:
        self._on_answer(self._head, status, trio.current_time() - self._started_at)
        self._head = None

    async def _run_app(self, request: h11.Request, head: RequestHead) -> None:
        http = HTTPStream(
            self._protocol.app,
            self._config,
            self._protocol.context,
            self._tasks,
            self._secure,
            self._peer,
            self._local,
            self._protocol.stream_send,
            STREAM_ID,
        )
        self._protocol.stream = http
        target = head.path + ("?" + head.query if head.query else "")
        await http.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method=head.method,
                raw_path=target.encode("ascii"),
                state=ConnectionState({}),
            )
        )
        scope = self._tasks.scope
        send = self._tasks.send
        scope["sluiceway.handover"] = self._handover
        scope["sluiceway.head"] = head
        try:
            await self._app(scope, self._receive_body, send)
        except BodyReadError as error:
            raise RefusedError(error.problem) from None
        except Exception:
            if self._stream.broken:
                raise
            _log.exception("the app failed on %s %s", head.method, head.path)
            if http.state is not ASGIHTTPState.REQUEST:
                raise trio.BrokenResourceError("the app failed in the middle of its answer") from None
            raise RefusedError(Problem("server_failed", "The server failed. It has been logged.")) from None
        if self._takeover is None and http.state is not ASGIHTTPState.CLOSED:
            _log.error("the app left %s %s unanswered", head.method, head.path)
            if http.state is not ASGIHTTPState.REQUEST:
                raise trio.BrokenResourceError("the app left its answer unfinished")
            raise RefusedError(Problem("server_failed", "The server failed. It has been logged."))
        await http.handle(StreamClosed(stream_id=STREAM_ID))

    async def _handover(self, start: AsgiMessage, run: RunStream) -> None:
        """The scope's `sluiceway.handover`: take the head of a streaming answer, and promise to run `run`
        after the app returned.

        The head is held back and leaves in one write with the stream's first bytes, so `run` has opened what
        it needs before the client can know that its stream is open.
        """
        start["headers"] = [*start["headers"], (b"connection", b"close")]
        sized = any(name.lower() == b"content-length" for name, _ in start["headers"])
        chunked = self._h11.their_http_version != b"1.0" and not sized
        self._stream.framing = Framing.CHUNKED if chunked else Framing.IDENTITY
        self._corked = True
        await self._tasks.send(cast("ASGISendEvent", start))
        self._takeover = Takeover(run)

    async def _protocol_send(self, event: Event) -> None:
        """Hypercorn's way out.

        `Closed` and `Updated` need no answer: the loop in `serve` decides by h11's state.
        """
        if not isinstance(event, RawData):
            return
        if self._corked:
            self._stream.hold(event.data)
        else:
            await self._stream.send_all(event.data)

    async def _discard_body(self) -> bool:
        """Read off what the app left of the body.  False where the connection cannot go on."""
        discarded = 0
        while self._h11.their_state is h11.SEND_BODY:
            # Where nobody asked for the body, the client may hold it back for ever.
            if self._body_refused or self._continue_due:
                return False
            try:
                message = await self._receive_body()
            except BodyReadError:
                return False
            discarded += len(message["body"])
            if discarded > DISCARD_AFTER_ANSWER:
                return False
        return self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE

    async def _refuse(self, problem: Problem) -> None:
        headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
        await self._answer_early(problem.status, CONTENT_TYPE, problem.encode(), headers)

    async def _answer_early(
        self, status: int, content_type: str, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Answer without the app, and for the last time on this connection."""
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        response = h11.Response(
            status_code=status,
            headers=[
                (b"content-type", content_type.encode()),
                (b"content-length", b"%d" % len(body)),
                (b"cache-control", b"no-store"),
                (b"connection", b"close"),
                *headers,
                *self._config.response_headers("h11"),
            ],
        )
        parts = [self._h11.send(response)]
        if self._method != b"HEAD":
            parts.append(self._h11.send(h11.Data(data=body)))
        await self._stream.send_all(b"".join(part or b"" for part in parts))
        self._report(status)


async def linger(stream: OrderedStream) -> None:
    """Close in a way that the peer gets to read the answer: half-close, then discard what still comes, within
    bounds.

    A socket closed with unread bytes resets the connection, and the reset overtakes the answer.
    """
    below = stream.stream
    with trio.move_on_after(LINGER_SECONDS):
        if isinstance(below, trio.SSLStream):
            # close_notify, without which a client cannot tell the end from a cut (RFC 8446, section 6.1).
            try:
                below, _ = await below.unwrap()
            except trio.BrokenResourceError:
                return
        if isinstance(below, trio.abc.HalfCloseableStream):
            await below.send_eof()
        discarded = 0
        while discarded < LINGER_BYTES:
            data = await below.receive_some(BODY_CHUNK)
            if not data:
                return
            discarded += len(data)
