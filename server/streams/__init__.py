"""HTTP response bodies that stream, and what keeps them alive."""

from .compression import CompressedStream, compressed
from .events import FIRST_RETRY_MS, EventServices, EventStream, closing_event, refused_events
from .forms import ENVELOPE_FORMS, EVENT_FORMS, framed, shown_gap
from .heads import head_of, preferred_type
from .heartbeats import Heartbeats
from .own import EXTENSION, OwnStream, current_hub, stream_bytes, stream_events, stream_text
from .postgres import postgres_rows
from .responses import PulledBody, PulledRequest, StreamBody, StreamingConnection
from .rows import CSV, JSON_ARRAY, NDJSON, Batch, RowForm, Rows, RowSource, stream_rows, write_rows
from .text import TopicText
from .threads import BlockingRows, rows_from_thread
from .writers import ByteWriter, EventWriter, ServerSentEvent, TextWriter, Writer

__all__ = [
    "CSV",
    "ENVELOPE_FORMS",
    "EVENT_FORMS",
    "EXTENSION",
    "FIRST_RETRY_MS",
    "JSON_ARRAY",
    "NDJSON",
    "Batch",
    "BlockingRows",
    "ByteWriter",
    "CompressedStream",
    "EventServices",
    "EventStream",
    "EventWriter",
    "Heartbeats",
    "OwnStream",
    "PulledBody",
    "PulledRequest",
    "RowForm",
    "RowSource",
    "Rows",
    "ServerSentEvent",
    "StreamBody",
    "StreamingConnection",
    "TextWriter",
    "TopicText",
    "Writer",
    "closing_event",
    "compressed",
    "current_hub",
    "framed",
    "head_of",
    "postgres_rows",
    "preferred_type",
    "refused_events",
    "rows_from_thread",
    "shown_gap",
    "stream_bytes",
    "stream_events",
    "stream_rows",
    "stream_text",
    "write_rows",
]
