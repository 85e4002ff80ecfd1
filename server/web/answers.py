"""How answers are shaped: JSON, problems, and the headers of streams."""

from __future__ import annotations

import msgspec
from quart import Response

from ..lifecycle import CloseReason, RequestHead
from ..streams import StreamBody, compressed, refused_events
from ..transport import DrainGate, RunStream
from ..wire import sse
from ..wire.content_coding import Coding
from ..wire.problem import CONTENT_TYPE, Problem, ProblemError

STREAM_HEADERS = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no", "Vary": "Accept"}


def json_response(value: object, status: int = 200) -> Response:
    """`value` as JSON, not to be stored."""
    return Response(
        msgspec.json.encode(value),
        status,
        headers={"Cache-Control": "no-store"},
        content_type="application/json",
    )


def problem_response(problem: Problem) -> Response:
    """`problem` as application/problem+json."""
    headers = {"Cache-Control": "no-store", **problem.headers}
    return Response(problem.encode(), problem.status, headers=headers, content_type=CONTENT_TYPE)


def event_stream(run: RunStream) -> Response:
    """A streaming answer of events."""
    return Response(StreamBody(run), headers=STREAM_HEADERS, content_type=sse.CONTENT_TYPE)


def compressed_event_stream(run: RunStream, coding: Coding | None) -> Response:
    """A streaming answer of events whose `coding` Accept-Encoding decided; None is identity."""
    if coding is None:
        response = event_stream(run)
    else:
        response = event_stream(compressed(run, coding))
        response.content_encoding = coding.name
    response.vary.add("Accept-Encoding")
    return response


def refuse_events(
    head: RequestHead, code: str, detail: str, reason: CloseReason, gate: DrainGate
) -> bytes | Problem:
    """The answer to a request for an event stream that cannot be served for now.

    EventSource gives up for good at any status but 200: a client that names `text/event-stream` gets an event
    stream of one `closing`, as its whole body; every other client the problem `code`.
    """
    retry_ms = gate.retry_ms()
    if head.accepts_event_stream:
        return refused_events(reason, retry_ms)
    return Problem(code, detail, headers={"Retry-After": str(max(1, round(retry_ms / 1000)))})


def refused_response(refusal: bytes | Problem) -> Response:
    """What `refuse_events` said, as a response."""
    if isinstance(refusal, Problem):
        return problem_response(refusal)
    return Response(refusal, headers=STREAM_HEADERS, content_type=sse.CONTENT_TYPE)


__all__ = [
    "ProblemError",
    "compressed_event_stream",
    "event_stream",
    "json_response",
    "problem_response",
    "refuse_events",
    "refused_response",
]
