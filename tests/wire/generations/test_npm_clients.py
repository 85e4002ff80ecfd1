"""The clients from npm that people use, unmodified, read what is encoded, and find nothing wrong with it.

They run in one Node.js process; what it is given to read stands in for the network.
"""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.wire.deltas import Delta, Encoder, Finish, Text, ToolCall, Usage
from server.wire.generations import (
    AgUi,
    Asked,
    ChatChunks,
    DataStream,
    ResponseEvents,
    UIMessages,
    collect,
    completion,
    response_body,
)
from server.wire.openai_errors import error_body, status_of
from server.wire.problem import ProblemError
from tests.support.npm import NodeProgram, install, running
from tests.wire.generations.scripts import ABOUT, FAILURE, Script, encoded, scripts, stream

PACKAGES = [
    "ai5@npm:ai@5",
    "ai6@npm:ai@6",
    "ai7@npm:ai@7",
    "@ai-sdk/ui-utils@1",
    "openai@7",
    "@ag-ui/client@1",
    "@ag-ui/core@1",
    "@tanstack/ai-client@0",
    "zod@3",
]
UI = ["ai5", "ai6", "ai7"]

# A round trip to another process is slow beside what is looked at in this one.
few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
places = st.lists(st.integers(0, 5000), max_size=6)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProgram]:
    folder = tmp_path_factory.mktemp("npm")
    install(folder, PACKAGES)
    with running(Path(__file__).with_name("read_forms.mjs"), folder) as program:
        yield program


def answer(
    node: NodeProgram, client: str, data: bytes, type: str, places: Sequence[int] = (), status: int = 200
) -> dict[str, Any]:
    """What `client` made of `data`, which came to it cut at `places`."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    pieces = [base64.b64encode(data[a:b]).decode() for a, b in itertools.pairwise(edges)]
    question = {"client": client, "pieces": pieces, "headers": {"content-type": type}, "status": status}
    answered: dict[str, Any] = node.ask(question)
    return answered


def read(
    node: NodeProgram, client: str, encoder: Encoder, script: Script, places: Sequence[int] = ()
) -> dict[str, Any]:
    """What `client` made of `script`, which has to be no error."""
    data = stream(encoder, script.deltas)
    answered = answer(node, client, data, encoder.media_type, places)
    assert "ok" in answered, answered
    ok: dict[str, Any] = answered["ok"]
    return ok


def told(calls: list[Any]) -> list[tuple[str, str, str]]:
    """The calls of a chat completion's message."""
    return [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls]


@few
@given(script=scripts().filter(lambda script: not script.failed), places=places)
def test_openai_reads_a_chat(node: NodeProgram, script: Script, places: list[int]) -> None:
    chunks = read(node, "openaiChat", ChatChunks(ABOUT), script, places)["chunks"]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("content") or "" for delta in deltas) == script.text
    assert chunks[-1]["choices"][0]["finish_reason"] == ("stop" if script.stopped else script.finish)
    assert {chunk["id"] for chunk in chunks} == {"chatcmpl-0123abcd"}


@few
@given(script=scripts().filter(lambda script: not script.failed), places=places)
def test_openai_puts_a_chat_together(node: NodeProgram, script: Script, places: list[int]) -> None:
    whole = read(node, "openaiChatHelper", ChatChunks(ABOUT, include_usage=True), script, places)
    message = whole["choices"][0]["message"]
    assert (message["content"] or "") == script.text
    assert told(message.get("tool_calls", [])) == script.calls


def test_openai_gets_the_usage_of_a_chat_where_it_asked_for_it(node: NodeProgram) -> None:
    script = Script((Text("a"), Finish("stop"), Usage(3, 5)))
    chunks = read(node, "openaiChat", ChatChunks(ABOUT, include_usage=True), script)["chunks"]
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    chunks = read(node, "openaiChat", ChatChunks(ABOUT), script)["chunks"]
    assert not any("usage" in chunk for chunk in chunks)


@few
@given(script=scripts().filter(lambda script: not script.failed))
def test_openai_reads_a_whole_chat(node: NodeProgram, script: Script) -> None:
    body = completion(ABOUT, collect(script.deltas))
    whole = answer(node, "openaiChatWhole", body, "application/json")["ok"]
    message = whole["choices"][0]["message"]
    assert (message["content"] or "") == script.text
    assert told(message.get("tool_calls", [])) == script.calls
    assert whole["choices"][0]["finish_reason"] == ("stop" if script.stopped else script.finish)


