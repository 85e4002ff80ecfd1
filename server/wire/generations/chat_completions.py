"""`openai`: the chunks of OpenAI's chat completions, and the object of those who don't stream.

https://platform.openai.com/docs/api-reference/chat-streaming.  Only ``data: {JSON}`` and ``data: [DONE]``.
A failure is an object with `error` in the place of a chunk, which the official clients raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from .. import json_text, sse
from ..deltas import About, Delta, Failure, Finish, Text, ToolCall, Usage
from ..openai_errors import failure_object
from .answer import Answer
from .sse_data import DONE, data_event

_FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter"})


class ChatChunks:
    """The chunks of one completion.

    With `include_usage` (`stream_options`) each chunk has ``"usage": null``, and one without choices follows,
    with the usage, where the provider told it.
    """

    media_type: ClassVar[str] = sse.CONTENT_TYPE
    headers: ClassVar[tuple[tuple[str, str], ...]] = ()
    resumable: ClassVar[bool] = False
    heartbeat: ClassVar[bytes] = sse.HEARTBEAT

    def __init__(self, about: About, *, include_usage: bool = False) -> None:
        self._about = about
        self._include_usage = include_usage
        self._usage: Usage | None = None
        self._called: set[str] = set()
        self._finished = False
        self._failed = False
        # Everything but the text is the same in each chunk, so it is made once.
        before, after = self._data({"content": ""}, None).rsplit('"content":""', 1)
        self._before, self._after = f'data: {before}"content":', f"{after}\n\n"

    def begin(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""}, None)

    def delta(self, delta: Delta, *, id: str) -> bytes:
        match delta:
            case Text(text) if text:
                return f"{self._before}{json_text.encode(text)}{self._after}".encode()
            case ToolCall():
                return self._chunk({"tool_calls": [self._call(delta)]}, None)
            case Usage():
                self._usage = delta
            case Finish(reason):
                return self._finish(reason)
            case Failure():
                self._failed = True
                return data_event(failure_object(delta))
        return b""

    def end(self) -> bytes:
        if self._failed:
            return b""
        tail = b"" if self._finished else self._finish("cancelled")
        if self._include_usage and self._usage is not None:
            usage = {"choices": [], "usage": _usage(self._usage)}
            tail += data_event(_head(self._about, "chat.completion.chunk") | usage)
        return tail + DONE

    def _finish(self, reason: str) -> bytes:
        self._finished = True
        return self._chunk({}, _finish_reason(reason))

    def _call(self, call: ToolCall) -> dict[str, object]:
        function = {"arguments": call.arguments}
        if call.id in self._called:
            return {"index": call.index, "function": function}
        self._called.add(call.id)
        function = {"name": call.name} | function
        return {"index": call.index, "id": call.id, "type": "function", "function": function}

    def _chunk(self, delta: dict[str, object], finish_reason: str | None) -> bytes:
        return f"data: {self._data(delta, finish_reason)}\n\n".encode()

    def _data(self, delta: dict[str, object], finish_reason: str | None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = _head(self._about, "chat.completion.chunk") | {"choices": [choice]}
        if self._include_usage:
            chunk["usage"] = None
        return json_text.encode(chunk)


def completion(about: About, answer: Answer) -> bytes:
    """The `chat.completion` object of `answer`, which is whole and has not failed."""
    calls: Sequence[dict[str, object]] = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in answer.calls
    ]
    message: dict[str, object] = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    else:
        message["content"] = answer.text
    reason = _finish_reason(answer.finish or "cancelled")
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    body = _head(about, "chat.completion") | {"choices": [choice]}
    if answer.usage is not None:
        body["usage"] = _usage(answer.usage)
    return msgspec.json.encode(body)


def _head(about: About, object: str) -> dict[str, object]:
    return {"id": f"chatcmpl-{about.id}", "object": object, "created": about.created, "model": about.model}


def _finish_reason(reason: str) -> str:
    # The protocol has no word for an answer that somebody stopped, and clients know no other than these.
    return reason if reason in _FINISH_REASONS else "stop"


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
