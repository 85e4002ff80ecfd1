"""The `openai` package from PyPI, unmodified, with a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.clients.generating import LONG, SAID, SLOW, running, state_of, troubled, wait_none_runs
from tests.support.narrows import Narrows
from tests.support.process import ServerProcess
from tests.support.trouble import AWKWARD, BREAK, REFUSE, SECRET


def client_of(url: str) -> OpenAI:
    return OpenAI(api_key="none", base_url=f"{url}/v1", max_retries=0)


@pytest.fixture
def client(running_server: ServerProcess) -> Iterator[OpenAI]:
    with client_of(running_server.url) as client:
        yield client


@pytest.fixture(scope="module")
def troubled_server() -> Iterator[ServerProcess]:
    with troubled() as server:
        yield server


@pytest.fixture
def troubled_client(troubled_server: ServerProcess) -> Iterator[OpenAI]:
    """Behind a narrow place: nothing arrives in one piece."""
    with Narrows(troubled_server.port) as narrows, client_of(narrows.url) as client:
        yield client


def asked(text: str = SAID, **more: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}], **more}


def test_a_chat_is_streamed(client: OpenAI) -> None:
    chunks = list(client.chat.completions.create(**asked(), stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SAID
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_chat_is_streamed_with_its_usage(client: OpenAI) -> None:
    ask = asked(stream_options={"include_usage": True})
    chunks = list(client.chat.completions.create(**ask, stream=True))
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.total_tokens, chunks[-1].choices) == (10, [])


def test_the_helper_puts_a_chat_together(client: OpenAI) -> None:
    with client.chat.completions.stream(**asked()) as stream:
        assert stream.get_final_completion().choices[0].message.content == SAID


def test_a_chat_without_a_stream(client: OpenAI) -> None:
    whole = client.chat.completions.create(**asked())
    assert whole.choices[0].message.content == SAID
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 5


def test_a_stream_that_is_closed_cancels(client: OpenAI, running_server: ServerProcess) -> None:
    with client.chat.completions.create(**asked(LONG), stream=True, extra_body=SLOW) as stream:
        next(iter(stream))
        generation = next(iter(stream)).id.removeprefix("chatcmpl-")
    wait_none_runs(running_server)
    assert state_of(running_server, generation)["state"] == "abandoned"


def test_a_request_that_is_given_up_cancels(client: OpenAI, running_server: ServerProcess) -> None:
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(**asked(LONG), extra_body=SLOW, timeout=0.5)
    wait_none_runs(running_server)


def test_what_is_sent_again_with_its_key_joins(client: OpenAI, running_server: ServerProcess) -> None:
    headers = {"Idempotency-Key": "sent-again"}
    ask = asked(LONG, stream=True, extra_body=SLOW, extra_headers=headers)
    with client.chat.completions.create(**ask) as first, client.chat.completions.create(**ask) as second:
        assert next(iter(first)).id == next(iter(second)).id
        assert len(running(running_server)) == 1
    wait_none_runs(running_server)


def test_a_response_is_streamed(client: OpenAI) -> None:
    events = list(client.responses.create(model="echo", input=SAID, stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == SAID
    assert [event.sequence_number for event in events] == list(range(len(events)))
    with client.responses.stream(model="echo", input=SAID) as stream:
        assert stream.get_final_response().output_text == SAID


def test_a_response_is_created_retrieved_and_deleted(client: OpenAI) -> None:
    whole = client.responses.create(model="echo", input=SAID, metadata={"a": "b"})
    assert (whole.output_text, whole.status, whole.metadata) == (SAID, "completed", {"a": "b"})
    assert whole.usage is not None
    assert whole.usage.output_tokens == 5
    assert client.responses.retrieve(whole.id) == whole
    client.responses.delete(whole.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(whole.id)


def test_a_response_in_the_background_is_cut_resumed_and_retrieved(client: OpenAI) -> None:
    ask: dict[str, Any] = {"model": "echo", "input": SAID, "extra_body": {"options": {"delay_ms": 200}}}
    seen, number, made = "", -1, ""
    with client.responses.create(**ask, background=True, stream=True) as stream:
        for event in stream:
            number = event.sequence_number
            if event.type == "response.created":
                made = event.response.id
            if event.type == "response.output_text.delta":
                seen += event.delta
                break
    assert 0 < len(seen) < len(SAID)
    running = client.responses.retrieve(made)
    assert running.status == "in_progress"
    for event in client.responses.retrieve(made, stream=True, starting_after=number):
        assert event.sequence_number > number
        if event.type == "response.output_text.delta":
            seen += event.delta
    assert seen == SAID
    assert client.responses.retrieve(made).output_text == SAID


def test_a_response_in_the_background_is_cancelled(client: OpenAI, running_server: ServerProcess) -> None:
    made = client.responses.create(model="echo", input=LONG, background=True, extra_body=SLOW)
    assert made.status == "queued"
    assert client.responses.cancel(made.id).status == "cancelled"
    assert client.responses.retrieve(made.id).status == "cancelled"
    wait_none_runs(running_server)


def test_models_are_listed(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["echo"]
    assert client.models.retrieve("echo").owned_by == "echo"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("meta/llama")


@pytest.mark.parametrize(
    ("ask", "error", "code", "param"),
    [
        (asked(model="gpt-9"), openai.NotFoundError, "model_not_found", "model"),
        (asked(messages=[]), openai.BadRequestError, "body_invalid", "messages"),
        (asked(""), openai.BadRequestError, "body_invalid", "messages[0]"),
        (asked("x" * 300_000), openai.BadRequestError, "context_length_exceeded", None),
        (asked("x" * 2_000_000), openai.APIStatusError, "body_too_large", None),
        (
            asked(messages=[{"role": "robot", "content": "a"}]),
            openai.BadRequestError,
            "body_invalid",
            "messages[0].role",
        ),
        (asked(max_tokens="many"), openai.BadRequestError, "body_invalid", "max_tokens"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_input_is_raised_as_the_clients_own_errors(
    client: OpenAI,
    ask: dict[str, Any],
    error: type[openai.APIStatusError],
    code: str,
    param: str | None,
    stream: bool,
) -> None:
    with pytest.raises(error) as raised:
        client.chat.completions.create(**ask, stream=stream)
    assert (raised.value.code, raised.value.param) == (code, param)


# A provider that cuts at awkward places, and fails


def test_text_that_is_cut_everywhere_is_whole(troubled_client: OpenAI) -> None:
    chunks = list(troubled_client.chat.completions.create(**asked(AWKWARD), stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == AWKWARD
    assert troubled_client.chat.completions.create(**asked(AWKWARD)).choices[0].message.content == AWKWARD
    with troubled_client.responses.stream(model="echo", input=AWKWARD) as stream:
        assert stream.get_final_response().output_text == AWKWARD
    assert troubled_client.responses.create(model="echo", input=AWKWARD).output_text == AWKWARD


def test_a_provider_that_refuses_is_raised(troubled_client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        troubled_client.chat.completions.create(**asked(REFUSE))
    assert (raised.value.status_code, raised.value.code) == (502, "provider_refused")
    with pytest.raises(openai.APIError) as in_stream:
        list(troubled_client.chat.completions.create(**asked(REFUSE), stream=True))
    assert in_stream.value.code == "provider_refused"
    assert SECRET not in f"{raised.value} {in_stream.value}"


def test_a_provider_that_breaks_is_raised_behind_what_came(troubled_client: OpenAI) -> None:
    said = ""
    with pytest.raises(openai.APIError) as raised:
        for chunk in troubled_client.chat.completions.create(**asked(BREAK + AWKWARD), stream=True):
            said += chunk.choices[0].delta.content or ""
    assert (said, raised.value.code) == (BREAK + AWKWARD, "provider_failed")
    *_, last = troubled_client.responses.create(model="echo", input=BREAK + AWKWARD, stream=True)
    assert last.type == "response.failed"
    assert last.response.output_text == BREAK + AWKWARD
    whole = troubled_client.responses.create(model="echo", input=BREAK + AWKWARD)
    assert whole.status == "failed"
    assert whole.error is not None
    assert SECRET not in f"{raised.value} {whole.error} {last}"
