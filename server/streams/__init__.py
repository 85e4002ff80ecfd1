"""HTTP response bodies that stream, and what keeps them alive."""

from .compression import CompressedStream, compressed
from .events import FIRST_RETRY_MS, EventServices, EventStream, closing_event, refused_events
from .forms import ENVELOPE_FORMS, EVENT_FORMS, framed, shown_gap
from .heartbeats import Heartbeats
from .responses import PulledBody, PulledRequest, StreamBody, StreamingConnection

__all__ = [
    "ENVELOPE_FORMS",
    "EVENT_FORMS",
    "FIRST_RETRY_MS",
    "CompressedStream",
    "EventServices",
    "EventStream",
    "Heartbeats",
    "PulledBody",
    "PulledRequest",
    "StreamBody",
    "StreamingConnection",
    "closing_event",
    "compressed",
    "framed",
    "refused_events",
    "shown_gap",
]
