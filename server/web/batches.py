"""What is published, as bodies have it: one message as JSON, or a batch of them as NDJSON.

A batch is published whole or not at all, so all of it is checked first.  That takes a while, and others run
in between.  The first line that is wrong is named by its number, from 1, as the first step of the pointer:
`/12/event` is the event of line 12.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Annotated, NoReturn, TypeVar

import msgspec
import trio

from ..hub import Draft
from ..wire import json_text, ndjson, sse
from ..wire.problem import ProblemError
from .requests import check_name

RESERVED_EVENTS = frozenset({"gap", "closing", "heartbeat", "open", "error"})
RETRY_MS = (500, 60_000)
"""Between which a published reconnection time is clamped."""

MAX_LINES = 10_000
"""Lines of a batch at most: what publishes them does so in one step, in which nothing else runs."""

_STEP = 64 * 1024
"""Bytes that are checked between two checkpoints, about; a line counts for `_LINE_COST` more than it has."""
_LINE_COST = 256


class Entry(msgspec.Struct, forbid_unknown_fields=True):
    """A message to be published; a line of a batch to one topic."""

    data: msgspec.Raw
    event: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    retry: Annotated[int, msgspec.Meta(ge=0, le=2**31)] | None = None

    def draft(self, topic: str) -> Draft:
        """The message, for `topic`."""
        retry = self.retry
        if retry is not None:
            retry = min(max(retry, RETRY_MS[0]), RETRY_MS[1])
        return Draft(topic, json_text.compact(self.data), self.event, retry)


class TopicEntry(Entry, kw_only=True):
    """A line of a batch across topics."""

    topic: str


_Line = TypeVar("_Line", bound=Entry)


def event_fault(event: str) -> str | None:
    """What keeps `event` from being published, None where nothing does."""
    if event in RESERVED_EVENTS:
        return f"reserved: {', '.join(sorted(RESERVED_EVENTS))}"
    if not sse.is_field_text(event):
        return "one line, without NUL"
    return None


def check_topic(topic: str, reserved: Container[str]) -> None:
    """Refuse what is no name, and the `reserved` topics, which the server alone publishes.

    Raises:
        ProblemError: `name_invalid`, `topic_reserved`.
    """
    check_name(topic)
    if topic in reserved:
        raise ProblemError("topic_reserved", f"The topic {topic} is published by the server alone.")


async def read_batch(body: bytes, topic: str) -> list[Draft]:
    """The messages of `body`, in order, all for `topic`.  At least one.

    Raises:
        ProblemError: `json_malformed`, `body_invalid`, `body_too_large`.
    """
    return await _read(body, Entry, lambda entry, number: topic)  # noqa: ARG005 - as the other one


async def read_batch_across_topics(body: bytes, reserved: Container[str]) -> list[Draft]:
    """The messages of `body`, in order, each for the topic that its line names, none of them `reserved`.  At
    least one.

    Raises:
        ProblemError: `json_malformed`, `body_invalid`, `body_too_large`, `topic_reserved`.
    """
    checked = set()

    def topic_of(entry: TopicEntry, number: int) -> str:
        if entry.topic not in checked:
            try:
                check_topic(entry.topic, reserved)
            except ProblemError as error:
                code = "body_invalid" if error.problem.code == "name_invalid" else error.problem.code
                _refuse(number, "/topic", error.problem.detail, code)
            checked.add(entry.topic)
        return entry.topic

    return await _read(body, TopicEntry, topic_of)


async def _read(body: bytes, type: type[_Line], topic_of: Callable[[_Line, int], str]) -> list[Draft]:
    _check_body(body)
    decode = json_text.Decoder(type).decode
    checked: set[str | None] = {None}
    drafts = []
    unyielded = 0
    for number, line in ndjson.lines(body):
        unyielded += len(line) + _LINE_COST
        if unyielded > _STEP:
            unyielded = 0
            await trio.lowlevel.checkpoint()
        try:
            entry = decode(line)
        except json_text.MalformedError as error:
            _refuse(number, "", str(error), "json_malformed")
        except json_text.InvalidError as error:
            _refuse(number, error.pointer, str(error))
        if entry.event not in checked:
            fault = event_fault(entry.event or "")
            if fault is not None:
                _refuse(number, "/event", fault)
            checked.add(entry.event)
        drafts.append(entry.draft(topic_of(entry, number)))
    if not drafts:
        raise ProblemError("body_invalid", "The body has no line with a message.")
    return drafts


def _check_body(body: bytes) -> None:
    if ndjson.count_lines(body) > MAX_LINES:
        raise ProblemError("body_too_large", f"A batch may have {MAX_LINES} lines.")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        number, before = ndjson.place_of(body, error.start)
        _refuse(number, "", f"the line is not UTF-8 at byte {before}", "json_malformed")


def _refuse(number: int, pointer: str, detail: str, code: str = "body_invalid") -> NoReturn:
    raise ProblemError(
        code,
        f"Line {number} cannot be published, and so nothing was.",
        errors=({"pointer": f"/{number}{pointer}", "detail": detail},),
    )
