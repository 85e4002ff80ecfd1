"""`ag-ui`: the events of AG-UI (https://docs.ag-ui.com), which TanStack AI reads too.

RUN_STARTED comes first, RUN_FINISHED or RUN_ERROR last, and everything that was opened is closed before
RUN_FINISHED: `@ag-ui/client` verifies it.  A cut is mended by `@tanstack/ai-client`, which asks again with
the last id that it has seen and drops events whose id it has seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from .. import sse
from ..deltas import About, Delta, Failure, Finish, Text, ToolCall, Usage
from .brackets import Bracket, Brackets, CallEnd, CallPiece, CallStart, TextEnd, TextPiece, TextStart
from .sse_data import Place, data_event


class AgUi:
    """The events of one run.

    `thread_id` and `run_id` are the client's own, which it wants back; where there are none, the
    generation's stands for both.
    """

    media_type: ClassVar[str] = sse.CONTENT_TYPE
    headers: ClassVar[tuple[tuple[str, str], ...]] = ()
    resumable: ClassVar[bool] = True
    heartbeat: ClassVar[bytes] = sse.HEARTBEAT

    def __init__(self, about: About, *, thread_id: str | None = None, run_id: str | None = None) -> None:
        self._about = about
        self._run = {"threadId": thread_id or about.id, "runId": run_id or about.id}
        self._brackets = Brackets()
        self._place = Place(about.start)
        self._usage: Usage | None = None
        self._finish: str | None = None
        self._calls: list[str] = []
        self._failed = False

    def begin(self) -> bytes:
        return self._encode([{"type": "RUN_STARTED", **self._run}])

    def delta(self, delta: Delta, *, id: str) -> bytes:
        self._place.moves_to(id)
        match delta:
            case Text() | ToolCall():
                return self._encode([self._shown(bracket) for bracket in self._brackets.feed(delta)])
            case Usage():
                self._usage = delta
            case Finish(reason):
                self._finish = reason
            case Failure(code, message):
                self._failed = True
                error: dict[str, object] = {"type": "RUN_ERROR", "message": message, "code": code}
                return self._encode([*self._closed_texts(), error | self._run])
        return b""

    def end(self) -> bytes:
        if self._failed:
            return b""
        finished: dict[str, object] = {"type": "RUN_FINISHED", **self._run}
        if self._finish in (None, "cancelled"):
            finished["outcome"] = {"type": "cancelled"}
        elif self._calls:
            finished["outcome"] = {"type": "success", "pendingToolCallIds": self._calls}
        if self._usage is not None:
            finished["usage"] = [self._shown_usage(self._usage)]
        return self._encode([*(self._shown(bracket) for bracket in self._brackets.close()), finished])

    def _encode(self, events: list[dict[str, object]]) -> bytes:
        if not events:
            return b""
        *most, last = events
        return b"".join(map(data_event, most)) + data_event(last, id=self._place.tell())

    def _closed_texts(self) -> Iterable[dict[str, object]]:
        # A call that was cut off is not closed: a client would make it.
        return (self._shown(each) for each in self._brackets.close() if isinstance(each, TextEnd))

    def _shown(self, bracket: Bracket) -> dict[str, object]:
        match bracket:
            case TextStart(number):
                start = {"type": "TEXT_MESSAGE_START", "messageId": self._message_id(number)}
                return {**start, "role": "assistant"}
            case TextPiece(number, text):
                return {"type": "TEXT_MESSAGE_CONTENT", "messageId": self._message_id(number), "delta": text}
            case TextEnd(number):
                return {"type": "TEXT_MESSAGE_END", "messageId": self._message_id(number)}
            case CallStart(call):
                self._calls.append(call.id)
                return {"type": "TOOL_CALL_START", "toolCallId": call.id, "toolCallName": call.name}
            case CallPiece(call, arguments):
                return {"type": "TOOL_CALL_ARGS", "toolCallId": call.id, "delta": arguments}
            case CallEnd(call):
                return {"type": "TOOL_CALL_END", "toolCallId": call.id}

    def _message_id(self, number: int) -> str:
        return f"msg_{self._about.id}_{number}"

    def _shown_usage(self, usage: Usage) -> dict[str, object]:
        return {
            "model": self._about.model,
            "inputTokens": usage.prompt_tokens,
            "outputTokens": usage.completion_tokens,
            "totalTokens": usage.prompt_tokens + usage.completion_tokens,
        }
