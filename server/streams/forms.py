"""The forms of an event stream: an item of the hub as the bytes of one event.

Pure functions from item to bytes, one for each framing, so that a frame is made once and chunked once for
all.
"""

from __future__ import annotations

from ..hub import Form, Gap, Heartbeat, Message, Notice
from ..transport import Framing
from ..wire import json_text, sse
from ..wire.times import rfc3339


def event(item: Message | Notice | Gap | Heartbeat) -> bytes:
    """`item` as one Server-Sent Event."""
    if isinstance(item, Message) and item.event is None and item.retry is None and not item.text:
        # Most are of this kind.  JSON as it is kept is one line.
        return sse.encode_line(str(item.id), item.data)
    match item:
        case Message():
            return sse.encode_event(id=str(item.id), event=item.event, retry=item.retry, data=item.data)
        case Gap():
            return sse.encode_event(id=str(item.id), event="gap", data=json_text.encode(shown_gap(item)))
        case Notice():
            raise TypeError("topics of event streams have no notices")
        case Heartbeat(id=None):
            return sse.HEARTBEAT
        case Heartbeat():
            return sse.encode_event(id=str(item.id), event="heartbeat", data="{}")


def shown_gap(gap: Gap) -> dict[str, object]:
    """What a client is told of a gap, beside its id."""
    topics = [{"topic": topic, "missed": missed} for topic, missed in gap.topics]
    return {"reason": gap.reason, "topics": topics}


def enveloped(item: Message | Notice | Gap | Heartbeat) -> bytes:
    """`item` as one Server-Sent Event whose data also says topic, `seq` and time of a message."""
    if not isinstance(item, Message):
        return event(item)
    return sse.encode_event(id=str(item.id), event=item.event, retry=item.retry, data=_envelope(item))


def _envelope(message: Message) -> str:
    data = json_text.encode(message.data) if message.text else message.data
    topic, time = json_text.encode(message.topic), json_text.encode(rfc3339(message.time))
    return f'{{"topic":{topic},"seq":{message.seq},"time":{time},"data":{data}}}'


def enveloped_chunk(item: Message | Notice | Gap | Heartbeat) -> bytes:
    """`enveloped` in a chunk of its own."""
    return sse.chunk(enveloped(item))


def event_chunk(item: Message | Notice | Gap | Heartbeat) -> bytes:
    """`item` as one Server-Sent Event in a chunk of its own."""
    return sse.chunk(event(item))


ENVELOPE_FORMS: dict[Framing, Form] = {Framing.IDENTITY: enveloped, Framing.CHUNKED: enveloped_chunk}
EVENT_FORMS: dict[Framing, Form] = {Framing.IDENTITY: event, Framing.CHUNKED: event_chunk}


def framed(payload: bytes, framing: Framing) -> bytes:
    """`payload` as it stands on the wire under `framing`."""
    return sse.chunk(payload) if framing is Framing.CHUNKED else payload
