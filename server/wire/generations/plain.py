"""This server's own forms: `events`, `raw`, `text` and `ndjson`.

`events` and `ndjson` carry ids, so that a viewer resumes; `raw` is for the loop of fetch and getReader that
looks for lines beginning with ``data: ``, and holds nothing but those; `text` is for a terminal.
"""

from __future__ import annotations

from typing import ClassVar

from .. import json_text, ndjson, sse
from ..deltas import About, Delta, Failure, Finish, Text, ToolCall, Usage
from .sse_data import DONE, Place, data_event


class Events:
    """`events`: ``token`` for each piece of text, ``tool_call``, then ``done`` or ``error``.

    Usage and the reason of the end are not told: GET /generations/{id} says them.
    """

    media_type: ClassVar[str] = sse.CONTENT_TYPE
    headers: ClassVar[tuple[tuple[str, str], ...]] = ()
    resumable: ClassVar[bool] = True
    heartbeat: ClassVar[bytes] = sse.HEARTBEAT

    def __init__(self, about: About) -> None:
        self._failed = False
        self._place = Place(None)

    def begin(self) -> bytes:
        return b""

    def delta(self, delta: Delta, *, id: str) -> bytes:
        self._place.moves_to(id)
        match delta:
            case Text(text) if text:
                return self._event("token", {"content": text})
            case ToolCall():
                return self._event("tool_call", _call(delta))
            case Failure(code, message):
                self._failed = True
                return self._event("error", {"code": code, "message": message})
        return b""

    def end(self) -> bytes:
        if self._failed:
            return b""
        return sse.encode_event(event="done", data="[DONE]", id=self._place.tell())

    def _event(self, name: str, value: object) -> bytes:
        return data_event(value, event=name, id=self._place.tell())


class Raw:
    """`raw`: data alone, without names and ids.  A failure takes the place of ``[DONE]``."""

    media_type: ClassVar[str] = sse.CONTENT_TYPE
    headers: ClassVar[tuple[tuple[str, str], ...]] = ()
    resumable: ClassVar[bool] = False
    heartbeat: ClassVar[bytes] = sse.HEARTBEAT

    def __init__(self, about: About) -> None:
        self._failed = False

    def begin(self) -> bytes:
        return b""

    def delta(self, delta: Delta, *, id: str) -> bytes:
        match delta:
            case Text(text) if text:
                return data_event({"content": text})
            case ToolCall():
                return data_event({"tool_call": _call(delta)})
            case Failure(code, message):
                self._failed = True
                return data_event({"error": {"code": code, "message": message}})
        return b""

    def end(self) -> bytes:
        return b"" if self._failed else DONE


class PlainText:
    """`text`: the text as it is.  A failure is a line of its own at the end; of calls nothing is told."""

    media_type: ClassVar[str] = "text/plain; charset=utf-8"
    headers: ClassVar[tuple[tuple[str, str], ...]] = ()
    resumable: ClassVar[bool] = False
    heartbeat: ClassVar[bytes] = b""

    def __init__(self, about: About) -> None:
        pass

    def begin(self) -> bytes:
        return b""

    def delta(self, delta: Delta, *, id: str) -> bytes:
        match delta:
            case Text(text):
                return text.encode()
            case Failure(code, message):
                return f"\n[{code}: {message}]\n".encode()
        return b""

    def end(self) -> bytes:
        return b""


class Ndjson:
    """`ndjson`: an object a line: ``content``, ``tool_call`` or ``usage``, then ``done`` or ``error``.

    Each has the `id` from which to resume, but where it is the same as on the line before.
    """

    media_type: ClassVar[str] = ndjson.CONTENT_TYPE
    headers: ClassVar[tuple[tuple[str, str], ...]] = ()
    resumable: ClassVar[bool] = True
    heartbeat: ClassVar[bytes] = b""

    def __init__(self, about: About) -> None:
        self._failed = False
        self._finish = "cancelled"
        self._place = Place(None)

    def begin(self) -> bytes:
        return b""

    def delta(self, delta: Delta, *, id: str) -> bytes:
        self._place.moves_to(id)
        match delta:
            case Text(text) if text:
                return self._line({"content": text})
            case ToolCall():
                return self._line({"tool_call": _call(delta)})
            case Usage(prompt, completion):
                return self._line({"usage": {"prompt_tokens": prompt, "completion_tokens": completion}})
            case Finish(reason):
                self._finish = reason
            case Failure(code, message):
                self._failed = True
                return self._line({"error": {"code": code, "message": message}})
        return b""

    def end(self) -> bytes:
        if self._failed:
            return b""
        return self._line({"done": True, "finish_reason": self._finish})

    def _line(self, value: dict[str, object]) -> bytes:
        place = self._place.tell()
        line = value if place is None else {"id": place} | value
        return f"{json_text.encode(line)}\n".encode()


def _call(call: ToolCall) -> dict[str, object]:
    return {"index": call.index, "id": call.id, "name": call.name, "arguments": call.arguments}
