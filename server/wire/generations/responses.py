"""`responses`: OpenAI's Responses API: its object, its events, and the place that each event has.

https://platform.openai.com/docs/api-reference/responses-streaming.  Every event has a `sequence_number`, by
which a client resumes (`starting_after`); it is the same for every viewer, since it follows from the deltas
alone.  The protocol has no event for a response that somebody cancelled: it ends with
``response.incomplete``, whose response has the status `cancelled`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

import msgspec

from .. import sse
from ..deltas import About, Delta, Failure, Usage
from ..problem import CODES
from .answer import Answer, Passage
from .brackets import Bracket, Call, CallEnd, CallPiece, CallStart, TextEnd, TextPiece, TextStart
from .sse_data import data_event

Status: TypeAlias = Literal["queued", "in_progress", "completed", "failed", "cancelled", "incomplete"]
_ItemStatus: TypeAlias = Literal["in_progress", "completed", "incomplete"]

_PREFIX = "resp_"
_LAST_EVENTS: dict[Status, str] = {"completed": "response.completed", "failed": "response.failed"}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for and is told back in the response object."""

    instructions: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    background: bool = False
    store: bool = True


def response_id(about_id: str) -> str:
    """The id of the response that the generation with this id makes."""
    return _PREFIX + about_id


def generation_id(response_id: str) -> str | None:
    """The id of the generation of a response; None where it is no response's id."""
    return response_id.removeprefix(_PREFIX) if response_id.startswith(_PREFIX) else None


def response_body(about: About, asked: Asked, answer: Answer, status: Status | None = None) -> bytes:
    """The response object with what has come of `answer` so far.

    `status` is said while the generation is waiting or running; once it has ended, it follows from `answer`.
    """
    return msgspec.json.encode(_response(about, asked, answer, status or _status(answer)))


class ResponseEvents:
    """The events of one response, from the one after `starting_after`.

    A delta that stands for several (`Text.pieces`) takes the place of the last of them.  A resume feeds those
    from before `starting_after` one by one: what is joined across that place cannot be parted again.
    """

    media_type: ClassVar[str] = sse.CONTENT_TYPE
    headers: ClassVar[tuple[tuple[str, str], ...]] = ()
    resumable: ClassVar[bool] = False
    heartbeat: ClassVar[bytes] = sse.HEARTBEAT

    def __init__(self, about: About, *, asked: Asked | None = None, starting_after: int = -1) -> None:
        self._about = about
        self._asked = asked or Asked()
        self._answer = Answer()
        self._ended_as: _ItemStatus = "completed"
        self._next = 0
        self._starting_after = starting_after

    def begin(self) -> bytes:
        response = _response(self._about, self._asked, self._answer, "in_progress")
        created = self._event("response.created", {"response": response})
        return created + self._event("response.in_progress", {"response": response})

    def delta(self, delta: Delta, *, id: str) -> bytes:
        return b"".join(map(self._encode, self._answer.add(delta)))

    def end(self) -> bytes:
        status = _status(self._answer)
        closing = self._answer.close()
        if status != "completed":
            # A text that was cut off is ended all the same; a call is not, since a client would make it.
            self._ended_as = "incomplete"
            closing = [each for each in closing if isinstance(each, TextEnd)]
        tail = b"".join(map(self._encode, closing))
        response = _response(self._about, self._asked, self._answer, status)
        return tail + self._event(_LAST_EVENTS.get(status, "response.incomplete"), {"response": response})

    def _encode(self, bracket: Bracket) -> bytes:
        match bracket:
            case TextStart(number):
                return self._begin_text(number)
            case TextPiece(number, text, pieces):
                self._next += pieces - 1
                return self._event(
                    "response.output_text.delta", self._content(number) | {"delta": text, "logprobs": []}
                )
            case TextEnd(number):
                return self._end_text(number)
            case CallStart(call):
                item = _item(self._about, call, "in_progress") | {"arguments": ""}
                return self._event("response.output_item.added", {"output_index": call.number, "item": item})
            case CallPiece(call, arguments):
                return self._event(
                    "response.function_call_arguments.delta", self._within(call) | {"delta": arguments}
                )
            case CallEnd(call):
                return self._end_call(call)

    def _begin_text(self, number: int) -> bytes:
        item = _item(self._about, self._answer.parts[number], "in_progress") | {"content": []}
        return self._event(
            "response.output_item.added", {"output_index": number, "item": item}
        ) + self._event("response.content_part.added", self._content(number) | {"part": _part("")})

    def _end_text(self, number: int) -> bytes:
        passage = self._answer.parts[number]
        assert isinstance(passage, Passage)
        part = _part(passage.text)
        item = _item(self._about, passage, self._ended_as)
        return (
            self._event(
                "response.output_text.done", self._content(number) | {"text": passage.text, "logprobs": []}
            )
            + self._event("response.content_part.done", self._content(number) | {"part": part})
            + self._event("response.output_item.done", {"output_index": number, "item": item})
        )

    def _end_call(self, call: Call) -> bytes:
        whole = {"arguments": call.arguments, "name": call.name}
        item = _item(self._about, call, "completed")
        return self._event("response.function_call_arguments.done", self._within(call) | whole) + self._event(
            "response.output_item.done", {"output_index": call.number, "item": item}
        )

    def _within(self, part: Passage | Call) -> dict[str, object]:
        return {"item_id": _item_id(self._about, part), "output_index": part.number}

    def _content(self, number: int) -> dict[str, object]:
        return self._within(self._answer.parts[number]) | {"content_index": 0}

    def _event(self, type: str, fields: dict[str, object]) -> bytes:
        number, self._next = self._next, self._next + 1
        if number <= self._starting_after:
            return b""
        return data_event({"type": type, "sequence_number": number} | fields, event=type)