@pytest.mark.parametrize("client", ["openaiChat", "openaiChatHelper"])
def test_openai_raises_a_failure_in_the_middle_of_a_chat(node: NodeProgram, client: str) -> None:
    data = stream(ChatChunks(ABOUT), [Text("half"), FAILURE])
    error = answer(node, client, data, "text/event-stream")["error"]
    assert error["kind"] == "APIError"
    assert FAILURE.message in error["message"]
    assert (error["code"], error["type"]) == ("server_failed", "server_error")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("body_invalid", "BadRequestError"),
        ("prompt_too_large", "BadRequestError"),
        ("model_unknown", "NotFoundError"),
        ("origin_foreign", "PermissionDeniedError"),
        ("server_draining", "InternalServerError"),
    ],
)
@pytest.mark.parametrize("client", ["openaiChatWhole", "openaiChat", "openaiResponsesWhole"])
def test_openai_raises_what_is_refused_as_its_own_errors(
    node: NodeProgram, client: str, code: str, kind: str
) -> None:
    errors = ({"pointer": "/messages/0/role", "detail": "Not a role"},) if code == "body_invalid" else ()
    problem = ProblemError(code, "It is so.", errors=errors).problem  # type: ignore[arg-type]
    error = answer(node, client, error_body(problem), "application/json", status=status_of(problem))["error"]
    assert (error["kind"], error["status"]) == (kind, status_of(problem))
    assert error["param"] == ("messages[0].role" if errors else None)


@few
@given(script=scripts(), places=places)
def test_openai_puts_a_response_together(node: NodeProgram, script: Script, places: list[int]) -> None:
    whole = read(node, "openaiResponsesHelper", ResponseEvents(ABOUT), script, places)
    assert whole["output_text"] == script.text
    calls = [item for item in whole["output"] if item["type"] == "function_call"]
    assert [(call["call_id"], call["name"], call["arguments"]) for call in calls] == script.calls
    assert whole["status"] == status(script)
    assert whole["id"] == "resp_0123abcd"
    # What was streamed is what is retrieved.
    body = response_body(ABOUT, Asked(), collect(script.deltas))
    retrieved = answer(node, "openaiResponsesWhole", body, "application/json")["ok"]
    for parsed in (item for each in (whole, retrieved) for item in each["output"]):
        parsed.pop("parsed_arguments", None)
        for part in parsed.get("content", []):
            part.pop("parsed", None)
    assert {**whole, "output_parsed": None} == {**retrieved, "output_parsed": None}


def status(script: Script) -> str:
    if script.failed:
        return "failed"
    if script.stopped:
        return "cancelled"
    return "incomplete" if script.finish in ("length", "content_filter") else "completed"


def test_openai_reads_the_events_of_a_response_in_order(node: NodeProgram) -> None:
    script = Script((Text("a"), Text("b"), Finish("stop"), Usage(3, 5)))
    events = read(node, "openaiResponses", ResponseEvents(ABOUT), script)["events"]
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(10))
    assert events[-1]["response"]["usage"]["total_tokens"] == 8


@pytest.mark.parametrize("client", UI)
@few
@given(script=scripts(), places=places)
def test_the_ai_sdk_makes_a_message_of_it(
    node: NodeProgram, client: str, script: Script, places: list[int]
) -> None:
    got = read(node, client, UIMessages(ABOUT), script, places)
    parts = got["message"]["parts"]
    assert "".join(part["text"] for part in parts if part["type"] == "text") == script.text
    calls = {part["toolCallId"]: part for part in parts if part["type"].startswith("tool-")}
    assert [(call, part["type"]) for call, part in calls.items()] == [
        (call, f"tool-{name}") for call, name, _ in script.calls
    ]
    whole = not (script.failed or script.stopped)
    assert all((part["state"] == "input-available") == whole for part in calls.values())
    assert got["message"]["id"] == "msg_0123abcd"
    assert got.get("error") == (FAILURE.message if script.failed else None)
    last = got["chunks"][-1]["type"]
    assert last == ("error" if script.failed else "abort" if script.stopped else "finish")


