"""Topics over HTTP: subscribe, look.  Publishing has a module of its own."""

from __future__ import annotations

from dataclasses import dataclass

from quart import Blueprint, Response, request
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from ..hub import Cursor, HistoryLimits, HubLimits, TopicInfo, TopicsFullError
from ..lifecycle import CloseReason, RequestHead
from ..streams import EventServices, EventStream
from ..wire import sse
from ..wire.problem import ProblemError
from .answers import event_stream, json_response, refuse_events, refused_response, topics_full
from .requests import DEFAULT_PAGE, MAX_PAGE, check_name, head_of, query_of, whole_number


@dataclass(frozen=True, slots=True)
class TopicOptions:
    """What the routes say of topics, and how long a body may be (bytes)."""

    hub: HubLimits
    history: HistoryLimits
    max_body: int


def topics_blueprint(services: EventServices, options: TopicOptions) -> Blueprint:
    """The routes of `/topics`."""
    blueprint = Blueprint("topics", __name__)
    hub = services.hub

    @blueprint.get("/topics/<topic>/events")
    async def subscribe(topic: str) -> Response:
        check_name(topic)
        head = head_of(request)
        query = query_of(head, frozenset({"last_event_id", "heartbeat", "rewind"}))
        if query.get("heartbeat", "comment") not in ("comment", "event"):
            raise ProblemError("query_invalid", "heartbeat is comment or event.")
        rewind = whole_number(query, "rewind", 0, least=0, most=1_000_000)
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
            detail = topics_full().problem.detail
            return refused_response(
                refuse_events(head, "topics_full", detail, CloseReason.LIMIT, services.gate)
            )
        catch_up, after = _cursor(head, query)
        if not catch_up and rewind:
            catch_up, after = True, hub.rewound(topic, rewind)
        visible = query.get("heartbeat") == "event"
        stream = EventStream(services, head.without_headers(), topic, after, catch_up, visible)
        return event_stream(stream.run)

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