def _response(about: About, asked: Asked, answer: Answer, status: Status) -> dict[str, object]:
    error, reason, usage = None, None, None
    if status == "failed" and answer.failure is not None:
        error = {"code": _error_code(answer.failure), "message": answer.failure.message}
    if status == "incomplete" and answer.finish is not None:
        reason = {"reason": _INCOMPLETE[answer.finish]}
    if answer.usage is not None:
        usage = _usage(answer.usage)
    return {
        "id": response_id(about.id),
        "object": "response",
        "created_at": about.created,
        "status": status,
        "background": asked.background,
        "error": error,
        "incomplete_details": reason,
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "model": about.model,
        "output": [_item(about, part, _item_status(answer, part, status)) for part in answer.parts],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": asked.store,
        "temperature": asked.temperature,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": asked.top_p,
        "truncation": "disabled",
        "usage": usage,
        "user": None,
        "metadata": asked.metadata,
    }


def _status(answer: Answer) -> Status:
    """How a response ended whose deltas are over."""
    if answer.failure is not None:
        return "failed"
    if answer.is_stopped:
        return "cancelled"
    return "incomplete" if answer.finish in _INCOMPLETE else "completed"


def _item_status(answer: Answer, part: Passage | Call, status: Status) -> _ItemStatus:
    is_over = isinstance(part, Passage) and part is not answer.parts[-1]
    if status == "completed" or is_over:
        return "completed"
    return "in_progress" if status in ("queued", "in_progress") else "incomplete"


def _item(about: About, part: Passage | Call, status: _ItemStatus) -> dict[str, object]:
    item: dict[str, object] = {"id": _item_id(about, part), "status": status}
    if isinstance(part, Passage):
        return item | {"type": "message", "role": "assistant", "content": [_part(part.text)]}
    return item | {
        "type": "function_call",
        "arguments": part.arguments,
        "call_id": part.id,
        "name": part.name,
    }


def _item_id(about: About, part: Passage | Call) -> str:
    kind = "msg" if isinstance(part, Passage) else "fc"
    return f"{kind}_{about.id}_{part.number}"


def _part(text: str) -> dict[str, object]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _error_code(failure: Failure) -> str:
    # The protocol knows a list of codes, of which two are for what can happen here.
    code = CODES.get(failure.code)
    return "rate_limit_exceeded" if code is not None and code.status == 429 else "server_error"


def _usage(usage: Usage) -> dict[str, object]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
