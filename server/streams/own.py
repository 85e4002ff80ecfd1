"""Streams for one's own routes: an async function is given a writer, and what it writes is the answer.

    @blueprint.get("/count")
    async def count() -> Response:
        async def write(text: TextWriter) -> None:
            for number in range(10):
                await text.writeln(str(number))
                await trio.sleep(1)

        return stream_text(write)

The function runs once the answer's head has left, in a cancel scope of its own inside of a nursery: when the
client goes away it is cancelled, whatever it waits for.  The stream stands in the registry like every other
one, so it is counted, logged, drained and ends with one reason.

Once the head has left, no status can tell the client of a failure.  An event stream then ends with `event:
error`, which says nothing of the inside; text and bytes are cut off, so that the client does not take a part
for the whole.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Generic, NoReturn, TypeVar

import trio
from quart import Response, current_app, has_request_context, request

from ..hub import Hub
from ..lifecycle import CloseReason, OpenStream, RequestHead, StreamKind
from ..transport import STREAM_HEADERS, ByteStream
from ..wire import json_text, sse
from ..wire.problem import CODES, Problem, ProblemError
from .events import EventServices, closing_event, refused_events
from .heads import head_of
from .responses import StreamBody
from .writers import ByteWriter, EventWriter, Output, TextWriter, Writer

EXTENSION = "sluiceway"
"""The key of `EventServices` in the app's `extensions`."""

W = TypeVar("W", bound=Writer)
Write = Callable[[W], Awaitable[object]]
OnError = Callable[[Exception, W], Awaitable[object]]

_log = logging.getLogger("sluiceway.streams")


def stream_bytes(
    write: Write[ByteWriter],
    on_error: OnError[ByteWriter] | None = None,
    *,
    content_type: str = "application/octet-stream",
    length: int | None = None,
) -> Response:
    """An answer of bytes, as `write` writes them.

    Args:
        write: an async function of one `ByteWriter`.  It runs after the route has returned, when `request` is
            gone: read before what it needs.
        on_error: awaited with the exception that ended `write`, and the writer, which still writes.  It is
            logged either way, and then the answer is cut off.
        content_type: the Content-Type of the answer.
        length: how many bytes there will be, where that is known: the Content-Length.  With fewer the answer
            is cut off, and a write that would make more raises ValueError.

    Raises:
        ProblemError: the server is shutting down.
        TypeError: `write` is no async function.
        RuntimeError: not called by a route of an app of this server.
    """
    _check("stream_bytes", write, on_error)
    head = asked_for("stream_bytes")
    own = OwnStream(current_services(), head.without_headers(), "file", write, ByteWriter, on_error, length)
    response = Response(StreamBody(own.run), headers=STREAM_HEADERS, content_type=content_type)
    if length is not None:
        response.content_length = length
    return response


def stream_text(write: Write[TextWriter], on_error: OnError[TextWriter] | None = None) -> Response:
    """An answer of plain text in UTF-8, as `write` writes it.  As `stream_bytes`, otherwise."""
    _check("stream_text", write, on_error)
    head = asked_for("stream_text")
    own = OwnStream(current_services(), head.without_headers(), "text", write, TextWriter, on_error)
    return Response(StreamBody(own.run), headers=STREAM_HEADERS, content_type="text/plain; charset=utf-8")


def stream_events(write: Write[EventWriter], on_error: OnError[EventWriter] | None = None) -> Response:
    """An answer of Server-Sent Events, as `write` sends them.

    A comment is sent after each heartbeat interval in which `write` was silent.  When the server stops,
    `write` is cancelled, and `event: closing` is the last one.  As `stream_bytes`, otherwise.
    """
    _check("stream_events", write, on_error)
    head = asked_for("stream_events", refuse=False)
    services = current_services()
    if services.gate.draining:
        if not head.accepts_event_stream:
            _refuse_draining(services)
        # At any other status but 200, EventSource would give up for good.
        refusal = refused_events(CloseReason.SERVER_DRAINING, services.gate.retry_ms())
        return Response(refusal, headers=STREAM_HEADERS, content_type=sse.CONTENT_TYPE)
    own = OwnStream(services, head.without_headers(), "events", write, EventWriter, on_error)
    return Response(StreamBody(own.run), headers=STREAM_HEADERS, content_type=sse.CONTENT_TYPE)