@pytest.mark.parametrize("client", UI)
def test_the_ai_sdk_has_the_input_of_a_call_as_an_object(node: NodeProgram, client: str) -> None:
    calls = (ToolCall("c1", "search", '{"q": [1'), ToolCall("c1", "", "]}"), ToolCall("c2", "now", "", 1))
    script = Script((*calls, ToolCall("c3", "bad", '{"q"', 2), Finish("tool_calls")))
    parts = read(node, client, UIMessages(ABOUT), script)["message"]["parts"]
    found = {part["toolCallId"]: part for part in parts if part["type"].startswith("tool-")}
    assert found["c1"]["input"] == {"q": [1]}
    assert found["c2"]["input"] == {}
    assert found["c3"]["state"] == "output-error"


@few
@given(script=scripts(), places=places)
def test_version_4_of_the_ai_sdk_makes_a_message_of_it(
    node: NodeProgram, script: Script, places: list[int]
) -> None:
    data = stream(DataStream(ABOUT), script.deltas)
    answered = answer(node, "ai4", data, DataStream.media_type, places)
    if script.failed:
        assert answered["error"]["message"] == FAILURE.message
        return
    message = answered["ok"].get("message") or {"content": "", "toolInvocations": []}
    assert message["content"] == script.text
    calls = message.get("toolInvocations") or []
    assert [(call["toolCallId"], call["toolName"]) for call in calls] == [call[:2] for call in script.calls]
    assert all((call["state"] == "call") == (not script.stopped) for call in calls)
    finish = answered["ok"]["finish"]
    reason = "other" if script.stopped else (script.finish or "").replace("_", "-")
    assert finish["finishReason"] == reason
    if script.usage is not None:
        assert finish["usage"] == {"promptTokens": 3, "completionTokens": 5, "totalTokens": 8}


@few
@given(script=scripts(), places=places)
def test_ag_ui_verifies_every_event_and_has_the_messages(
    node: NodeProgram, script: Script, places: list[int]
) -> None:
    got = read(node, "agUi", AgUi(ABOUT, thread_id="t", run_id="r"), script, places)
    types = [event["type"] for event in got["events"]]
    assert types[0] == "RUN_STARTED"
    assert types[-1] == ("RUN_ERROR" if script.failed else "RUN_FINISHED")
    if not script.failed:
        outcome = got["events"][-1].get("outcome", {}).get("type")
        assert outcome == ("cancelled" if script.stopped else "success" if script.calls else None)
    texts = [message.get("content") or "" for message in got["messages"]]
    assert "".join(texts) == script.text
    assert (
        told([call for message in got["messages"] for call in message.get("toolCalls", [])]) == script.calls
    )


@few
@given(script=scripts(), places=places)
def test_tanstack_ai_has_the_message(node: NodeProgram, script: Script, places: list[int]) -> None:
    got = read(node, "tanstack", AgUi(ABOUT), script, places)
    assert got.get("error") == (FAILURE.message if script.failed else None)
    assert_tanstack_has(got, script.text)


@few
@given(script=scripts(calls=False), cut=st.integers(0, 5000))
def test_tanstack_ai_resumes_where_it_was_cut(node: NodeProgram, script: Script, cut: int) -> None:
    whole = encoded(AgUi(ABOUT), script.deltas)
    # Before its first id it has nothing to come back with.
    first = len(whole[0]) + cut % (sum(map(len, whole[1:])) + 1)
    rest = {f"e:{number}": b"".join(whole[number + 1 :]) for number in range(len(script.deltas) + 1)}
    question = {
        "client": "tanstack",
        "pieces": [base64.b64encode(b"".join(whole)[:first]).decode()],
        "rest": {place: base64.b64encode(data).decode() for place, data in rest.items()},
    }
    got = node.ask(question)["ok"]
    assert got.get("error") == (FAILURE.message if script.failed else None)
    assert_tanstack_has(got, script.text)


def assert_tanstack_has(got: dict[str, Any], text: str) -> None:
    answers = [message for message in got["messages"] if message["role"] == "assistant"]
    parts = [part for message in answers for part in message["parts"] if part["type"] == "text"]
    shown = "".join(part["content"] for part in parts)
    # It leaves out an answer of nothing but white space.
    assert shown == text or (shown == "" and re.fullmatch(r"[\s\ufeff]*", text))


def test_an_answer_of_many_pieces_is_read(node: NodeProgram) -> None:
    deltas: list[Delta] = [Text(f"{number} ") for number in range(3000)]
    script = Script((*deltas, Finish("stop")))
    whole = read(node, "openaiChatHelper", ChatChunks(ABOUT), script)
    assert whole["choices"][0]["message"]["content"] == script.text
