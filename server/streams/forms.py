"""The forms of an event stream: an item of the hub as the bytes of one event.

Pure functions from item to bytes, one for each framing, so that a frame is made once and chunked once for
all.
"""

from __future__ import annotations

from ..hub import Form, Gap, Heartbeat, Message, Notice
from ..transport import Framing
from ..wire import json_text, sse


def event(item: Message | Notice | Gap | Heartbeat) -> bytes:
    """`item` as one Server-Sent Event."""
    match item:
        case Message():
            return sse.encode_event(id=str(item.id), event=item.event, retry=item.retry, data=item.data)
        case Gap():
            topics = [{"topic": topic, "missed": missed} for topic, missed in item.topics]
            data = json_text.encode({"reason": item.reason, "topics": topics})
            return sse.encode_event(id=str(item.id), event="gap", data=data)
        case Notice():
            raise TypeError("topics of event streams have no notices")
        case Heartbeat(id=None):
            return sse.HEARTBEAT
        case Heartbeat():
            return sse.encode_event(id=str(item.id), event="heartbeat", data="{}")


def event_chunk(item: Message | Notice | Gap | Heartbeat) -> bytes:
    """`item` as one Server-Sent Event in a chunk of its own."""
    return sse.chunk(event(item))


EVENT_FORMS: dict[Framing, Form] = {Framing.IDENTITY: event, Framing.CHUNKED: event_chunk}


def framed(payload: bytes, framing: Framing) -> bytes:
    """`payload` as it stands on the wire under `framing`."""
    return sse.chunk(payload) if framing is Framing.CHUNKED else payload