def current_hub() -> Hub:
    """The hub of the app under way, to publish to from one's own routes.

    Raises:
        RuntimeError: there is no app of this server.
    """
    return current_services().hub


@dataclass(frozen=True, slots=True)
class OwnStream(Generic[W]):
    """One stream of somebody's own: `write` with a writer that `make` makes."""

    services: EventServices
    head: RequestHead
    kind: StreamKind
    write: Write[W]
    make: Callable[[Output], W]
    on_error: OnError[W] | None = None
    length: int | None = None
    head_after: float = 0.0
    """Seconds for which the head waits for what the function writes first.  Where that fails before, the
    client is told so with a status; later than this it is only cut off."""

    async def run(self, stream: ByteStream) -> None:
        """Run the function to its end.  Returning means that the answer is complete.

        Raises:
            trio.BrokenResourceError: the client is gone, was too slow, or must not take the answer for whole.
        """
        whole = False
        with self.services.registry.open_stream(self.kind, self.head) as opened:
            try:
                async with trio.open_nursery() as nursery:
                    output = Output(stream, opened, nursery)
                    output.left = self.length
                    opened.on_end(output.stop if self.kind == "events" else _go_on)
                    whole = await self._write(output, opened)
                    nursery.cancel_scope.cancel()
            finally:
                opened.bytes_sent = stream.bytes_sent
        if not whole:
            raise trio.BrokenResourceError(f"the stream is cut off: {opened.reason}")

    async def _write(self, output: Output, opened: OpenStream) -> bool:
        """Let the function write, then say the last word.  Whether the answer is whole."""
        try:
            if self.head_after:
                output.flush_after(self.head_after)
            else:
                # The head leaves at once, whenever the function comes to its first write.
                await output.flush()
            with self._heartbeats(output):
                failure = await self._call(output)
                if failure is not None:
                    opened.reason = opened.reason or CloseReason.FAILED
                    await self._report(failure, output)
                    if self.head_after and await output.refuse(_problem_of(failure)):
                        return True
            return await self._finish(output, opened, failed=failure is not None)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # Of the connection: those of the function do not come here.
            return False
        finally:
            output.end("the stream is over: its function has returned")

    def _heartbeats(self, output: Output) -> AbstractContextManager[object]:
        return self.services.heartbeats.keep(output) if self.kind == "events" else nullcontext()

    async def _call(self, output: Output) -> Exception | None:
        """Run the function; what it raised, unless that was only the news of its end."""
        try:
            with output.scope:
                await _awaitable(self.write(self.make(output)))
            output.over = output.complete or not output.scope.cancelled_caught
        except Exception as error:  # noqa: BLE001 - the guard of somebody else's code
            output.over = output.complete or not output.gone
            if self._is_news(error, output):
                return None
            if isinstance(error, ProblemError) and error.__cause__ is None and not output.started:
                # An answer, and no failure of the function.
                return error
            _log.error("the function of a stream failed on %s", self.head.path, exc_info=error)
            return error
        except BaseExceptionGroup as group:
            # Cancelled, and failed on the way out.
            failures, rest = group.split(Exception)
            if failures is not None and not self._is_news(failures, output):
                _log.error("the function of a stream failed on %s", self.head.path, exc_info=failures)
            assert rest is not None
            raise rest from None
        return None

    def _is_news(self, error: BaseException, output: Output) -> bool:
        return (output.gone or output.complete) and _is_about_the_connection(error)

    async def _report(self, failure: Exception, output: Output) -> None:
        """Let the error handler have its say."""
        if self.on_error is None or output.gone:
            return
        try:
            with trio.CancelScope() as output.scope:
                await _awaitable(self.on_error(failure, self.make(output)))
        except Exception as error:  # noqa: BLE001 - as above
            if not self._is_news(error, output):
                _log.error("the error handler of a stream failed on %s", self.head.path, exc_info=error)

    async def _finish(self, output: Output, opened: OpenStream, *, failed: bool) -> bool:
        if output.gone:
            # Where nobody else has said why, it was the function itself that cancelled a write.
            opened.reason = opened.reason or CloseReason.SLOW_CONSUMER
            return False
        if self.kind == "events":
            await self._say_goodbye(output, opened, failed=failed)
        elif failed:
            return False
        if output.left:
            _log.error("a stream ended %d bytes short of its length on %s", output.left, self.head.path)
            opened.reason = opened.reason or CloseReason.FAILED
            return False
        if self.kind != "events" and opened.reason is CloseReason.SERVER_DRAINING:
            # It was asked to end, and has come to its own end in time.
            opened.reason = CloseReason.COMPLETED
        # What the connection still holds: returning would lose it in the nursery's cancellation.
        await output.flush()
        return True

    async def _say_goodbye(self, output: Output, opened: OpenStream, *, failed: bool) -> None:
        if failed:
            shown = {"code": "server_failed", "message": CODES["server_failed"].title + "."}
            await output.last(sse.encode_event(event="error", data=json_text.encode(shown)))
        elif not output.over and opened.reason is not None:
            await output.last(closing_event(opened.reason, self.services.gate.retry_ms()))


