"""Requests for generations: what each ecosystem's clients send, and what is refused, where, how."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.wire.openai_errors import error_body, status_of
from server.wire.problem import ProblemError
from server.wire.prompts import (
    MadeCall,
    Prompt,
    PromptLimits,
    Turn,
    decode_chat_completion,
    decode_response,
    decode_run,
    decode_ui_chat,
)

LIMITS = PromptLimits(messages=20, size=2000)
RUN = {"threadId": "t1", "runId": "r1", "state": {}, "tools": [], "context": [], "forwardedProps": {}}
HELLO = {"role": "user", "content": "hello"}
CALL = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q":1}'}}


def chat(**body: Any) -> Prompt:
    return decode_chat_completion(json.dumps({"messages": [HELLO]} | body).encode(), LIMITS).prompt


def response(**body: Any) -> Prompt:
    return decode_response(json.dumps({"input": "hello"} | body).encode(), LIMITS).prompt


def ui_chat(**body: Any) -> Prompt:
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hello"}]}
    asked = {"id": "chat-1", "messages": [message], "trigger": "submit-message"} | body
    return decode_ui_chat(json.dumps(asked).encode(), LIMITS).prompt


def run(**body: Any) -> Prompt:
    return decode_run(json.dumps(RUN | {"messages": [{"id": "m1"} | HELLO]} | body).encode(), LIMITS).prompt


ALL = [chat, response, ui_chat, run]
Asking = Callable[..., Prompt]


@pytest.mark.parametrize("ask", ALL)
def test_the_least_that_a_client_says_leaves_all_else_open(ask: Asking) -> None:
    assert ask() == Prompt((Turn("user", "hello"),))


@pytest.mark.parametrize("ask", ALL)
def test_everything_that_can_be_said_is_understood(ask: Asking) -> None:
    said: dict[str, Any] = {"model": "echo", "temperature": 0.5, "options": {"delay_ms": 0}}
    said |= {"on_disconnect": "detach", "detach_seconds": 4}
    tokens = {response: {"max_output_tokens": 9}, chat: {"max_completion_tokens": 9}}
    if ask is run:
        prompt = run(forwardedProps=said | {"maxTokens": 1, "max_tokens": 9})
    else:
        prompt = ask(**said, **tokens.get(ask, {"max_tokens": 9}))
    assert prompt == Prompt((Turn("user", "hello"),), "echo", 9, 0.5, {"delay_ms": 0}, "detach", 4)


@pytest.mark.parametrize("ask", ALL)
def test_what_others_servers_know_and_this_one_does_not_is_passed_over(ask: Asking) -> None:
    assert ask(user="u", logit_bias={}, service_tier="auto", unheard_of={"of": 1}) == ask()


def test_what_is_for_the_provider_to_understand_is_handed_on_as_it_is() -> None:
    assert chat(tools=[], seed="4", stop=None).wishes == {"tools": [], "seed": "4"}
    assert response(top_p=0.5, tools=[]).wishes == {"top_p": 0.5}


def test_a_chat_says_whether_it_streams_and_wants_usage() -> None:
    body = {"messages": [HELLO], "stream": True, "stream_options": {"include_usage": True}}
    request = decode_chat_completion(json.dumps(body).encode(), LIMITS)
    assert (request.stream, request.include_usage) == (True, True)
    request = decode_chat_completion(json.dumps({"messages": [HELLO], "stream": None}).encode(), LIMITS)
    assert (request.stream, request.include_usage) == (False, False)


def test_the_messages_of_a_chat_become_turns() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "wh"}, {"type": "text", "text": "at?"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "audio": None},
        {"role": "tool", "tool_call_id": "c1", "content": ""},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}], "refusal": None},
        {"role": "system", "content": "Really.", "name": "sys"},
    ]
    assert chat(messages=messages).turns == (
        Turn("developer", "Be brief."),
        Turn("user", "what?"),
        Turn("assistant", "", (MadeCall("c1", "search", '{"q":1}'),)),
        Turn("tool", "", tool_call_id="c1"),
        Turn("assistant", "No."),
        Turn("system", "Really."),
    )


def test_the_items_of_a_response_become_turns() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "what?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Let me ", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c1", "name": "search", "arguments": "{}", "id": "fc_1"},
        {"type": "function_call", "call_id": "c2", "name": "search", "arguments": "[]"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
    ]
    assert response(input=items, instructions="Be brief.").turns == (
        Turn("system", "Be brief."),
        Turn("user", "what?"),
        Turn("assistant", "Let me "),
        Turn("assistant", "", (MadeCall("c1", "search", "{}"), MadeCall("c2", "search", "[]"))),
        Turn("tool", "one", tool_call_id="c1"),
        Turn("tool", "two", tool_call_id="c2"),
    )


def test_what_a_response_was_asked_is_told_back() -> None:
    body = {"input": "a", "instructions": "b", "metadata": {"c": "d"}, "background": True, "top_p": 0.5}
    request = decode_response(json.dumps(body | {"stream": True}).encode(), LIMITS)
    assert request.stream
    asked = request.asked
    assert (asked.instructions, asked.metadata, asked.background, asked.top_p) == ("b", {"c": "d"}, True, 0.5)
    assert asked.store


def test_the_parts_of_a_ui_message_become_turns_a_step_at_a_time() -> None:
    assistant = [
        {"type": "step-start"},
        {"type": "reasoning", "text": "hm"},
        {"type": "text", "text": "Let me ", "state": "done"},
        {"type": "text", "text": "see."},
        {
            "type": "tool-search",
            "toolCallId": "c1",
            "state": "output-available",
            "input": {"q": 1},
            "output": ["found"],
        },
        {"type": "dynamic-tool", "toolName": "look", "toolCallId": "c2", "state": "output-error"}
        | {"input": {}, "errorText": "no"},
        {"type": "tool-search", "toolCallId": "c3", "state": "input-available", "input": {}},
        {"type": "step-start"},
        {"type": "source-url", "sourceId": "s", "url": "https://example.org"},
        {"type": "text", "text": "There."},
        {"type": "data-weather", "data": {"text": 4}},
    ]
    messages = [
        {"id": "m0", "role": "system", "parts": [{"type": "text", "text": "Be brief."}]},
        {
            "id": "m1",
            "role": "user",
            "parts": [{"type": "text", "text": "what"}, {"type": "text", "text": "?"}],
        },
        {"id": "m2", "role": "assistant", "parts": assistant},
    ]
    assert ui_chat(messages=messages).turns == (
        Turn("system", "Be brief."),
        Turn("user", "what?"),
        Turn(
            "assistant",
            "Let me see.",
            (MadeCall("c1", "search", '{"q": 1}'), MadeCall("c2", "look", "{}")),
        ),
        Turn("tool", '["found"]', tool_call_id="c1"),
        Turn("tool", "no", tool_call_id="c2"),
        Turn("assistant", "There."),
    )
    body = json.dumps({"id": "a/b", "messages": messages}).encode()
    request = decode_ui_chat(body, LIMITS)
    assert (request.chat_id, request.continues) == ("a/b", "m2")
    body = json.dumps({"id": "a/b", "messages": messages[:2]}).encode()
    assert decode_ui_chat(body, LIMITS).continues is None


def test_the_chat_of_version_4_is_understood() -> None:
    messages = [
        {"role": "user", "content": "what?"},
        {"role": "assistant", "content": "that", "parts": [{"type": "text", "text": "that"}]},
    ]
    assert ui_chat(messages=messages).turns == (Turn("user", "what?"), Turn("assistant", "that"))


def test_the_messages_of_a_run_become_turns() -> None:
    messages = [
        {"id": "1", "role": "developer", "content": "Be brief."},
        {"id": "2", "role": "user", "content": [{"type": "text", "text": "what?"}]},
        {"id": "3", "role": "reasoning", "content": "hm"},
        {"id": "4", "role": "activity", "activityType": "x", "content": {}},
        {"id": "5", "role": "assistant", "toolCalls": [CALL]},
        {"id": "6", "role": "tool", "toolCallId": "c1", "content": "found"},
    ]
    assert run(messages=messages).turns == (
        Turn("developer", "Be brief."),
        Turn("user", "what?"),
        Turn("assistant", "", (MadeCall("c1", "search", '{"q":1}'),)),
        Turn("tool", "found", tool_call_id="c1"),
    )
    request = decode_run(json.dumps(RUN | {"messages": [{"id": "1"} | HELLO]}).encode(), LIMITS)
    assert (request.thread_id, request.run_id) == ("t1", "r1")


def text(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def ui(*parts: Any, role: Any = "user") -> dict[str, Any]:
    return {"messages": [{"id": "m", "role": role, "parts": list(parts)}]}


IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}
IMAGES = {"role": "user", "content": [{"type": "input_image"}]}
REFUSED: list[tuple[Asking, dict[str, Any], str]] = [
    (chat, {"messages": []}, "/messages"),
    (chat, {"messages": None}, "/messages"),
    (chat, {"messages": "hello"}, "/messages"),
    (chat, {"messages": [{"content": "hello"}]}, "/messages/0"),
    (chat, {"messages": [HELLO, {"role": "robot", "content": "hello"}]}, "/messages/1/role"),
    (chat, {"messages": [{"role": 4, "content": "hello"}]}, "/messages/0/role"),
    (chat, {"messages": [{"role": "tool", "content": "hello"}]}, "/messages/0"),
    (chat, text(""), "/messages/0"),
    (chat, text([]), "/messages/0"),
    (chat, text(None), "/messages/0/content"),
    (chat, text(4), "/messages/0/content"),
    (chat, text([IMAGE]), "/messages/0/content/0/type"),
    (chat, {"model": 4}, "/model"),
    (chat, {"model": ""}, "/model"),
    (chat, {"max_tokens": 0}, "/max_tokens"),
    (chat, {"max_tokens": "9"}, "/max_tokens"),
    (chat, {"max_tokens": 2**31}, "/max_tokens"),
    (chat, {"temperature": 2.1}, "/temperature"),
    (chat, {"temperature": -0.1}, "/temperature"),
    (chat, {"stream": "yes"}, "/stream"),
    (chat, {"stream_options": {"include_usage": True}}, "/stream_options"),
    (chat, {"n": 2}, "/n"),
    (chat, {"on_disconnect": "maybe"}, "/on_disconnect"),
    (chat, {"detach_seconds": -1}, "/detach_seconds"),
    (chat, {"options": []}, "/options"),
    (response, {"input": ""}, "/input"),
    (response, {"input": []}, "/input"),
    (response, {"input": [{"type": "reasoning"}]}, "/input"),
    (response, {"input": 4}, "/input"),
    (response, {"input": [{"role": "robot", "content": "a"}]}, "/input/0/role"),
    (response, {"input": [{"content": "a"}]}, "/input/0/role"),
    (response, {"input": [{"role": "user"}]}, "/input/0/content"),
    (response, {"input": [{"role": "user", "content": ""}]}, "/input/0"),
    (
        response,
        {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
        "/input/0/content/0/type",
    ),
    (response, {"input": [{"type": "item_reference", "id": "a"}]}, "/input/0/type"),
    (response, {"input": [{"type": "function_call", "name": "a", "arguments": ""}]}, "/input/0/call_id"),
    (response, {"input": [{"type": "function_call_output", "call_id": "a"}]}, "/input/0/output"),
    (response, {"previous_response_id": "resp_1"}, "/previous_response_id"),
    (response, {"conversation": "conv_1"}, "/conversation"),
    (response, {"background": True, "store": False}, "/store"),
    (response, {"metadata": {str(n): "" for n in range(17)}}, "/metadata"),
    (response, {"max_output_tokens": 0}, "/max_output_tokens"),
    (ui_chat, {"id": None}, "/id"),
    (ui_chat, {"id": ""}, "/id"),
    (ui_chat, {"messages": []}, "/messages"),
    (ui_chat, ui({"type": "text", "text": "a"}, role="robot"), "/messages/0/role"),
    (ui_chat, ui(), "/messages/0"),
    (ui_chat, ui({"type": "text", "text": 4}), "/messages/0/parts/0/text"),
    (ui_chat, ui({"text": "a"}), "/messages/0/parts/0"),
    (ui_chat, ui({"type": "file", "mediaType": "image/png", "url": "data:"}), "/messages/0/parts/0"),
    (run, {"threadId": None}, "/threadId"),
    (run, {"runId": ""}, "/runId"),
    (run, {"messages": []}, "/messages"),
    (run, {"messages": [{"id": "1", "role": "robot", "content": "a"}]}, "/messages/0/role"),
    (run, {"messages": [{"id": "1", "role": "user", "content": ""}]}, "/messages/0"),
    (
        run,
        {"messages": [{"id": "1", "role": "user", "content": [{"type": "image"}]}]},
        "/messages/0/content/0/type",
    ),
    (run, {"forwardedProps": {"on_disconnect": 4}}, "/forwardedProps/on_disconnect"),
]


@pytest.mark.parametrize(("ask", "body", "pointer"), REFUSED)
def test_what_cannot_be_answered_is_refused_and_said_where(
    ask: Asking, body: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(ProblemError) as raised:
        ask(**body)
    problem = raised.value.problem
    assert (problem.code, problem.status) == ("body_invalid", 422)
    assert problem.errors[0]["pointer"] == pointer
    assert problem.errors[0]["detail"]


@pytest.mark.parametrize("ask", ALL)
def test_a_prompt_has_a_limit_in_messages_and_in_bytes(ask: Asking) -> None:
    many = [HELLO] * 21
    long = [{"role": "user", "content": "ü" * 600}, {"role": "user", "content": "ü" * 600}]
    for messages in (many, long):
        if ask is response:
            body: dict[str, Any] = {"input": messages}
        elif ask is ui_chat:
            body = {"messages": messages}
        else:
            body = {"messages": [{"id": "1"} | message for message in messages]}
        with pytest.raises(ProblemError) as raised:
            ask(**body)
        problem = raised.value.problem
        assert (problem.code, problem.status) == ("prompt_too_large", 413)


@pytest.mark.parametrize("decode", [decode_chat_completion, decode_response, decode_ui_chat, decode_run])
@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"messages":NaN}', b"\xff", b'"\\ud800"', b"[" * 100 + b"]" * 100]
)
def test_what_is_no_json_is_refused(decode: Callable[..., Any], body: bytes) -> None:
    with pytest.raises(ProblemError) as raised:
        decode(body, LIMITS)
    assert raised.value.problem.code == "json_malformed"


FIELDS = ["id", "role", "content", "parts", "type", "text", "state", "input", "messages"]
FIELDS += ["threadId", "runId", "forwardedProps"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["user", "tool", "text", "message", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=15,
)


@pytest.mark.parametrize("decode", [decode_chat_completion, decode_response, decode_ui_chat, decode_run])
@given(body=json_values)
def test_whatever_is_sent_is_a_prompt_or_a_problem(decode: Callable[..., Any], body: object) -> None:
    try:
        prompt = decode(json.dumps(body).encode(), LIMITS).prompt
    except ProblemError as error:
        assert error.problem.code in ("body_invalid", "prompt_too_large")
        told = json.loads(error_body(error.problem))["error"]
        assert told.keys() == {"message", "type", "param", "code"}
    else:
        assert prompt.turns


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (
            {"messages": [HELLO, {"role": "robot", "content": "a"}]},
            400,
            {"type": "invalid_request_error", "param": "messages[1].role", "code": "body_invalid"},
        ),
        (
            {"temperature": 9},
            400,
            {"type": "invalid_request_error", "param": "temperature", "code": "body_invalid"},
        ),
        (
            {"messages": [HELLO] * 21},
            400,
            {"type": "invalid_request_error", "param": None, "code": "context_length_exceeded"},
        ),
    ],
)
def test_a_refusal_below_v1_is_in_the_words_of_that_api(
    body: dict[str, Any], status: int, told: dict[str, Any]
) -> None:
    with pytest.raises(ProblemError) as raised:
        chat(**body)
    problem = raised.value.problem
    assert status_of(problem) == status
    error = json.loads(error_body(problem))["error"]
    assert error.pop("message")
    assert error == told


@pytest.mark.parametrize(
    ("code", "status", "kind", "shown"),
    [
        ("model_unknown", 404, "invalid_request_error", "model_not_found"),
        ("json_malformed", 400, "invalid_request_error", "json_malformed"),
        ("origin_foreign", 403, "permission_error", "origin_foreign"),
        ("server_draining", 503, "server_error", "server_draining"),
        ("server_failed", 500, "server_error", "server_failed"),
    ],
)
def test_every_problem_can_be_told_below_v1(code: str, status: int, kind: str, shown: str) -> None:
    problem = ProblemError(code, "It is so.").problem
    assert status_of(problem) == status
    assert json.loads(error_body(problem)) == {
        "error": {"message": "It is so.", "type": kind, "param": None, "code": shown}
    }
