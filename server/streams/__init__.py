"""HTTP response bodies that stream, and what keeps them alive."""

from .compression import CompressedStream, compressed
from .events import EventServices, EventStream, closing_event, refused_events
from .forms import shown_gap
from .heads import head_of
from .heartbeats import Heartbeats
from .own import EXTENSION, OwnStream, current_hub, stream_bytes, stream_events, stream_text
from .responses import PulledBody, PulledRequest, StreamBody, StreamingConnection
from .writers import ByteWriter, EventWriter, ServerSentEvent, TextWriter, Writer

__all__ = [
    "EXTENSION",
    "ByteWriter",
    "CompressedStream",
    "EventServices",
    "EventStream",
    "EventWriter",
    "Heartbeats",
    "OwnStream",
    "PulledBody",
    "PulledRequest",
    "ServerSentEvent",
    "StreamBody",
    "StreamingConnection",
    "TextWriter",
    "Writer",
    "closing_event",
    "compressed",
    "current_hub",
    "head_of",
    "refused_events",
    "shown_gap",
    "stream_bytes",
    "stream_events",
    "stream_text",
]
