"""Publishing to topics over HTTP."""

from __future__ import annotations

from typing import Annotated

import msgspec
from quart import Blueprint, Response, request

from ..hub import Draft, Hub, TopicsFullError
from ..lifecycle import RequestHead
from ..wire import json_text, sse
from ..wire.problem import ProblemError
from .answers import json_response, topics_full
from .requests import check_name, content_type_of, decode_json, decode_text, head_of, query_of, read_body

RESERVED_EVENTS = frozenset({"gap", "closing", "heartbeat", "open", "error"})
RESERVED_TOPICS = frozenset({"clock", "stats"})
RETRY_MS = (500, 60_000)
"""Between which a published reconnection time is clamped."""

EventName = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class Publication(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a publish, as JSON."""

    data: msgspec.Raw
    event: EventName | None = None
    retry: Annotated[int, msgspec.Meta(ge=0, le=2**31)] | None = None


def publishing_blueprint(hub: Hub, max_body: int) -> Blueprint:
    """The routes that publish; a body may have `max_body` bytes."""
    blueprint = Blueprint("publishing", __name__)

    @blueprint.post("/topics/<topic>")
    async def publish(topic: str) -> Response:
        check_name(topic)
        head = head_of(request)
        query_of(head, frozenset())
        if topic in RESERVED_TOPICS:
            raise ProblemError("topic_reserved", f"The topic {topic} is published by the server alone.")
        draft = await _read_draft(topic, head, max_body)
        try:
            (message,) = await hub.publish([draft])
        except TopicsFullError:
            raise topics_full() from None
        answer = {"topic": topic, "id": str(message.id), "subscribers": hub.watchers(topic)}
        return json_response(answer, 201)

    return blueprint


async def _read_draft(topic: str, head: RequestHead, max_body: int) -> Draft:
    media_type, charset = content_type_of(head)
    if media_type not in ("application/json", "text/plain"):
        raise ProblemError("type_unsupported", "Send application/json or text/plain as Content-Type.")
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise ProblemError("type_unsupported", "Send the body as UTF-8.")
    body = await read_body(request, max_body)
    if media_type == "text/plain":
        return Draft(topic, decode_text(body), text=True)
    publication = decode_json(body, Publication)
    if publication.event is not None:
        _check_event(publication.event)
    retry = publication.retry
    if retry is not None:
        retry = min(max(retry, RETRY_MS[0]), RETRY_MS[1])
    return Draft(topic, json_text.compact(publication.data), publication.event, retry)


def _check_event(event: str) -> None:
    if event in RESERVED_EVENTS:
        detail = f"reserved: {', '.join(sorted(RESERVED_EVENTS))}"
    elif not sse.is_field_text(event):
        detail = "one line, without NUL"
    else:
        return
    raise ProblemError(
        "body_invalid",
        "The event name cannot be used.",
        errors=({"pointer": "/event", "detail": detail},),
    )
