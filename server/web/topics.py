"""Topics over HTTP: publish, subscribe, look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
from quart import Blueprint, Response, request
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from ..hub import Cursor, Draft, HistoryLimits, HubLimits, TopicInfo, TopicsFullError
from ..lifecycle import CloseReason, RequestHead
from ..streams import EventServices, EventStream
from ..wire import json_text, sse
from ..wire.content_coding import Coding
from ..wire.problem import ProblemError
from .answers import compressed_event_stream, event_stream, json_response, refuse_events, refused_response
from .requests import (
    DEFAULT_PAGE,
    MAX_PAGE,
    check_name,
    coding_of,
    compression_asked,
    content_type_of,
    decode_json,
    decode_text,
    head_of,
    query_of,
    read_body,
    whole_number,
)

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


@dataclass(frozen=True, slots=True)
class TopicOptions:
    """What the routes say of topics, how long a body may be (bytes), and the content codings of streams, best
    first.
    """

    hub: HubLimits
    history: HistoryLimits
    max_body: int
    codings: tuple[Coding, ...]


def topics_blueprint(services: EventServices, options: TopicOptions) -> Blueprint:
    """The routes of `/topics`."""
    blueprint = Blueprint("topics", __name__)
    hub = services.hub

    @blueprint.post("/topics/<topic>")
    async def publish(topic: str) -> Response:
        check_name(topic)
        head = head_of(request)
        query_of(head, frozenset())
        if topic in RESERVED_TOPICS:
            raise ProblemError("topic_reserved", f"The topic {topic} is published by the server alone.")
        draft = await _read_draft(topic, head, options.max_body)
        try:
            (message,) = await hub.publish([draft])
        except TopicsFullError:
            raise _topics_full() from None
        answer = {"topic": topic, "id": str(message.id), "subscribers": hub.watchers(topic)}
        return json_response(answer, 201)

    @blueprint.get("/topics/<topic>/events")
    async def subscribe(topic: str) -> Response:
        check_name(topic)
        head = head_of(request)
        query = query_of(head, frozenset({"last_event_id", "heartbeat", "rewind", "compress"}))
        if query.get("heartbeat", "comment") not in ("comment", "event"):
            raise ProblemError("query_invalid", "heartbeat is comment or event.")
        rewind = whole_number(query, "rewind", 0, least=0, most=1_000_000)
        compress = compression_asked(query, default=False)
        coding = coding_of(head, options.codings) if compress else None
        _check_accepts_events(head)
        if services.gate.draining:
            detail = "The server is shutting down."
            return refused_response(
                refuse_events(head, "server_draining", detail, CloseReason.SERVER_DRAINING, services.gate)
            )
        try:
            if head.method != "HEAD":
                hub.admit(topic)
        except TopicsFullError:
            detail = _topics_full().problem.detail
            return refused_response(
                refuse_events(head, "topics_full", detail, CloseReason.LIMIT, services.gate)
            )
        catch_up, after = _cursor(head, query)
        if not catch_up and rewind:
            catch_up, after = True, hub.rewound(topic, rewind)
        visible = query.get("heartbeat") == "event"
        stream = EventStream(services, head.without_headers(), topic, after, catch_up, visible)
        return compressed_event_stream(stream.run, coding) if compress else event_stream(stream.run)

    @blueprint.get("/topics/<topic>")
    async def look(topic: str) -> Response:
        check_name(topic)
        query_of(head_of(request), frozenset())
        info = hub.topic(topic)
        if info is None:
            raise ProblemError("topic_unknown", "The topic has had neither a message nor a subscriber.")
        return json_response(_shown(info, options))

    @blueprint.get("/topics")
    async def look_at_all() -> Response:
        query = query_of(head_of(request), frozenset({"limit", "after"}))
        limit = whole_number(query, "limit", DEFAULT_PAGE, least=1, most=MAX_PAGE)
        after = query.get("after", "")
        # Names with a slash are internal: rooms and the like.
        names = sorted(name for name in hub.topic_names() if name > after and "/" not in name)
        infos = [info for name in names[:limit] if (info := hub.topic(name)) is not None]
        answer: dict[str, object] = {"topics": [_shown(info, options) for info in infos]}
        answer["next"] = names[limit - 1] if len(names) > limit else None
        return json_response(answer)

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


def _check_accepts_events(head: RequestHead) -> None:
    accept = head.header("accept")
    if accept and not parse_accept_header(accept, MIMEAccept).best_match([sse.CONTENT_TYPE]):
        raise ProblemError("form_unacceptable", "Available here: text/event-stream.")


def _cursor(head: RequestHead, query: dict[str, str]) -> tuple[bool, Cursor | None]:
    """Whether to catch up, and behind what.

    The header wins: EventSource moves it, while the URL stays as it was.
    """
    text = head.header("last-event-id") or query.get("last_event_id") or ""
    if not text:
        return False, None
    if text == "earliest":
        return True, None
    # An id that is none is of an epoch that never was: the client is told of a gap, not of an error.
    return True, Cursor.parse(text) or Cursor("", 0)


def _topics_full() -> ProblemError:
    return ProblemError("topics_full", "As many topics are in use as this server allows.", Retry_After="5")


def _shown(info: TopicInfo, options: TopicOptions) -> dict[str, object]:
    return {
        "topic": info.topic,
        "subscribers": info.subscribers,
        "first": str(info.first) if info.first else None,
        "last": str(info.last) if info.last else None,
        "buffered": info.buffered,
        "capacity": options.hub.capacity,
        "overflow": "disconnect",
        "history": options.history.messages,
    }
