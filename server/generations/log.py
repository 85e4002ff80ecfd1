"""How the deltas of a generation stand in its topic.

Each delta is a message: its kind is the message's event, its value the data.  The last message of a topic is
`Finish` or `Failure`, exactly one of them, and nothing follows it.
"""

from __future__ import annotations

import msgspec

from ..hub import Draft, Gap, Heartbeat, Message, Notice
from ..wire import json_text
from ..wire.deltas import Delta, Failure, Finish, Text, ToolCall, Usage
from ..wire.problem import CODES

GENERATION_TOPIC_PREFIX = "generations/"

FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter"})
"""Why a model ends.  All forms know these."""

_KINDS: dict[type[Delta], str] = {
    Text: "text",
    ToolCall: "tool_call",
    Usage: "usage",
    Finish: "finish",
    Failure: "failure",
}
_DECODERS: dict[str, msgspec.json.Decoder[Delta]] = {
    kind: msgspec.json.Decoder(each) for each, kind in _KINDS.items() if each is not Text
}
_decode_text = msgspec.json.Decoder(str).decode
_TEXT = b"t"
_HEARTBEAT = b":\n"
_OTHER = b"-\n"


def draft_of(topic: str, delta: Delta) -> Draft:
    """`delta` as a message of `topic`."""
    # Nearly all are text, and it stands bare.
    value = delta.text if isinstance(delta, Text) else delta
    return Draft(topic, json_text.encode(value), event=_KINDS[type(delta)])


def checked(given: object) -> Delta:
    """What a provider gave, as a delta that every viewer can read.  A reason to finish that no form knows is
    ``stop``.

    Raises:
        TypeError: it is none.
        ValueError: there is something else in it than there should be.
    """
    if isinstance(given, str):
        return Text(given)
    kind = _KINDS.get(type(given))  # type: ignore[arg-type]
    if kind is None:
        raise TypeError(f"a provider gave {type(given).__name__}")
    if isinstance(given, Text):
        if not isinstance(given.text, str):
            raise TypeError("a provider gave a text that is none")
        return given
    # Few are of these kinds.
    delta = _DECODERS[kind].decode(msgspec.json.encode(given))
    if isinstance(delta, Finish) and delta.reason not in FINISH_REASONS:
        return Finish("stop")
    if isinstance(delta, Failure) and delta.code not in CODES:
        raise ValueError(f"a provider gave a failure of unknown code: {delta.code}")
    return delta


def delta_of(message: Message) -> Delta:
    """The delta that `message` was made of."""
    if message.event == "text":
        return Text(_decode_text(message.data))
    assert message.event is not None
    return _DECODERS[message.event].decode(message.data)


def record(item: Message | Notice | Gap | Heartbeat) -> bytes:
    """`item` as one line, for a sink that makes bytes of its own of it: the text of a delta and its id.

    Of everything else it says no more than that there is something.
    """
    if isinstance(item, Message) and item.event == "text":
        return f"t{item.id} {item.data}\n".encode()
    return _HEARTBEAT if isinstance(item, Heartbeat) else _OTHER


def text_of(frame: bytes) -> tuple[str, str] | None:
    """Id and text, where `frame` is the record of one text; None for anything else, and for several."""
    if not frame.startswith(_TEXT) or frame.find(b"\n") != len(frame) - 1:
        return None
    place, _, data = frame[1:].partition(b" ")
    return place.decode(), _decode_text(data)


def is_heartbeat(frame: bytes) -> bool:
    """Whether `frame` is the record of a heartbeat."""
    return frame == _HEARTBEAT
