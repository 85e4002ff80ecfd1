"""Event streams of topics: `/topics/{topic}/events`, and `/events` for many topics on one connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quart import Blueprint, Response, request

from ..hub import Form, Selection, TopicsFullError
from ..lifecycle import CloseReason, RequestHead
from ..streams import ENVELOPE_FORMS, EVENT_FORMS, EventServices, EventStream, head_of
from ..transport import Framing
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

STREAM_PARAMETERS = frozenset({"last_event_id", "heartbeat", "rewind", "compress"})
"""What may be asked of every event stream."""


def events_blueprint(services: EventServices, codings: Sequence[Coding]) -> Blueprint:
    """The routes of event streams, compressed where asked with one of `codings`, best first."""
    blueprint = Blueprint("events", __name__)

    @blueprint.get("/topics/<topic>/events")
    async def subscribe(topic: str) -> Response:
        check_name(topic)
        head = head_of(request)
        query = query_of(head, STREAM_PARAMETERS | {"envelope"})
        envelope = one_of(query, "envelope", ("0", "1")) == "1"
        forms = ENVELOPE_FORMS if envelope else EVENT_FORMS
        return open_events(services, codings, head, Selection((topic,)), query, forms)

    @blueprint.get("/events")
    async def subscribe_to_many() -> Response:
        head = head_of(request)
        query, entries = queries_of(head, STREAM_PARAMETERS | {"envelope"}, "topic")
        one_of(query, "envelope", ("1",))
        return open_events(services, codings, head, _selection(entries), query, ENVELOPE_FORMS)

    return blueprint


def open_events(
    services: EventServices,
    codings: Sequence[Coding],
    head: RequestHead,
    selection: Selection,
    query: dict[str, str],
    forms: Mapping[Framing, Form],
) -> Response:
    """The answer that streams `selection` in `forms`, as `head` and `query` ask."""
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
    stream = EventStream(services, head.without_headers(), selection, start, forms, visible_heartbeat)
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
