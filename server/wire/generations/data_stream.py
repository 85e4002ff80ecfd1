"""`ai-sdk-v4`: the data stream of the AI SDK 4, in its version 1: one line a part, ``<code>:<JSON>``.

https://v4.ai-sdk.dev/docs/ai-sdk-ui/stream-protocol.  The client reads each line that is not empty as a part:
there are neither comments nor heartbeats.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from .. import json_text
from ..deltas import About, Delta, Failure, Finish, Text, ToolCall, Usage
from .brackets import Bracket, Brackets, CallEnd, CallPiece, CallStart, TextPiece

_FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
}


class DataStream:
    """The stream of one message.  A failure is a part ``3``, and nothing follows it."""

    media_type: ClassVar[str] = "text/plain; charset=utf-8"
    headers: ClassVar[tuple[tuple[str, str], ...]] = (("x-vercel-ai-data-stream", "v1"),)
    resumable: ClassVar[bool] = False
    heartbeat: ClassVar[bytes] = b""

    def __init__(self, about: About) -> None:
        self._message_id = f"msg_{about.id}"
        self._brackets = Brackets()
        self._usage: Usage | None = None
        self._finish: str | None = None
        self._failed = False

    def begin(self) -> bytes:
        return _part("f", {"messageId": self._message_id})

    def delta(self, delta: Delta, *, id: str) -> bytes:
        match delta:
            case Text() | ToolCall():
                return _encode(self._brackets.feed(delta))
            case Usage():
                self._usage = delta
            case Finish(reason):
                self._finish = reason
            case Failure(message=message):
                self._failed = True
                return _part("3", message)
        return b""

    def end(self) -> bytes:
        if self._failed:
            return b""
        finish: dict[str, object] = {"finishReason": _FINISH_REASONS.get(self._finish or "", "other")}
        if self._usage is not None:
            finish["usage"] = {
                "promptTokens": self._usage.prompt_tokens,
                "completionTokens": self._usage.completion_tokens,
            }
        # A call that was cut off is not made whole: a client would make it.
        is_whole = self._finish not in (None, "cancelled")
        calls = _encode(self._brackets.close()) if is_whole else b""
        return calls + _part("e", finish | {"isContinued": False}) + _part("d", finish)


def _encode(brackets: Iterable[Bracket]) -> bytes:
    return b"".join(map(_shown, brackets))


def _shown(bracket: Bracket) -> bytes:
    match bracket:
        case TextPiece(text=text):
            return _part("0", text)
        case CallStart(call):
            return _part("b", {"toolCallId": call.id, "toolName": call.name})
        case CallPiece(call, arguments):
            return _part("c", {"toolCallId": call.id, "argsTextDelta": arguments})
        case CallEnd(call):
            args = call.input()
            if args is not None:
                return _part("9", {"toolCallId": call.id, "toolName": call.name, "args": args})
    return b""


def _part(code: str, value: object) -> bytes:
    return f"{code}:{json_text.encode(value)}\n".encode()
