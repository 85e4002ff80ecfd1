"""How answers are shaped: JSON, problems, and the headers of streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from quart import Response

from ..hub import BatchTooLargeError, Draft, Hub, Message, MessageTooLargeError, TopicsFullError
from ..lifecycle import CloseReason, RequestHead
from ..streams import StreamBody, compressed, refused_events
from ..transport import STREAM_HEADERS, DrainGate, RunStream
from ..wire import openai_errors, sse
from ..wire.content_coding import Coding
from ..wire.problem import CONTENT_TYPE, Problem, ProblemError


@dataclass(frozen=True, slots=True)
class Answer:
    """A short answer as a value, which can be given again.  `body` is JSON; headers are beside the usual."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    def response(self) -> Response:
        """This answer, not to be stored."""
        headers = {"Cache-Control": "no-store", **dict(self.headers)}
        return Response(self.body, self.status, headers=headers, content_type="application/json")


def json_answer(value: object, status: int = 200, **headers: str) -> Answer:
    """`value` as JSON; headers are keywords with `_` for `-`."""
    pairs = tuple((name.replace("_", "-"), text) for name, text in headers.items())
    return Answer(status, msgspec.json.encode(value), pairs)


def json_response(value: object, status: int = 200) -> Response:
    """`value` as JSON, not to be stored."""
    return json_answer(value, status).response()


def told(head: RequestHead | None, problem: Problem) -> tuple[int, str, bytes]:
    """How `problem` is told to who asks with `head`: status, Content-Type and body.

    Below `/v1` as OpenAI's clients read errors, everywhere else as application/problem+json.
    """
    if head is not None and head.path.startswith("/v1/"):
        return openai_errors.status_of(problem), openai_errors.CONTENT_TYPE, openai_errors.error_body(problem)
    return problem.status, CONTENT_TYPE, problem.encode()


def problem_response(problem: Problem, head: RequestHead | None = None) -> Response:
    """`problem` as an answer to the request with `head`."""
    status, content_type, body = told(head, problem)
    headers = {"Cache-Control": "no-store", **problem.headers}
    return Response(body, status, headers=headers, content_type=content_type)


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
    stream of one `closing`, as its whole body; every other client the problem `code`.  So do those of other
    ecosystems, whatever they accept: they know no such event.
    """
    retry_ms = gate.retry_ms()
    if head.accepts_event_stream and not head.path.startswith(("/v1/", "/api/")):
        return refused_events(reason, retry_ms)
    return Problem(code, detail, headers={"Retry-After": str(max(1, round(retry_ms / 1000)))})


def refused_response(refusal: bytes | Problem) -> Response:
    """What `refuse_events` said, as a response."""
    if isinstance(refusal, Problem):
        return problem_response(refusal)
    return Response(refusal, headers=STREAM_HEADERS, content_type=sse.CONTENT_TYPE)


def topics_full() -> ProblemError:
    """What a client is told that wants one topic more than there may be."""
    return ProblemError("topics_full", "As many topics are in use as this server allows.", Retry_After="5")


__all__ = [
    "Answer",
    "ProblemError",
    "compressed_event_stream",
    "event_stream",
    "json_answer",
    "json_response",
    "problem_response",
    "refuse_events",
    "refused_response",
    "told",
    "topics_full",
]


async def publish_or_refuse(hub: Hub, drafts: Sequence[Draft]) -> list[Message]:
    """`Hub.publish`, its errors as problems.

    Raises:
        ProblemError: `topics_full`, `body_too_large`, `batch_too_large`.
    """
    try:
        return await hub.publish(drafts)
    except TopicsFullError:
        raise topics_full() from None
    except MessageTooLargeError as error:
        detail = f"As text and as an event a message may take {error.limit} bytes; this takes {error.size}."
        raise ProblemError("body_too_large", detail) from None
    except BatchTooLargeError as error:
        detail = (
            f"The topic waits for its subscribers, and takes {error.capacity} messages, or messages "
            f"reckoned at {error.capacity_bytes} bytes, at once."
        )
        raise ProblemError("batch_too_large", detail) from None
