"""One HTTP/1.1 connection: read a head, let the app answer through Hypercorn, hand streams over.

Hypercorn's protocol classes (`hypercorn`) turn the app's ASGI messages into bytes; its TCPServer, whose read
loop and shielded writes are what ends or hangs a stock server, is replaced by `HttpConnection`: strictly one
request at a time, in the connection's own task, with the request's body read only when the app asks for it.
So a request costs no task, a body has backpressure by construction, `100 Continue` is said exactly when the
body is wanted, and bytes pipelined behind a request stay where they are until it has been answered.

A streaming answer calls the scope's `sluiceway.handover` and returns.  Its head is then held back,
Hypercorn's and Quart's part is over and freed, and the connection's task runs the stream on the bare
`OrderedStream`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Event, RawData
from hypercorn.protocol.events import Request, StreamClosed
from hypercorn.protocol.h11 import STREAM_ID
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGISendEvent, ConnectionState

from ..lifecycle import RequestHead
from ..wire import sse
from ..wire.problem import Problem
from .drain import IdleConnections
from .head import PrefaceError, RefusedError, is_websocket_upgrade, request_head
from .hypercorn import AsgiApp, AsgiMessage, InlineTasks, ResponseWriter
from .reading import BodyReadError, HttpOptions, RequestReader
from .websocket import WebSocketDoor, check_handshake, serve_websocket
from .writes import ByteStream, Framing, OrderedStream

_E = TypeVar("_E", bound=BaseException)

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

STREAM_HEADERS = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no", "Vary": "Accept"}
"""What every answer that is a stream carries, so that no proxy stores, compresses or holds it back."""

Tell = Callable[[RequestHead | None, Problem], tuple[int, str, bytes]]
"""How a problem is told to who asked (None where that could not be parsed): status, Content-Type, body."""

EarlyHeaders = Callable[[RequestHead], Mapping[str, str]]
"""What an answer without the app has to carry for this request all the same, as CORS headers."""

_log = logging.getLogger("sluiceway.transport")


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
        early_headers: EarlyHeaders,
        tell: Tell,
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
        self._config = config
        self._peer = peer
        self._local = local
        self._secure = secure
        self._tasks = InlineTasks()
        self._context = context
        self._reader = RequestReader(stream, idle, options)
        self._h11 = self._reader.h11
        self._protocol = ResponseWriter(config, self._h11, self._protocol_send)
        self._on_answer = on_answer
        self._early_headers = early_headers
        self._tell = tell
        self._head: RequestHead | None = None
        self._method = b""
        self._corked = False
        self._takeover: Takeover | None = None

    async def serve(self) -> Takeover | None:
        """Serve requests until the connection has to end (None) or a stream or WebSocket takes it over.

        Raises:
            trio.BrokenResourceError: the peer went away.
        """
        try:
            while True:
                self._method = b""
                request = await self._reader.next_request()
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
        finally:
            # These refer back to here, in circles: without this they would stay until a garbage collection,
            # behind each stream that has been handed over.
            self._tasks.clear()
            self._protocol.clear()

    # Answering

    async def _serve_request(self, request: h11.Request) -> bool:
        """Answer one request.  True where the connection can take another."""
        self._method = request.method
        self._head = head = request_head(
            request, self._peer[0] if self._peer else "", self._local[0] if self._local else "", self._secure
        )
        refusal = self._door(head)
        if isinstance(refusal, Problem):
            raise RefusedError(refusal)
        if refusal is not None:
            await self._answer_early(200, sse.CONTENT_TYPE, refusal, STREAM_HEADERS)
            return False
        if is_websocket_upgrade(head) and request.http_version == b"1.1":
            self._accept_websocket(head)
            return False
        await self._run_app(request, head)
        self._report(self._protocol.status)
        if self._takeover is not None:
            return False
        return await self._reader.discard_body()

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
        self._on_answer(self._head, status, trio.current_time() - self._reader.started_at)
        self._head = None

    async def _run_app(self, request: h11.Request, head: RequestHead) -> None:
        http = HTTPStream(
            cast("AppWrapper", self._app),  # never called by Hypercorn here: `InlineTasks` starts nothing
            self._config,
            self._context,
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
            await self._app(scope, self._reader.receive, send)
        except Exception as error:
            unread = _first_of(error, BodyReadError)
            if unread is not None:
                raise RefusedError(unread.problem) from None
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

    async def _refuse(self, problem: Problem) -> None:
        headers = {"Cache-Control": "no-store", **problem.headers}
        status, content_type, body = self._tell(self._head, problem)
        await self._answer_early(status, content_type, body, headers)

    async def _answer_early(
        self, status: int, content_type: str, body: bytes, headers: Mapping[str, str]
    ) -> None:
        """Answer without the app, and for the last time on this connection."""
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        # Two lists, since both may have a Vary.
        all_headers = [*headers.items(), *(self._early_headers(self._head).items() if self._head else ())]
        response = h11.Response(
            status_code=status,
            headers=[
                (b"content-type", content_type.encode()),
                (b"content-length", b"%d" % len(body)),
                (b"x-content-type-options", b"nosniff"),
                (b"connection", b"close"),
                *((name.encode(), value.encode()) for name, value in all_headers),
                *self._config.response_headers("h11"),
            ],
        )
        parts = [self._h11.send(response)]
        if self._method != b"HEAD":
            parts.append(self._h11.send(h11.Data(data=body)))
        await self._stream.send_all(b"".join(part or b"" for part in parts))
        self._report(status)


def _first_of(error: BaseException, kind: type[_E]) -> _E | None:
    """The first exception of `kind` that `error` is, or that it holds as a group."""
    if isinstance(error, kind):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := _first_of(each, kind))), None)
    return None
