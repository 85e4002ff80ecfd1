"""The `openai` package from PyPI reads what is encoded, and its own types find nothing wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx2
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from server.wire.deltas import Delta, Finish, Text, Usage
from server.wire.generations import Asked, ChatChunks, ResponseEvents, collect, completion, response_body
from server.wire.openai_errors import error_body, status_of
from server.wire.problem import ProblemError
from tests.wire.generations.readers import events_of
from tests.wire.generations.scripts import ABOUT, FAILURE, Script, scripts, stream

few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
fine = scripts().filter(lambda script: not script.failed)
response_event: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


class Answering:
    """A client whose server answers everything with `body`."""

    def __init__(self) -> None:
        self.body, self.type, self.status = b"", "", 200
        transport = httpx2.MockTransport(self._answer)
        self.client = OpenAI(
            api_key="none",
            base_url="http://test/v1",
            max_retries=0,
            http_client=httpx2.Client(transport=transport),
        )

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(self.status, headers={"content-type": self.type}, content=self.body)

    def with_stream(self, body: bytes) -> OpenAI:
        """The client, which will be answered with a stream."""
        self.body, self.type = body, "text/event-stream"
        return self.client

    def with_json(self, body: bytes, status: int = 200) -> OpenAI:
        """The client, which will be answered with an object."""
        self.body, self.type, self.status = body, "application/json", status
        return self.client


@pytest.fixture
def answering() -> Iterator[Answering]:
    made = Answering()
    with made.client:
        yield made


def data_of(body: bytes) -> list[str]:
    return [event.data or "" for event in events_of([body]) if event.data != "[DONE]"]


@given(scripts(), st.booleans())
def test_every_chunk_is_one_by_the_types(script: Script, usage: bool) -> None:
    for data in data_of(stream(ChatChunks(ABOUT, include_usage=usage), script.deltas)):
        if "error" not in json.loads(data):
            ChatCompletionChunk.model_validate_json(data, strict=True)


@given(fine)
def test_a_completion_is_one_by_the_types(script: Script) -> None:
    whole = ChatCompletion.model_validate_json(completion(ABOUT, collect(script.deltas)), strict=True)
    assert (whole.choices[0].message.content or "") == script.text


@given(scripts())
def test_every_event_of_a_response_is_one_by_the_types(script: Script) -> None:
    for data in data_of(stream(ResponseEvents(ABOUT), script.deltas)):
        response_event.validate_json(data, strict=True)


@given(scripts(), st.booleans())
def test_a_response_is_one_by_the_types_while_it_waits_runs_and_is_over(
    script: Script, background: bool
) -> None:
    asked = Asked(instructions="Be brief.", metadata={"a": "b"}, temperature=0.5, background=background)
    answer = collect(script.deltas)
    whole = Response.model_validate_json(response_body(ABOUT, asked, answer), strict=True)
    assert whole.output_text == script.text
    assert whole.background == background
    for status in ("queued", "in_progress"):
        running = response_body(ABOUT, asked, answer, status)
        assert Response.model_validate_json(running, strict=True).status == status


@few
@given(script=fine)
def test_the_client_reads_a_chat(answering: Answering, script: Script) -> None:
    client = answering.with_stream(stream(ChatChunks(ABOUT), script.deltas))
    chunks = list(client.chat.completions.create(model="echo", messages=[], stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == script.text
    if script.finish in ("length", "content_filter"):
        return  # the helper raises what such a chat lacks
    with client.chat.completions.stream(model="echo", messages=[]) as events:
        message = events.get_final_completion().choices[0].message
    assert (message.content or "") == script.text
    called = [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    assert called == script.calls


def test_the_client_gets_the_usage(answering: Answering) -> None:
    deltas: list[Delta] = [Text("a"), Usage(3, 5), Finish("stop")]
    client = answering.with_stream(stream(ChatChunks(ABOUT, include_usage=True), deltas))
    chunks = list(client.chat.completions.create(model="echo", messages=[], stream=True))
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 8


@few
@given(script=scripts(), after=st.integers(0, 12))
def test_the_client_reads_a_response(answering: Answering, script: Script, after: int) -> None:
    client = answering.with_stream(stream(ResponseEvents(ABOUT), script.deltas))
    events = list(client.responses.create(model="echo", input="a", stream=True))
    numbers = [event.sequence_number for event in events]
    client = answering.with_stream(stream(ResponseEvents(ABOUT, starting_after=after), script.deltas))
    rest = client.responses.retrieve("resp_0123abcd", stream=True, starting_after=after)
    assert [event.sequence_number for event in rest] == [number for number in numbers if number > after]
    if script.failed or script.stopped or script.finish in ("length", "content_filter"):
        return
    client = answering.with_stream(stream(ResponseEvents(ABOUT), script.deltas))
    with client.responses.stream(model="echo", input="a") as helper:
        assert helper.get_final_response().output_text == script.text


def test_the_client_raises_a_failure_in_the_middle_of_a_chat(answering: Answering) -> None:
    client = answering.with_stream(stream(ChatChunks(ABOUT), [Text("half"), FAILURE]))
    with pytest.raises(openai.APIError, match=FAILURE.message) as raised:
        list(client.chat.completions.create(model="echo", messages=[], stream=True))
    assert raised.value.code == "server_failed"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("body_invalid", openai.BadRequestError),
        ("prompt_too_large", openai.BadRequestError),
        ("model_unknown", openai.NotFoundError),
        ("origin_foreign", openai.PermissionDeniedError),
        ("server_draining", openai.InternalServerError),
    ],
)
def test_the_client_raises_what_is_refused_as_its_own_errors(
    answering: Answering, code: str, error: type[openai.APIStatusError]
) -> None:
    problem = ProblemError(code, "It is so.").problem
    client = answering.with_json(error_body(problem), status_of(problem))
    with pytest.raises(error, match=r"It is so\."):
        client.chat.completions.create(model="echo", messages=[])
