"""Topics over HTTP: publish, look, read what is kept, empty."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated

import msgspec
from quart import Blueprint, Response, request

from ..hub import Cursor, Draft, Excerpt, Message, TopicInfo, TopicsFullError
from ..lifecycle import RequestHead
from ..streams import EventServices, shown_gap
from ..wire import json_text, sse
from ..wire.problem import ProblemError
from ..wire.times import rfc3339
from .answers import json_response
from .requests import (
    DEFAULT_PAGE,
    MAX_PAGE,
    check_name,
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
    """How long a body may be (bytes)."""

    max_body: int


def topics_blueprint(services: EventServices, options: TopicOptions) -> Blueprint:
    """The routes of `/topics`."""
    blueprint = Blueprint("topics", __name__)
    hub = services.hub

    @blueprint.post("/topics/<topic>")
    async def publish(topic: str) -> Response:
        check_name(topic)
        head = head_of(request)
        query_of(head, frozenset())
        _check_not_reserved(topic)
        draft = await _read_draft(topic, head, options.max_body)
        try:
            (message,) = await hub.publish([draft])
        except TopicsFullError:
            raise _topics_full() from None
        answer = {"topic": topic, "id": str(message.id), "subscribers": hub.watchers(topic)}
        return json_response(answer, 201)

    @blueprint.get("/topics/<topic>")
    async def look(topic: str) -> Response:
        check_name(topic)
        query_of(head_of(request), frozenset())
        info = hub.topic(topic)
        if info is None:
            raise _unknown()
        return json_response(_shown(info))

    @blueprint.delete("/topics/<topic>")
    async def purge(topic: str) -> Response:
        check_name(topic)
        query_of(head_of(request), frozenset())
        _check_not_reserved(topic)
        if not hub.purge(topic):
            raise _unknown()
        # With a body, if an empty one: Quart iterates over none with asyncio.
        return Response(b"", 204)

    @blueprint.get("/topics/<topic>/messages")
    async def read(topic: str) -> Response:
        check_name(topic)
        query = query_of(head_of(request), frozenset({"after", "before", "limit"}))
        limit = whole_number(query, "limit", DEFAULT_PAGE, least=1, most=MAX_PAGE)
        after, before = _cursor(query, "after"), _cursor(query, "before")
        if hub.topic(topic) is None:
            raise _unknown()
        excerpt = hub.excerpt(topic, after, before, limit)
        return _page(excerpt, after, before, hub.head)

    @blueprint.get("/topics")
    async def look_at_all() -> Response:
        query = query_of(head_of(request), frozenset({"limit", "after", "pattern"}))
        pattern = query.get("pattern", "*")
        limit = whole_number(query, "limit", DEFAULT_PAGE, least=1, most=MAX_PAGE)
        after = query.get("after", "")
        # Names with a slash are internal: rooms and the like.
        names = sorted(
            name
            for name in hub.topic_names()
            if name > after and "/" not in name and fnmatchcase(name, pattern)
        )
        infos = [info for name in names[:limit] if (info := hub.topic(name)) is not None]
        answer: dict[str, object] = {"topics": [_shown(info) for info in infos]}
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


def _check_not_reserved(topic: str) -> None:
    if topic in RESERVED_TOPICS:
        raise ProblemError("topic_reserved", f"The topic {topic} is published by the server alone.")


def _unknown() -> ProblemError:
    return ProblemError("topic_unknown", "The topic has had neither a message nor a subscriber.")


def _cursor(query: dict[str, str], name: str) -> Cursor | None:
    """The id in the parameter `name`.  One that is none is of an epoch that never was."""
    text = query.get(name)
    return None if text is None else Cursor.parse(text) or Cursor("", 0)


def _page(excerpt: Excerpt, after: Cursor | None, before: Cursor | None, head: Cursor) -> Response:
    """A page of messages, and the id to go on with in the direction it was read: backwards with `before`
    alone, where there is more; forwards otherwise, always, for clients that come again.
    """
    messages = excerpt.messages
    following: Cursor | None
    if after is None and before is not None:
        following = messages[0].id if excerpt.more else None
    elif messages:
        following = messages[-1].id
    else:
        following = excerpt.gap.id if excerpt.gap else after or head
    answer: dict[str, object] = {
        "messages": [_shown_message(message) for message in messages],
        "next": None if following is None else str(following),
        "gap": None if excerpt.gap is None else shown_gap(excerpt.gap) | {"id": str(excerpt.gap.id)},
    }
    return json_response(answer)


def _shown_message(message: Message) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": str(message.id),
        "seq": message.seq,
        "event": message.event,
        "data": message.data if message.text else msgspec.Raw(message.data.encode()),
        "time": rfc3339(message.time),
    }
    return shown | {"text": True} if message.text else shown


def _topics_full() -> ProblemError:
    return ProblemError("topics_full", "As many topics are in use as this server allows.", Retry_After="5")


def _shown(info: TopicInfo) -> dict[str, object]:
    return {
        "topic": info.topic,
        "subscribers": info.subscribers,
        "first": str(info.first) if info.first else None,
        "last": str(info.last) if info.last else None,
        "buffered": info.buffered,
        "capacity": info.rules.capacity,
        "overflow": info.rules.overflow.value,
        "history": info.rules.history.messages,
    }
