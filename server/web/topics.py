"""Topics over HTTP: look, read what is kept, empty.  Publishing and streams have modules of their own."""

from __future__ import annotations

from collections.abc import Callable, Container
from fnmatch import fnmatchcase

import msgspec
from quart import Blueprint, Response, request

from ..hub import Cursor, Gap, Hub, Message, TopicInfo
from ..streams import EventServices, head_of, shown_gap
from ..wire.problem import ProblemError
from ..wire.times import rfc3339
from .answers import json_response
from .batches import check_topic
from .requests import DEFAULT_PAGE, MAX_PAGE, check_name, query_of, whole_number

MAX_PATTERN = 256
"""Characters of a pattern.  What it takes to read one grows with their square, and many are kept as read."""


def topics_blueprint(services: EventServices, reserved: Container[str]) -> Blueprint:
    """The routes of `/topics`.  Those that are `reserved` are not emptied."""
    blueprint = Blueprint("topics", __name__)
    hub = services.hub

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
        check_topic(topic, reserved)
        query_of(head_of(request), frozenset())
        if not hub.purge(topic):
            raise _unknown()
        return Response(b"", 204)

    @blueprint.get("/topics/<topic>/messages")
    async def read(topic: str) -> Response:
        check_name(topic)
        if hub.topic(topic) is None:
            raise _unknown()
        return page_of(hub, topic, _shown_message, lambda gap: shown_gap(gap) | {"id": str(gap.id)})

    @blueprint.get("/topics")
    async def look_at_all() -> Response:
        query = query_of(head_of(request), frozenset({"limit", "after", "pattern"}))
        pattern = query.get("pattern", "*")
        if len(pattern) > MAX_PATTERN:
            raise ProblemError("query_invalid", f"A pattern has at most {MAX_PATTERN} characters.")
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


def _unknown() -> ProblemError:
    return ProblemError("topic_unknown", "The topic has had neither a message nor a subscriber.")


def _cursor(query: dict[str, str], name: str) -> Cursor | None:
    """The id in the parameter `name`.  One that is none is of an epoch that never was."""
    text = query.get(name)
    return None if text is None else Cursor.parse(text) or Cursor("", 0)


def page_of(
    hub: Hub, topic: str, shown: Callable[[Message], object], shown_gap: Callable[[Gap], object]
) -> Response:
    """The page of the topic's messages that the request under way asks for, and the id to go on with in the
    direction it was read: backwards with `before` alone, where there is more; forwards otherwise, always, for
    clients that come again.

    Raises:
        ProblemError: `query_invalid`.
    """
    query = query_of(head_of(request), frozenset({"after", "before", "limit"}))
    limit = whole_number(query, "limit", DEFAULT_PAGE, least=1, most=MAX_PAGE)
    after, before = _cursor(query, "after"), _cursor(query, "before")
    excerpt = hub.excerpt(topic, after, before, limit)
    messages = excerpt.messages
    following: Cursor | None
    if after is None and before is not None:
        following = messages[0].id if excerpt.more else None
    elif messages:
        following = messages[-1].id
    else:
        following = excerpt.gap.id if excerpt.gap else after or hub.head
    answer: dict[str, object] = {
        "messages": [shown(message) for message in messages],
        "next": None if following is None else str(following),
        "gap": None if excerpt.gap is None else shown_gap(excerpt.gap),
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
