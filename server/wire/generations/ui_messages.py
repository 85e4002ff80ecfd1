"""`ai-sdk`: the UI message stream of the AI SDK, 5 and newer (protocol header ``v1``).

https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol.  The client validates each chunk, and one that it does not
know ends it.  So what the first releases of 5 refuse is left out where it can be: they know no
`finishReason`, which is said only where nothing else tells it.

There are no ids: a client resumes with a stream from its beginning.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from .. import sse
from ..deltas import About, Delta, Failure, Finish, Text, ToolCall
from .brackets import Bracket, Brackets, Call, CallEnd, CallPiece, CallStart, TextEnd, TextPiece, TextStart
from .sse_data import DONE, data_event

_FINISH_REASONS = {"length": "length", "content_filter": "content-filter"}


class UIMessages:
    """The stream of one message.

    `message_id` is the message that it is, where a client that has run tools wants the next step added to
    the message that called them; a new one otherwise.
    """

    media_type: ClassVar[str] = sse.CONTENT_TYPE
    headers: ClassVar[tuple[tuple[str, str], ...]] = (("x-vercel-ai-ui-message-stream", "v1"),)
    resumable: ClassVar[bool] = False
    heartbeat: ClassVar[bytes] = sse.HEARTBEAT

    def __init__(self, about: About, *, message_id: str | None = None) -> None:
        self._message_id = message_id or f"msg_{about.id}"
        self._brackets = Brackets()
        self._finish: str | None = None
        self._failed = False

    def begin(self) -> bytes:
        return data_event({"type": "start", "messageId": self._message_id}) + _chunk("start-step")

    def delta(self, delta: Delta, *, id: str) -> bytes:
        match delta:
            case Text() | ToolCall():
                return _encode(self._brackets.feed(delta))
            case Finish(reason):
                self._finish = reason
            case Failure(message=message):
                self._failed = True
                return self._close_texts() + data_event({"type": "error", "errorText": message})
        return b""

    def end(self) -> bytes:
        if self._failed:
            return DONE
        if self._finish in (None, "cancelled"):
            return self._close_texts() + _chunk("abort") + DONE
        finish: dict[str, object] = {"type": "finish"}
        if self._finish in _FINISH_REASONS:
            finish["finishReason"] = _FINISH_REASONS[self._finish]
        return _encode(self._brackets.close()) + _chunk("finish-step") + data_event(finish) + DONE

    def _close_texts(self) -> bytes:
        # A call that was cut off is not closed: a client would make it.
        return _encode(bracket for bracket in self._brackets.close() if isinstance(bracket, TextEnd))


def _encode(brackets: Iterable[Bracket]) -> bytes:
    return b"".join(data_event(_shown(bracket)) for bracket in brackets)


def _chunk(type: str) -> bytes:
    return data_event({"type": type})


def _shown(bracket: Bracket) -> dict[str, object]:
    match bracket:
        case TextStart(number):
            return {"type": "text-start", "id": f"text-{number}"}
        case TextPiece(number, text):
            return {"type": "text-delta", "id": f"text-{number}", "delta": text}
        case TextEnd(number):
            return {"type": "text-end", "id": f"text-{number}"}
        case CallStart(call):
            return {"type": "tool-input-start", "toolCallId": call.id, "toolName": call.name}
        case CallPiece(call, arguments):
            return {"type": "tool-input-delta", "toolCallId": call.id, "inputTextDelta": arguments}
        case CallEnd(call):
            return _ended(call)


def _ended(call: Call) -> dict[str, object]:
    shown: dict[str, object] = {"toolCallId": call.id, "toolName": call.name}
    arguments = call.input()
    if arguments is not None:
        return {"type": "tool-input-available", **shown, "input": arguments}
    text = "The model gave arguments that are not a JSON object."
    return {"type": "tool-input-error", **shown, "input": call.arguments, "errorText": text}
