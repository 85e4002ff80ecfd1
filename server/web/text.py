"""Topics as lines of plain text: `/text/{topic}`."""

from __future__ import annotations

from quart import Blueprint, Response, request

from ..hub import Selection, TopicsFullError
from ..streams import EventServices, StreamBody, TopicText, head_of
from ..transport import STREAM_HEADERS
from ..wire.problem import ProblemError
from .answers import topics_full
from .requests import check_name, query_of
from .starts import start_of

_PARAMETERS = frozenset({"last_event_id", "rewind"})
CONTENT_TYPE = "text/plain; charset=utf-8"


def text_blueprint(services: EventServices) -> Blueprint:
    """The route of topics as text."""
    blueprint = Blueprint("text", __name__)

    @blueprint.get("/text/<topic>")
    async def read(topic: str) -> Response:
        check_name(topic)
        head = head_of(request)
        start = start_of(head, query_of(head, _PARAMETERS))
        if services.gate.draining:
            after = str(max(1, round(services.gate.retry_ms() / 1000)))
            raise ProblemError("server_draining", "The server is shutting down.", Retry_After=after)
        try:
            if head.method != "HEAD":
                services.hub.admit(topic)
        except TopicsFullError:
            raise topics_full() from None
        stream = TopicText(services, head.without_headers(), Selection((topic,)), start)
        return Response(StreamBody(stream.run), headers=STREAM_HEADERS, content_type=CONTENT_TYPE)

    return blueprint
