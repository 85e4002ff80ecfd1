"""OpenAI's API: what its endpoints take and refuse, and what a client that leaves means to them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.generations import GenerationRequest, Provider, ProviderError
from server.settings import Settings
from server.wire.deltas import Delta, Finish, Usage
from tests.support.generating import Upstream
from tests.support.http_peer import Answer, EventReader, World, open_world

SAID = "hello wörld, it\n flows 😀"
CHAT = "/v1/chat/completions"
SLOW: dict[str, Any] = {"options": {"delay_ms": 1000}}


def chat(text: str = SAID, **more: object) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}], **more}


def response(text: str = SAID, **more: object) -> dict[str, Any]:
    return {"model": "echo", "input": text, **more}


def error_of(answer: Answer) -> tuple[int, str, str | None]:
    """Status, code and param of an answer that has to be OpenAI's error object."""
    assert answer.headers["content-type"] == "application/json", answer
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return answer.status, error["code"], error["param"]


async def data_of(reader: EventReader) -> list[Any]:
    return [
        json.loads(event.data)
        for event in await reader.rest()
        if event.data is not None and event.data != "[DONE]"
    ]


def text_of(events: list[Any]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


async def states(world: World) -> list[str]:
    await wait_all_tasks_blocked()
    return [generation.state.value for generation in world.application.generations._known.values()]


# Chat completions


async def test_a_chat_is_streamed_with_a_sign_of_life_first(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ask = chat(stream=True, stream_options={"include_usage": True})
        stream = await world.connect().post_events(CHAT, ask)
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
        assert stream.headers["cache-control"] == "no-store, no-transform"
        chunks = await data_of(stream)
        assert stream.complete
        assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        said = (chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1])
        assert "".join(said) == SAID
        assert chunks[-1]["usage"] == {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
        assert (await world.stats())["closed"]["generation"] == {"completed": 1}


async def test_a_chat_without_a_stream_is_one_object_and_counts_as_a_stream(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        peer = world.connect()
        for _ in range(2):  # the connection is kept
            answer = await peer.request("POST", CHAT, json_body=chat())
            assert answer.status == 200
            whole = answer.json()
            assert whole["object"] == "chat.completion"
            assert whole["choices"][0]["message"]["content"] == SAID
            assert whole["usage"]["completion_tokens"] == 5
        assert (await world.stats())["closed"]["generation"] == {"completed": 2}


async def test_a_client_that_leaves_while_it_waits_for_the_whole_cancels(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        peer = world.connect()
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises((AssertionError, trio.ClosedResourceError)):
                    await peer.request("POST", CHAT, json_body=chat(**SLOW))

            nursery.start_soon(ask)
            await trio.sleep(1.5)
            assert await states(world) == ["running"]
            await peer.aclose()
            assert await states(world) == ["abandoned"]
        assert (await world.stats())["closed"]["generation"] == {"client_disconnected": 1}


@pytest.mark.parametrize("more", [{}, {"stream": True}])
async def test_a_chat_is_kept_where_that_is_asked_for(
    autojump_clock: MockClock, more: dict[str, Any]
) -> None:
    async with open_world() as world:
        peer = world.connect()
        ask = json.dumps(chat(**SLOW, **more, on_disconnect="detach")).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        await peer.stream.send_all(f"{head}Content-Length: {len(ask)}\r\n\r\n".encode() + ask)
        await trio.sleep(1.5)
        await peer.aclose()
        assert await states(world) == ["running"]
        await trio.sleep(10)
        assert await states(world) == ["done"]


class _Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    stop: str | list[str] | None = None
    top_p: float | None = None


async def test_what_clients_say_to_a_model_reaches_a_provider_that_knows_it(
    autojump_clock: MockClock,
) -> None:
    had: list[object] = []

    async def noting(request: GenerationRequest) -> AsyncGenerator[Delta | str, None]:
        had.append(request.options)
        yield "a"

    provider = Provider("noting", noting, ("echo",), options=_Options)
    async with open_world(provider=provider) as world:
        for more in (
            {"stop": ["x"], "top_p": None, "tools": [{"type": "function"}], "user": "u"},
            {"stop": "x", "options": {"stop": "y"}},
        ):
            assert (await world.request("POST", CHAT, json_body=chat(**more))).status == 200
        assert (await world.request("POST", "/v1/responses", json_body=response(top_p=0.5))).status == 200
        assert had == [_Options(stop=["x"]), _Options(stop="y"), _Options(top_p=0.5)]
        refused = await world.request("POST", CHAT, json_body=chat(stop=5))
        assert error_of(refused) == (400, "body_invalid", "stop")
        refused = await world.request("POST", CHAT, json_body=chat(options={"stop": 5}))
        assert error_of(refused) == (400, "body_invalid", "options.stop")


async def test_a_client_that_leaves_its_stream_cancels(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        stream = await world.connect().post_events(CHAT, chat(stream=True, **SLOW))
        await stream.next_data()
        await stream.peer.aclose()
        assert await states(world) == ["abandoned"]


async def test_what_is_stopped_elsewhere_ends_for_who_waits_for_the_whole(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        answers: list[Answer] = []

        async def ask() -> None:
            answers.append(await world.request("POST", CHAT, json_body=chat(**SLOW)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(2.5)
            (running,) = world.application.generations.running
            await world.request("DELETE", f"/generations/{running.id}")
        assert answers[0].json()["choices"][0]["message"]["content"] == "hello wörld,"
        assert (await world.stats())["closed"]["generation"] == {"client_stopped": 1}


@pytest.mark.parametrize(
    ("code", "status"), [("provider_refused", 502), ("provider_limited", 503), ("provider_slow", 504)]
)
async def test_a_provider_that_fails_is_told_by_status_or_in_the_stream(
    autojump_clock: MockClock, code: str, status: int
) -> None:
    upstream = Upstream("half ", ProviderError(code, "the upstream's own words"))
    async with open_world(provider=upstream.provider) as world:
        ask = chat(model="upstream")
        answer = await world.request("POST", CHAT, json_body=ask)
        assert error_of(answer) == (status, code, None)
        stream = await world.connect().post_events(CHAT, ask | {"stream": True})
        chunks = await data_of(stream)
        assert (stream.status, stream.complete) == (200, True)
        assert chunks[-2]["choices"][0]["delta"]["content"] == "half "
        assert chunks[-1]["error"]["code"] == code
        assert b"own words" not in answer.body + json.dumps(chunks).encode()
        assert (await world.stats())["closed"]["generation"] == {"failed": 2}


# Errors


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{", (400, "json_malformed", None)),
        (b"\xff", (400, "json_malformed", None)),
        ([], (400, "body_invalid", None)),
        ({}, (400, "body_invalid", None)),
        (chat(messages=[]), (400, "body_invalid", "messages")),
        (chat(messages="hi"), (400, "body_invalid", "messages")),
        (chat(""), (400, "body_invalid", "messages[0]")),
        (chat(messages=[{"role": "robot", "content": "a"}]), (400, "body_invalid", "messages[0].role")),
        (chat(messages=[{"role": "user", "content": 7}]), (400, "body_invalid", "messages[0].content")),
        (chat("x" * 300_000), (400, "context_length_exceeded", None)),
        (chat(model="gpt-9"), (404, "model_not_found", "model")),
        (chat(model=7), (400, "body_invalid", "model")),
        (chat(max_tokens=0), (400, "body_invalid", "max_tokens")),
        (chat(temperature="hot"), (400, "body_invalid", "temperature")),
        (chat(stream="yes"), (400, "body_invalid", "stream")),
        (chat(n=2), (400, "body_invalid", "n")),
        (chat(stream_options={"include_usage": True}), (400, "body_invalid", "stream_options")),
        (chat(options={"other": 1}), (400, "body_invalid", "options")),
        (chat(detach_seconds=1), (400, "body_invalid", "detach_seconds")),
        (chat(on_disconnect="detach", detach_seconds=601), (400, "body_invalid", "detach_seconds")),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_bad_input_is_openais_error_before_any_stream(
    autojump_clock: MockClock, body: Any, error: tuple[int, str, str | None], stream: bool
) -> None:
    async with open_world() as world:
        if isinstance(body, dict) and body and "stream_options" not in body:
            body = {"stream": stream} | body
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await world.request("POST", CHAT, data, content_type="application/json")
        assert error_of(answer) == error
        assert len(world.application.generations) == 0


async def test_every_error_below_v1_is_openais(autojump_clock: MockClock) -> None:
    async with open_world(Settings(max_body=10_000)) as world:
        keyed = {"json_body": chat(), "idempotency_key": ""}
        foreign = {"json_body": chat(), "origin": "https://e.example"}
        wrong: list[tuple[str, str, dict[str, Any], tuple[int, str, str | None]]] = [
            ("GET", "/v1/nothing", {}, (404, "path_unknown", None)),
            ("GET", "/v1/", {}, (404, "path_unknown", None)),
            ("GET", CHAT, {}, (405, "method_unknown", None)),
            ("POST", CHAT, {"body": b"a=1", "content_type": "text/plain"}, (415, "type_unsupported", None)),
            ("POST", CHAT, {"json_body": chat("x" * 10_000)}, (413, "body_too_large", None)),
            ("POST", f"{CHAT}?x=1", {"json_body": chat()}, (400, "query_invalid", None)),
            ("POST", CHAT, foreign, (403, "origin_foreign", None)),
            ("GET", "/v1/models", {"host": "evil.example"}, (421, "host_foreign", None)),
            ("POST", CHAT, keyed, (400, "idempotency_key_invalid", None)),
            ("GET", "/v1/responses/a%2Fb", {}, (400, "name_invalid", None)),
        ]
        for method, target, options, expected in wrong:
            answer = await world.request(method, target, **options)
            assert error_of(answer) == expected, target
            if expected[0] == 405:
                assert answer.headers["allow"] == "OPTIONS, POST"
        chunked = await world.request(
            "POST", CHAT, transfer_encoding="chunked", content_type="application/json"
        )
        assert error_of(chunked)[:2] == (400, "json_malformed")


async def test_a_full_or_draining_server_says_so_whatever_is_accepted(autojump_clock: MockClock) -> None:
    async with open_world(Settings(max_generations=1, generation_queue=0)) as world:
        await world.connect().post_events(CHAT, chat(stream=True, **SLOW))
        full = await world.request("POST", CHAT, json_body=chat(), accept="text/event-stream")
        assert error_of(full) == (429, "generations_full", None)
        assert full.headers["retry-after"] == "5"
        world.application.gate.close()
        for ask in (chat(), chat(stream=True)):
            answer = await world.request("POST", CHAT, json_body=ask, accept="text/event-stream")
            assert error_of(answer) == (503, "server_draining", None)
            assert int(answer.headers["retry-after"]) >= 1


async def test_a_key_joins_what_runs_and_gives_again_what_has_run(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ask = chat(stream=True, **SLOW)
        first = await world.connect().post_events(CHAT, ask, idempotency_key="k")
        await trio.sleep(2.5)
        second = await world.connect().post_events(CHAT, ask, idempotency_key="k")
        read = [await data_of(reader) for reader in (first, second)]
        assert read[0][0]["id"] == read[1][0]["id"]
        third = await world.connect().post_events(CHAT, ask, idempotency_key="k")
        assert (await data_of(third))[0]["id"] == read[0][0]["id"]
        other = await world.request("POST", CHAT, json_body=chat("other"), idempotency_key="k")
        assert error_of(other) == (422, "idempotency_key_reused", None)
        assert len(world.application.generations) == 1


# Responses


async def test_a_response_is_streamed_retrieved_and_deleted(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ask = response(instructions="Be brief.", metadata={"a": "b"}, stream=True)
        events = await data_of(await world.connect().post_events("/v1/responses", ask))
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        whole = events[-1]["response"]
        assert (whole["status"], whole["instructions"]) == ("completed", "Be brief.")
        path = f"/v1/responses/{whole['id']}"
        retrieved = await world.request("GET", path)
        assert retrieved.json() == whole
        deleted = await world.request("DELETE", path)
        assert deleted.json() == {"id": whole["id"], "object": "response", "deleted": True}
        for method, target in [("GET", path), ("POST", path + "/cancel"), ("DELETE", path)]:
            answer = await world.request(method, target)
            assert error_of(answer) == (404, "generation_unknown", None)


async def test_what_is_no_response_or_not_stored_is_unknown(autojump_clock: MockClock) -> None:
    async with open_world(Settings(generation_seconds=10)) as world:
        made = (await world.request("POST", CHAT, json_body=chat())).json()["id"].removeprefix("chatcmpl-")
        ask = response(store=False)
        unstored = (await world.request("POST", "/v1/responses", json_body=ask)).json()["id"]
        for other in (f"resp_{made}", made, unstored, "resp_", "resp_" + "0" * 32):
            answer = await world.request("GET", f"/v1/responses/{other}")
            assert error_of(answer) == (404, "generation_unknown", None)
        kept = (await world.request("POST", "/v1/responses", json_body=response())).json()["id"]
        await trio.sleep(11)
        answer = await world.request("GET", f"/v1/responses/{kept}")
        assert error_of(answer) == (404, "generation_gone", None)


async def test_a_response_in_the_background_is_watched_and_resumed(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        created = await world.request("POST", "/v1/responses", json_body=response(background=True, **SLOW))
        body = created.json()
        assert (created.status, body["status"], body["background"]) == (200, "queued", True)
        path = f"/v1/responses/{body['id']}"
        await trio.sleep(2.5)
        running = (await world.request("GET", path)).json()
        assert running["status"] == "in_progress"
        assert running["output"][0]["content"][0]["text"] == "hello wörld,"
        # This viewer comes late, and gets some pieces as one, with the number of the last.
        late = await data_of(await world.connect().open_events(f"{path}?stream=true"))
        assert late[-1]["type"] == "response.completed"
        assert text_of(late) == SAID
        events = await data_of(await world.connect().open_events(f"{path}?stream=true&starting_after=0"))
        assert [event["sequence_number"] for event in events] == list(range(1, len(events) + 1))
        for after in range(1, len(events) + 1):
            target = f"{path}?stream=true&starting_after={after}"
            rest = await data_of(await world.connect().open_events(target))
            assert rest == events[after:]
        assert {event["sequence_number"] for event in late} <= set(range(len(events) + 1))
        assert (await world.request("GET", path)).json() == late[-1]["response"]


async def test_one_that_waits_for_its_turn_is_queued(autojump_clock: MockClock) -> None:
    async with open_world(Settings(max_generations=1)) as world:
        ask = response(background=True, **SLOW)
        ids = [(await world.request("POST", "/v1/responses", json_body=ask)).json()["id"] for _ in range(2)]
        await trio.sleep(2)
        bodies = [(await world.request("GET", f"/v1/responses/{each}")).json() for each in ids]
        assert [body["status"] for body in bodies] == ["in_progress", "queued"]


async def test_cancel_ends_a_response_for_everybody(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ask = response(background=True, stream=True, **SLOW)
        stream = await world.connect().post_events("/v1/responses", ask)
        first = json.loads((await stream.next_data()).data or "")
        path = f"/v1/responses/{first['response']['id']}"
        await trio.sleep(2.5)
        cancelled = await world.request("POST", path + "/cancel")
        assert (cancelled.status, cancelled.json()["status"]) == (200, "cancelled")
        last = (await data_of(stream))[-1]
        assert (last["type"], last["response"]["status"]) == ("response.incomplete", "cancelled")
        again = await world.request("POST", path + "/cancel")
        assert again.json() == cancelled.json() == last["response"]


@pytest.mark.parametrize(("background", "state"), [(True, "done"), (False, "abandoned")])
async def test_a_client_that_leaves_ends_what_is_not_in_the_background(
    autojump_clock: MockClock, background: bool, state: str
) -> None:
    async with open_world() as world:
        ask = response(background=background, stream=True, **SLOW)
        stream = await world.connect().post_events("/v1/responses", ask)
        await stream.next_data()
        await stream.peer.aclose()
        await trio.sleep(10)
        assert await states(world) == [state]


async def test_a_failed_response_is_one_with_an_error(autojump_clock: MockClock) -> None:
    upstream = Upstream("half", ProviderError("provider_refused", "secret"))
    async with open_world(provider=upstream.provider) as world:
        answer = await world.request("POST", "/v1/responses", json_body=response(model="upstream"))
        body = answer.json()
        assert (answer.status, body["status"], body["error"]["code"]) == (200, "failed", "server_error")
        assert body["output"][0]["content"][0]["text"] == "half"
        assert b"secret" not in answer.body


async def test_the_usage_of_a_response_is_told(autojump_clock: MockClock) -> None:
    upstream = Upstream("a", Finish("length"), Usage(3, 1))
    async with open_world(provider=upstream.provider) as world:
        body = (await world.request("POST", "/v1/responses", json_body=response(model="upstream"))).json()
        assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
        assert body["usage"]["total_tokens"] == 4


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"nope", (400, "json_malformed", None)),
        (response(""), (400, "body_invalid", "input")),
        ({"model": "echo"}, (400, "body_invalid", "input")),
        (response(input=[{"role": "robot", "content": "a"}]), (400, "body_invalid", "input[0].role")),
        (response(input=[{"role": "user", "content": ""}]), (400, "body_invalid", "input[0]")),
        (response("x" * 300_000), (400, "context_length_exceeded", None)),
        (response(model="gpt-9"), (404, "model_not_found", "model")),
        (response(previous_response_id="resp_1"), (400, "body_invalid", "previous_response_id")),
        (response(background=True, store=False), (400, "body_invalid", "store")),
        (response(background=True, on_disconnect="cancel"), (400, "body_invalid", "on_disconnect")),
        (response(metadata={"k" * 65: "v"}), (400, "body_invalid", "metadata")),
        (response(max_output_tokens=0), (400, "body_invalid", "max_output_tokens")),
    ],
)
async def test_bad_input_for_a_response_is_refused(
    autojump_clock: MockClock, body: Any, error: tuple[int, str, str | None]
) -> None:
    async with open_world() as world:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await world.request("POST", "/v1/responses", data, content_type="application/json")
        assert error_of(answer) == error
        assert len(world.application.generations) == 0


@pytest.mark.parametrize(
    "query", ["stream=yes", "starting_after=1", "stream=true&starting_after=-1", "stream=true&other=1"]
)
async def test_a_wrong_query_for_a_response_is_refused(autojump_clock: MockClock, query: str) -> None:
    async with open_world() as world:
        made = (await world.request("POST", "/v1/responses", json_body=response("a"))).json()
        answer = await world.request("GET", f"/v1/responses/{made['id']}?{query}")
        assert error_of(answer) == (400, "query_invalid", None)


async def test_what_responses_remember_is_counted_and_forgotten(autojump_clock: MockClock) -> None:
    async with open_world(Settings(generation_seconds=10)) as world:
        before = (await world.stats())["buffered_bytes"]
        ask = response("a", metadata={"k": "v" * 500})
        await world.request("POST", "/v1/responses", json_body=ask)
        assert world.application.generations._kept_bytes > 2000
        await trio.sleep(11)
        assert world.application.generations._kept_bytes == 0
        assert (await world.stats())["buffered_bytes"] <= before + 4096  # the clock and stats topics


# Models


async def test_models_are_those_of_the_provider(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        listed = (await world.request("GET", "/v1/models")).json()
        assert listed["object"] == "list"
        assert [model["id"] for model in listed["data"]] == ["echo"]
        assert (await world.request("GET", "/v1/models/echo")).json() == listed["data"][0]
        for other in ("other", "meta%2Fllama", "meta/llama"):
            answer = await world.request("GET", f"/v1/models/{other}")
            assert error_of(answer) == (404, "model_not_found", None)


async def test_options_and_head_are_answered(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        options = await world.request("OPTIONS", CHAT)
        assert (options.status, set(options.headers["allow"].split(", "))) == (200, {"OPTIONS", "POST"})
        head = await world.connect()._ask("HEAD", "/v1/models", b"", {})
        assert head.status_code == 200