def _problem_of(failure: Exception) -> Problem:
    if isinstance(failure, ProblemError):
        return failure.problem
    return Problem("server_failed", "The server failed. It has been logged.")


def _go_on() -> None:
    """Text and bytes have an end that is near: they are cut off only when the drain's time is over."""


def _is_about_the_connection(error: BaseException) -> bool:
    """Whether `error` is nothing but what writes raise once the client is gone."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_about_the_connection(each) for each in error.exceptions)
    return isinstance(error, trio.BrokenResourceError | trio.ClosedResourceError | trio.Cancelled)


def asked_for(name: str, *, refuse: bool = True) -> RequestHead:
    """The head of the request that the helper `name` is to answer.

    Raises:
        ProblemError: `server_draining`, unless `refuse` is false.
        RuntimeError: there is no request, or no app of this server.
    """
    if not has_request_context():
        raise RuntimeError(f"{name} is called by a route, while it answers a request")
    services = current_services()
    if refuse and services.gate.draining:
        _refuse_draining(services)
    return head_of(request)


def _refuse_draining(services: EventServices) -> NoReturn:
    seconds = max(1, round(services.gate.retry_ms() / 1000))
    raise ProblemError("server_draining", "The server is shutting down.", Retry_After=str(seconds))


def current_services() -> EventServices:
    """The services of the app under way.

    Raises:
        RuntimeError: there is no app of this server.
    """
    services = current_app.extensions.get(EXTENSION) if current_app else None
    if not isinstance(services, EventServices):
        raise RuntimeError(
            "this app has no streams: register the blueprint with server.run(blueprints=[…]), "
            "server.asgi_app or open_application, which make the app"
        )
    return services


def _check(name: str, write: object, on_error: object) -> None:
    _check_function(name, write)
    if on_error is not None:
        _check_function(f"the error handler of {name}", on_error)


def _check_function(name: str, function: object) -> None:
    if inspect.iscoroutine(function):
        function.close()
        raise TypeError(f"{name} takes the async function itself: leave out the () behind it")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{name} takes an async function of one writer, and {function.__name__} is a generator: "
            "write with the writer in place of yield, or give the generator to the writer's pipe()"
        )
    if not callable(function):
        raise TypeError(f"{name} takes an async function of one writer, not {type(function).__name__}")


def _awaitable(result: object) -> Awaitable[object]:
    # Not asked before the call: a lambda that returns `writer.pipe(source)` is as good as an async function.
    if not inspect.isawaitable(result):
        raise TypeError(f"the function of a stream has to be async; this one returned {result!r}")
    return result
