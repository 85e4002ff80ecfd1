"""A real model behind a real server: it answers, and once nobody wants its answer the processor is idle."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from openai import APIError, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.clients.conftest import assert_nothing_failed
from tests.clients.sockets import Connection, exchange, wait_until
from tests.support.cpu import CpuMeter
from tests.support.generating import small_model
from tests.support.process import ServerProcess

MODEL = "SmolLM2-135M-Instruct.Q4_1"
LONG = 3000
"""Tokens that would keep the processor busy for many seconds."""


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    small_model()
    with ServerProcess(["--bind", "127.0.0.1:0", "--provider", "local", "--drain-seconds", "2"]) as server:
        yield server
        assert_nothing_failed(server)


@pytest.fixture
def openai(server: ServerProcess) -> Iterator[OpenAI]:
    with OpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=0) as client:
        yield client


def test_a_model_answers_through_openais_own_client(openai: OpenAI) -> None:
    assert [model.id for model in openai.models.list()] == [MODEL]
    asked: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": "What is the capital of France? Answer in one word."}
    ]
    whole = openai.chat.completions.create(model=MODEL, messages=asked, temperature=0)
    said = whole.choices[0].message.content
    assert said is not None
    assert "Paris" in said
    assert whole.choices[0].finish_reason == "stop"
    chunks = list(
        openai.chat.completions.create(
            model=MODEL,
            messages=asked,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    pieces = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(pieces) == said
    assert chunks[-1].usage == whole.usage
    assert whole.usage is not None
    assert whole.usage.completion_tokens >= 1


def test_a_conversation_longer_than_the_context_is_told_in_words_of_ours() -> None:
    small_model()
    # What failed upstream stands in the log, so this is no server of the others.
    with (
        ServerProcess(["--bind", "127.0.0.1:0", "--provider", "local", "--local-context", "256"]) as server,
        OpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=0) as openai,
    ):
        with pytest.raises(APIError) as refused:
            openai.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "word " * 1000}]
            )
        assert "refused the request" in str(refused.value)
        assert "context" not in str(refused.value)
        assert "exceeds the available context size" in server.stderr


# Gone means idle


def asking(prompt: str, max_tokens: int) -> bytes:
    """A request for an answer, as it goes over the wire."""
    body = json.dumps({"messages": [{"role": "user", "content": prompt}], "max_tokens": max_tokens}).encode()
    head = f"POST /generations?format=raw HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Content-Type: application/json\r\n\r\n".encode() + body


class Answering:
    """A client that has asked for a long answer, and what the processor has done for the server by then."""

    def __init__(self, server: ServerProcess, prompt: str) -> None:
        self.meter = CpuMeter(server.pid)
        self.client = Connection(server.port)
        self.client.send(asking(prompt, LONG))
        self.received = b""

    def wait_pieces(self, count: int) -> None:
        while self.received.count(b"data: ") < count:
            received = self.client.receive()
            assert received, self.received
            self.received += received

    @property
    def id(self) -> str:
        head = self.received.lower().partition(b"location: /generations/")[2]
        return head[:32].decode()


@pytest.fixture(scope="module")
def token_seconds(server: ServerProcess) -> float:
    """What one token costs the server in processor time, on this machine."""
    meter = CpuMeter(server.pid)
    costs = []
    for _ in range(2):
        before = meter.wait_idle()
        with Connection(server.port) as client:
            client.send(asking("Tell a story.", 40))
            tokens = client.receive_all().count(b'{"content"')
        costs.append((meter.wait_idle() - before) / tokens)
    # The first one has loaded the model.
    return costs[1]


def test_a_stopped_answer_leaves_the_processor_idle_within_one_token(
    server: ServerProcess, token_seconds: float
) -> None:
    answering = Answering(server, "Tell a very long story.")
    with answering.client:
        answering.wait_pieces(5)
        stop = f"POST /generations/{answering.id}/stop HTTP/1.0\r\nHost: localhost\r\n\r\n"
        status, _, answer = exchange(server.port, stop.encode())
        spent = answering.meter.seconds()
        assert (status, json.loads(answer)["state"]) == (200, "stopped")
        # The one under way, and as much again for what tokens differ by.
        assert answering.meter.wait_idle() - spent < 2 * token_seconds + 0.01


@pytest.mark.parametrize("how", ["half_close", "reset"])
def test_a_client_that_goes_leaves_the_processor_idle_within_a_few_tokens(
    server: ServerProcess, token_seconds: float, how: str
) -> None:
    answering = Answering(server, "Tell a very long story.")
    with answering.client:
        answering.wait_pieces(5)
        spent = answering.meter.seconds()
        getattr(answering.client, how)()
        # Counted from the moment of going: the server has yet to be told.
        assert answering.meter.wait_idle() - spent < 10 * token_seconds + 0.05


def test_a_client_that_goes_while_its_prompt_is_read_leaves_the_processor_idle(
    server: ServerProcess, token_seconds: float
) -> None:
    answering = Answering(server, "word " * LONG)
    before = answering.meter.seconds()
    with answering.client:
        wait_until(lambda: answering.meter.seconds() > before + 0.2, "the model begins with the prompt")
        spent = answering.meter.seconds()
        answering.client.reset()
        # A token of a prompt costs less than one of an answer, and sixteen are computed in one go.
        assert answering.meter.wait_idle() - spent < 3 * 16 * token_seconds + 0.05
