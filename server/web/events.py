"""Event streams of topics: `/topics/{topic}/events`, and `/events` for many topics on one connection."""

from __future__ import annotations

from collections.abc import Sequence

from quart import Blueprint, Response, request

from ..hub import Selection, TopicsFullError
from ..lifecycle import CloseReason, RequestHead
from ..streams import EventServices, EventStream, head_of
from ..wire.content_coding import Coding
from ..wire.problem import ProblemError
from .answers import compressed_event_stream, event_stream, refuse_events, refused_response
from .requests import (
    check_accepts_events,
    check_name,
    coding_of,
    compression_asked,
    one_of,
    queries_of,
    query_of,
)
from .starts import start_of

MAX_ENTRIES = 64
"""Topics and patterns that one connection may ask for."""

_PARAMETERS = frozenset({"last_event_id", "heartbeat", "rewind", "envelope", "compress"})


def events_blueprint(services: EventServices, codings: Sequence[Coding]) -> Blueprint:
    """The routes of event streams, compressed where asked with one of `codings`, best first."""
    blueprint = Blueprint("events", __name__)

    @blueprint.get("/topics/<topic>/events")
    async def subscribe(topic: str) -> Response:
        check_name(topic)
        head = head_of(request)
        query = query_of(head, _PARAMETERS)
        envelope = one_of(query, "envelope", ("0", "1")) == "1"
        return _open(services, codings, head, Selection((topic,)), query, envelope=envelope)

    @blueprint.get("/events")
    async def subscribe_to_many() -> Response:
        head = head_of(request)
        query, entries = queries_of(head, _PARAMETERS, "topic")
        one_of(query, "envelope", ("1",))
        return _open(services, codings, head, _selection(entries), query, envelope=True)

    return blueprint


def _open(
    services: EventServices,
    codings: Sequence[Coding],
    head: RequestHead,
    selection: Selection,
    query: dict[str, str],
    *,
    envelope: bool,
) -> Response:
    visible_heartbeat = one_of(query, "heartbeat", ("comment", "event")) == "event"
    start = start_of(head, query)
    hub = services.hub
    compress = compression_asked(query, default=any(hub.rules(name).compress for name in selection.names))
    coding = coding_of(head, codings) if compress else None
    check_accepts_events(head)
    if services.gate.draining:
        detail = "The server is shutting down."
        return refused_response(
            refuse_events(head, "server_draining", detail, CloseReason.SERVER_DRAINING, services.gate)
        )
    try:
        if head.method != "HEAD":
            hub.admit(*selection.names)
    except TopicsFullError:
        detail = "As many topics are in use as this server allows."
        return refused_response(refuse_events(head, "topics_full", detail, CloseReason.LIMIT, services.gate))
    stream = EventStream(services, head.without_headers(), selection, start, envelope, visible_heartbeat)
    return compressed_event_stream(stream.run, coding) if compress else event_stream(stream.run)


def _selection(entries: Sequence[str]) -> Selection:
    if not 1 <= len(entries) <= MAX_ENTRIES:
        raise ProblemError(
            "query_invalid", f"Name 1 to {MAX_ENTRIES} topics or patterns, each as a parameter topic."
        )
    for entry in entries:
        name = entry.removesuffix("*")
        if "*" in name:
            raise ProblemError("query_invalid", "In a pattern, the asterisk stands at the end and alone.")
        if name or not entry:
            check_name(name)
    return Selection.of(entries)
