"""The provider `openai`: the official client, against a small server that misbehaves."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx2
import openai
import pytest
import trio

from server.generations import Generation, Provider, RequestError, State
from server.generations.providers.openai import open_openai
from server.lifecycle import CloseReason
from server.wire.deltas import Delta, Finish, Text, ToolCall, Usage
from server.wire.prompts import MadeCall, Turn
from tests.support.generating import TextWire, open_studio
from tests.support.model_server import (
    CUT,
    DONE,
    END,
    HEAD,
    ModelServer,
    Step,
    chunk,
    event,
    open_model_server,
    refusal,
    usage,
)

# openai 3.54 and httpx2 2.16 leave it to the garbage collector to close their nested generators.  Their
# connections they close.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator '(openai|httpx2|httpcore2).:ResourceWarning")

WHOLE = (
    HEAD,
    chunk("", role="assistant"),
    chunk("Grüß"),
    chunk(" 😀"),
    chunk(None, "stop"),
    usage(3, 2),
    DONE,
)


async def generated(*script: Step, **limits: float) -> tuple[Generation, list[Delta]]:
    """What comes of a server that answers with `script`: the generation, over, and its deltas."""
    async with (
        open_model_server(*script) as server,
        open_openai(server.base_url, None, "m") as provider,
        open_studio(provider, **limits) as studio,
    ):
        generation = studio.start(detach_seconds=100)
        with trio.fail_after(20):
            await generation.wait_over()
            deltas = [delta for _, delta in generation.deltas()]
            gc.collect()
        return generation, deltas


async def test_an_answer_comes_through_with_its_usage() -> None:
    generation, deltas = await generated(*WHOLE)
    assert deltas == [Text("Grüß"), Text(" 😀"), Usage(3, 2), Finish("stop")]
    assert (generation.state, generation.reason, generation.tokens) == (State.DONE, "stop", 2)


async def test_a_model_that_thinks_aloud_shows_signs_of_life() -> None:
    thoughts = [chunk(reasoning_content="Hm."), chunk(reasoning_content="So.")]
    async with (
        open_model_server(HEAD, *thoughts, chunk("a", "stop"), DONE) as server,
        open_openai(server.base_url, None, "m") as provider,
    ):
        request = provider.request((Turn("user", "hello"),), None, 10, None, {})
        async with aclosing(provider.stream(request)) as stream:
            assert [delta async for delta in stream] == [Text(""), Text(""), Text("a"), Finish("stop")]
        gc.collect()


async def test_text_cut_within_a_character_comes_whole() -> None:
    event = chunk("ü😀").decode().encode()
    for at in range(1, len(event), 7):
        _, deltas = await generated(HEAD, event[:at], 0.001, event[at:], chunk(None, "length"), DONE)
        assert deltas == [Text("ü😀"), Finish("length")]


async def test_calls_of_tools_come_in_pieces() -> None:
    def call(index: int, id: str | None, name: str | None, arguments: str) -> bytes:
        function = {"arguments": arguments} | ({"name": name} if name else {})
        return chunk(tool_calls=[{"index": index, "function": function} | ({"id": id} if id else {})])

    _, deltas = await generated(
        HEAD,
        call(0, "a", "look", ""),
        call(0, None, None, '{"x":'),
        call(1, "b", "go", "{}"),
        call(0, None, None, "1}"),
        chunk(None, "tool_calls"),
        DONE,
    )
    assert deltas == [
        ToolCall("a", "look", "", 0),
        ToolCall("a", "", '{"x":', 0),
        ToolCall("b", "go", "{}", 1),
        ToolCall("a", "", "1}", 0),
        Finish("tool_calls"),
    ]


async def test_what_was_asked_is_passed_on_and_nothing_else() -> None:
    turns = (
        Turn("system", "be brief"),
        Turn("user", "hi"),
        Turn("assistant", "", tool_calls=(MadeCall("a", "look", "{}"),)),
        Turn("tool", "found", tool_call_id="a"),
    )
    async with (
        open_model_server(*WHOLE) as server,
        open_openai(server.base_url, "sk-key", None) as provider,
        open_studio(provider) as studio,
    ):
        request = studio.generations.request(
            turns, model="any/model", max_tokens=7, temperature=0.5, options={"seed": 3, "stop": ["x"]}
        )
        generation = studio.generations.start(request)
        await generation.wait_over()
        (asked,) = server.requests
        assert asked == {
            "model": "any/model",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "hi"},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [
                        {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
                    ],
                },
                {"role": "tool", "content": "found", "tool_call_id": "a"},
            ],
            "max_tokens": 7,
            "temperature": 0.5,
            "seed": 3,
            "stop": ["x"],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        assert server.headers[0]["authorization"] == "Bearer sk-key"
        with pytest.raises(RequestError, match="name a model"):
            studio.generations.request(turns)
        with pytest.raises(RequestError) as refused:
            studio.generations.request(turns, model="m", options={"n": 3})
        assert refused.value.pointer == "/options"


@pytest.mark.parametrize(
    ("script", "code", "text"),
    [
        ([refusal(401, "secret")], "provider_refused", ""),
        ([refusal(404, "secret")], "provider_refused", ""),
        ([refusal(429, "secret")], "provider_limited", ""),
        ([refusal(500, "secret")], "provider_failed", ""),
        ([CUT], "provider_unavailable", ""),
        ([HEAD, chunk("a"), CUT], "provider_unavailable", "a"),
        ([HEAD, chunk("a"), END], "provider_unavailable", "a"),
        ([HEAD, chunk("a"), DONE], "provider_failed", "a"),
        ([HEAD, chunk("a")], "provider_failed", "a"),
        ([HEAD, chunk("a"), event({"error": {"message": "secret"}})], "provider_failed", "a"),
        ([HEAD, chunk("a"), b"data: {secret\n\n"], "provider_failed", "a"),
        ([HEAD, chunk("a"), event(["secret"])], "provider_failed", "a"),
        ([HEAD, event({"choices": "secret"})], "provider_failed", ""),
        ([HEAD, event({"choices": [{"delta": {"content": 7}}]})], "provider_failed", ""),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"], "provider_failed", ""),
        ([b"HTTP/9 garbage\r\n\r\n"], "provider_unavailable", ""),
    ],
)
async def test_whatever_fails_is_told_in_our_words(
    script: list[Step], code: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    generation, deltas = await generated(*script)
    assert (generation.state, generation.reason) == (State.FAILED, code)
    assert "".join(delta.text for delta in deltas if isinstance(delta, Text)) == text
    assert "secret" not in str(deltas)
    assert generation.id in caplog.text


async def test_nobody_at_that_address_is_unavailable() -> None:
    async with open_model_server() as server:
        url = server.base_url
    async with open_openai(url, None, "m") as provider, open_studio(provider) as studio:
        generation = studio.start(detach_seconds=100)
        await generation.wait_over()
        assert generation.reason == "provider_unavailable"


@pytest.mark.parametrize("before", [[], [HEAD], [HEAD, chunk("a")]])
async def test_a_server_that_stalls_fails_in_time_and_is_left(before: list[Step]) -> None:
    async with (
        open_model_server(*before, 1000.0) as server,
        open_openai(server.base_url, None, "m") as provider,
        open_studio(provider, silence=0.1) as studio,
    ):
        generation = studio.start(detach_seconds=100)
        with trio.fail_after(20):
            await generation.wait_over()
            await server.wait_open(0)
        assert generation.reason == "provider_slow"


async def test_stop_closes_the_connection_upstream_at_each_moment() -> None:
    # More often than the client's pool is large where it is made small, and with every point of an answer.
    moments: list[list[Step]] = [[], [HEAD], [HEAD, chunk("a")], [HEAD, *[chunk("a")] * 50]]
    for before in moments:
        async with (
            open_model_server(*before, 1000.0) as server,
            open_openai(server.base_url, None, "m") as provider,
            open_studio(provider) as studio,
        ):
            for number in range(1, 6):
                generation = studio.start()
                viewer = studio.view(generation, wire := TextWire())
                await server.wait_requests(number)
                while len(wire.text) < len(before) - 1:
                    await trio.sleep(0.001)
                with trio.fail_after(5):
                    await generation.stop()
                    await server.wait_open(0)
                    await viewer.ended.wait()
                assert generation.state is State.STOPPED
                gc.collect()
            assert studio.closed == {CloseReason.CLIENT_STOPPED: 5}


async def test_cancelled_more_often_than_its_pool_is_large_the_client_still_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = httpx2.Limits(max_connections=3)
    made = openai.AsyncOpenAI

    def with_small_pool(**options: Any) -> openai.AsyncOpenAI:
        return made(http_client=openai.DefaultAsyncHttpxClient(limits=limits), **options)

    monkeypatch.setattr(openai, "AsyncOpenAI", with_small_pool)
    slow = [step for _ in range(10) for step in (chunk("a"), 0.002)]
    async with (
        open_model_server(0.002, HEAD, *slow, chunk(None, "stop"), DONE) as server,
        open_openai(server.base_url, None, "m") as provider,
        open_studio(provider) as studio,
    ):
        for number in range(40):
            generation = studio.start()
            with trio.move_on_after(0.0007 * number):
                await generation.wait_over()
            await generation.stop()
        last = studio.start(detach_seconds=100)
        with trio.fail_after(20):
            await last.wait_over()
        assert last.state is State.DONE
        assert last.text == "a" * 10
        gc.collect()


async def test_a_viewer_that_leaves_closes_the_connection_upstream() -> None:
    async with flowing() as (server, provider), open_studio(provider) as studio:
        for _ in range(5):
            generation = studio.start()
            viewer = studio.view(generation, wire := TextWire())
            while not wire.text:
                await trio.sleep(0.001)
            viewer.leave()
            with trio.fail_after(5):
                await server.wait_open(0)
            assert generation.state is State.ABANDONED
            gc.collect()


async def test_an_answer_that_is_cut_at_its_limit_closes_the_connection_upstream() -> None:
    async with flowing() as (server, provider), open_studio(provider) as studio:
        generation = studio.start(max_tokens=3, detach_seconds=100)
        with trio.fail_after(5):
            await generation.wait_over()
            await server.wait_open(0)
        assert (generation.text, generation.reason) == ("aaa", "length")
        gc.collect()


@asynccontextmanager
async def flowing() -> AsyncIterator[tuple[ModelServer, Provider]]:
    """A server that goes on and on, and the provider that asks it."""
    script = [HEAD] + [step for _ in range(1000) for step in (chunk("a"), 0.005)]
    async with open_model_server(*script) as server, open_openai(server.base_url, None, "m") as provider:
        yield server, provider
