"""Where streams meet Quart: request bodies that are pulled, and responses that leave the HTTP machinery.

Quart-Trio's own connection class starts two tasks a request, appends a body to memory as fast as the client
sends it, and sends a streaming body chunk by chunk through every layer.  `StreamingConnection` does none of
that: the body is read from the server when the handler asks for it, and a `StreamBody` is handed over to the
connection (`sluiceway.handover` in the ASGI scope), or, under a server without a handover, run here over
ASGI's `send`.

Leaned on inside of Quart 0.22.0 and Quart-Trio 0.12.0 (tests/transport/test_neighbours.py): the connection
class's `_create_request_from_scope` and `_send_response`, the request's `body_class`, and a response's
`response` attribute.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Self, cast

import trio
from quart.utils import encode_headers
from quart.wrappers import Response
from quart.wrappers.response import ResponseBody
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers import TrioRequest
from quart_trio.wrappers.request import TrioBody

from ..transport import DESCRIBING, AsgiMessage, Framing, Headers, RunStream, Sent
from ..wire.problem import ProblemError

Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]


class PulledBody(TrioBody):
    """A request's body, read from the client only as fast as it is asked for.

    Iterate it, once, for its pieces.
    """

    receive: Receive
    _ended = False

    def __init__(
        self,
        expected_content_length: int | None,  # noqa: ARG002 - of its base
        max_content_length: int | None,
    ) -> None:
        # Not its base's: that makes a buffer and two events, for a body that is pushed.
        self._max_content_length = max_content_length

    def clear(self) -> None:
        """Nothing: no body is kept."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._ended:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                self._ended = True
                raise ProblemError("body_incomplete", "The connection ended within the body.")
            self._ended = not message.get("more_body", False)
            # ASGI lets a server leave an empty body out.
            if body := message.get("body"):
                return cast("bytes", body)
        raise StopAsyncIteration

    def __await__(self) -> Generator[Any, None, bytes]:
        return self.read_all(self._max_content_length).__await__()

    async def read_all(self, limit: int | None) -> bytes:
        """The whole body, at most `limit` bytes.

        Raises:
            ProblemError: `body_too_large`, as soon as it is known; `body_incomplete`.
        """
        # Not a list of pieces: each costs more than itself where a client sends a few bytes at a time.
        body = bytearray()
        async for piece in self:
            if limit is not None and len(body) + len(piece) > limit:
                raise ProblemError("body_too_large", f"A body here may have {limit} bytes.")
            body += piece
        return bytes(body)

    async def wait_gone(self) -> None:
        """Wait until the client has ended the connection.  The body must have been read.

        A client that has only ended its own side counts as gone, as it does to a stream.
        """
        try:
            while (await self.receive())["type"] != "http.disconnect":
                pass
        except trio.BrokenResourceError:
            return


class PulledRequest(TrioRequest):
    """A request with a `PulledBody`."""

    body_class = PulledBody
    body: PulledBody


class StreamBody(ResponseBody):
    """A response body that is run rather than iterated: `run` is given the connection, and everything it
    needs is opened there."""

    def __init__(self, run: RunStream) -> None:
        self.run = run

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException], exc_value: BaseException, tb: TracebackType
    ) -> None:
        pass

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        raise TypeError("a StreamBody needs StreamingConnection as the app's asgi_http_class")


class StreamingConnection(TrioASGIHTTPConnection):
    """One request and its answer, in the task of the server that called."""

    async def __call__(self, receive: Receive, send: Send) -> None:  # type: ignore[override]
        request = cast("PulledRequest", self._create_request_from_scope(cast("Any", send)))
        request.body.receive = receive
        response = await self.app.handle_request(request)
        body = response.response
        if not isinstance(response, Response) or not isinstance(body, StreamBody):
            await self._send_response(cast("Any", send), response)
            return
        start: AsgiMessage = {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": encode_headers(response.headers),
        }
        handover = cast("AsgiMessage", self.scope).get("sluiceway.handover")
        if request.method == "HEAD":
            await send(start)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        elif handover is not None:
            await handover(start, body.run)
        else:
            await _run_over_asgi(body.run, start, receive, send)


class AsgiStream:
    """A connection as a stream sees it where there is only ASGI: nothing can be sent without waiting."""

    framing = Framing.IDENTITY

    def __init__(self, start: AsgiMessage, send: Send) -> None:
        self._start: AsgiMessage | None = start
        self._send = send
        self.bytes_sent = 0

    def try_send(self, frame: bytes) -> Sent:  # noqa: ARG002 - of the protocol
        """Take nothing."""
        return Sent.BUSY

    def replace_head(self, status: int, headers: Headers) -> None:
        """See `HeadHolder`."""
        assert self._start is not None
        kept = [pair for pair in self._start["headers"] if pair[0].lower() not in DESCRIBING]
        self._start = {**self._start, "status": status, "headers": [*kept, *headers]}

    async def send_all(self, data: bytes) -> None:
        """Send `data`, and the response's head before the first of it."""
        if self._start is not None:
            start, self._start = self._start, None
            await self._send(start)
        if data:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
            self.bytes_sent += len(data)


async def _run_over_asgi(run: RunStream, start: AsgiMessage, receive: Receive, send: Send) -> None:
    """Run a stream over ASGI; a disconnect arrives as a cancellation, as it does after a handover."""
    complete = False
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_disconnect, receive, nursery.cancel_scope)
            stream = AsgiStream(start, send)
            await run(stream)
            await stream.send_all(b"")
            complete = True
            nursery.cancel_scope.cancel()
    except* trio.BrokenResourceError:
        # Cut off: the answer must not look complete.  A server left in the middle of one closes it.
        complete = False
    if complete:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _cancel_on_disconnect(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
