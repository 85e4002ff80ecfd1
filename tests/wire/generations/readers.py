"""What a client makes of each form's bytes, written from its documentation and not from our encoders."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.support.sse import Event, SSEParser


@dataclass
class Read:
    """What came out of a stream.  `ends` are its closing events, of which there should be one."""

    text: str = ""
    calls: dict[str, list[str]] = field(default_factory=dict)
    error: str | None = None
    ends: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    @property
    def called(self) -> list[tuple[str, str, str]]:
        return [(call, name, arguments) for call, (name, arguments) in self.calls.items()]

    def call(self, id: str, name: str, arguments: str) -> None:
        self.calls.setdefault(id, [name, ""])[1] += arguments


def events_of(pieces: Iterable[bytes]) -> list[Event]:
    """The whole events of a stream that comes in `pieces`."""
    parser = SSEParser()
    return [event for piece in pieces for event in parser.feed(piece) if event.data is not None]


def lines_of(pieces: Iterable[bytes]) -> list[str]:
    """The whole lines of a text that comes in `pieces`."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    return "".join(map(decoder.decode, pieces)).split("\n")[:-1]


def read_events(pieces: Iterable[bytes]) -> Read:
    read = Read()
    for event in events_of(pieces):
        if event.id is not None:
            read.ids.append(event.id)
        assert event.data is not None
        match event.event:
            case "token":
                read.text += json.loads(event.data)["content"]
            case "tool_call":
                call = json.loads(event.data)
                read.call(call["id"], call["name"], call["arguments"])
            case "done":
                assert event.data == "[DONE]"
                read.ends.append("done")
            case "error":
                read.error = json.loads(event.data)["message"]
                read.ends.append("error")
            case other:
                raise AssertionError(other)
    return read


def read_raw(pieces: Iterable[bytes]) -> Read:
    """As the loop of fetch and getReader does it: whatever line begins with `data: ` counts."""
    read = Read()
    for line in lines_of(pieces):
        if not line.startswith("data: "):
            assert line in ("", ":")
            continue
        if line == "data: [DONE]":
            read.ends.append("done")
            continue
        data = json.loads(line.removeprefix("data: "))
        if "content" in data:
            read.text += data["content"]
        elif "tool_call" in data:
            call = data["tool_call"]
            read.call(call["id"], call["name"], call["arguments"])
        else:
            read.error = data["error"]["message"]
            read.ends.append("error")
    return read


def read_ndjson(pieces: Iterable[bytes]) -> Read:
    read = Read()
    for line in lines_of(pieces):
        value: dict[str, Any] = json.loads(line)
        if "id" in value:
            read.ids.append(value["id"])
        if "content" in value:
            read.text += value["content"]
        elif "tool_call" in value:
            call = value["tool_call"]
            read.call(call["id"], call["name"], call["arguments"])
        elif "error" in value:
            read.error = value["error"]["message"]
            read.ends.append("error")
        elif "done" in value:
            read.ends.append("done")
        else:
            assert value.keys() <= {"id", "usage"}
    return read


def read_openai(pieces: Iterable[bytes]) -> Read:
    read = Read()
    ids_by_index: dict[int, str] = {}
    for event in events_of(pieces):
        assert event.event == "message"
        assert event.id is None
        assert event.data is not None
        if event.data == "[DONE]":
            read.ends.append("done")
            continue
        chunk = json.loads(event.data)
        if "error" in chunk:
            read.error = chunk["error"]["message"]
            read.ends.append("error")
            continue
        for choice in chunk["choices"]:
            read.text += choice["delta"].get("content", "")
            for call in choice["delta"].get("tool_calls", []):
                name = ids_by_index.setdefault(call["index"], call.get("id"))
                function = call["function"]
                read.call(name, function.get("name", ""), function["arguments"])
    return read


def read_responses(pieces: Iterable[bytes]) -> Read:
    read = Read()
    items: dict[str, str] = {}
    expected = None
    for event in events_of(pieces):
        assert event.data is not None
        data = json.loads(event.data)
        assert event.event == data["type"]
        assert expected is None or data["sequence_number"] >= expected
        expected = data["sequence_number"] + 1
        read.ids.append(str(data["sequence_number"]))
        match data["type"].removeprefix("response."):
            case "output_text.delta":
                read.text += data["delta"]
            case "output_item.added" if data["item"]["type"] == "function_call":
                items[data["item"]["id"]] = data["item"]["call_id"]
                read.call(data["item"]["call_id"], data["item"]["name"], data["item"]["arguments"])
            case "function_call_arguments.delta":
                read.call(items[data["item_id"]], "", data["delta"])
            case "completed" | "incomplete" | "failed" as end:
                read.ends.append(end)
                if data["response"]["error"]:
                    read.error = data["response"]["error"]["message"]
    return read


def read_ai_sdk(pieces: Iterable[bytes]) -> Read:
    read = Read()
    for event in events_of(pieces):
        assert event.event == "message"
        assert event.id is None
        assert event.data is not None
        if event.data == "[DONE]":
            assert len(read.ends) == 1
            continue
        chunk = json.loads(event.data)
        match chunk["type"]:
            case "text-delta":
                read.text += chunk["delta"]
            case "tool-input-start":
                read.call(chunk["toolCallId"], chunk["toolName"], "")
            case "tool-input-delta":
                read.call(chunk["toolCallId"], "", chunk["inputTextDelta"])
            case "finish" | "abort" as end:
                read.ends.append(end)
            case "error":
                read.error = chunk["errorText"]
                read.ends.append("error")
    return read


def read_ai_sdk_v4(pieces: Iterable[bytes]) -> Read:
    read = Read()
    for line in lines_of(pieces):
        code, value = line[:2], json.loads(line[2:])
        match code:
            case "0:":
                read.text += value
            case "b:":
                read.call(value["toolCallId"], value["toolName"], "")
            case "c:":
                read.call(value["toolCallId"], "", value["argsTextDelta"])
            case "3:":
                read.error = value
                read.ends.append("error")
            case "d:":
                read.ends.append(value["finishReason"])
            case _:
                assert code in ("f:", "9:", "e:")
    return read


def read_ag_ui(pieces: Iterable[bytes]) -> Read:
    """As TanStack AI does: an event whose id was seen is a repetition, and dropped."""
    read = Read()
    for event in events_of(pieces):
        assert event.event == "message"
        if event.id is not None:
            if event.id in read.ids:
                continue
            read.ids.append(event.id)
        assert event.data is not None
        data = json.loads(event.data)
        match data["type"]:
            case "TEXT_MESSAGE_CONTENT":
                assert data["delta"]
                read.text += data["delta"]
            case "TOOL_CALL_START":
                read.call(data["toolCallId"], data["toolCallName"], "")
            case "TOOL_CALL_ARGS":
                read.call(data["toolCallId"], "", data["delta"])
            case "RUN_FINISHED":
                read.ends.append("finished")
            case "RUN_ERROR":
                read.error = data["message"]
                read.ends.append("error")
    return read


READERS: dict[str, Callable[[Iterable[bytes]], Read]] = {
    "events": read_events,
    "raw": read_raw,
    "ndjson": read_ndjson,
    "openai": read_openai,
    "responses": read_responses,
    "ai-sdk": read_ai_sdk,
    "ai-sdk-v4": read_ai_sdk_v4,
    "ag-ui": read_ag_ui,
}
