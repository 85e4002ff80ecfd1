"""The AI SDK's chat: its form, what is resumed and stopped by the chat's id, and how long it goes on."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.generations import ProviderError
from server.settings import Settings
from tests.support.generating import Upstream
from tests.support.http_peer import EventReader, World, open_world

SAID = "hello wörld, it\n flows 😀"
SLOW: dict[str, Any] = {"options": {"delay_ms": 1000}}


def asking(text: str = SAID, *, chat: str = "c1", **more: object) -> dict[str, Any]:
    """What version 5 and newer send."""
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": text}]}
    return {"id": chat, "messages": [message], "trigger": "submit-message", **more}


def asking_4(text: str = SAID, *, chat: str = "c1", **more: object) -> dict[str, Any]:
    """What version 4 sends."""
    message = {"role": "user", "content": text, "parts": [{"type": "text", "text": text}]}
    return {"id": chat, "messages": [message], **more}


async def chunks_of(reader: EventReader) -> list[Any]:
    data = [event.data for event in await reader.rest() if event.data is not None]
    assert data.pop() == "[DONE]"
    return [json.loads(each) for each in data]


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta")


def path_of(chat: str, last: str = "stream") -> str:
    return f"/api/chat/{quote(chat, safe='')}/{last}"


async def states(world: World) -> list[str]:
    await wait_all_tasks_blocked()
    return [generation.state.value for generation in world.application.generations._known.values()]


async def test_a_message_is_answered_by_a_ui_message_stream(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        stream = await world.connect().post_events("/api/chat", asking())
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
        assert stream.headers["x-vercel-ai-ui-message-stream"] == "v1"
        chunks = await chunks_of(stream)
        assert stream.complete
        assert (text_of(chunks), chunks[0]["type"], chunks[-1]["type"]) == (SAID, "start", "finish")
        assert (await world.stats())["closed"]["generation"] == {"completed": 1}


@pytest.mark.parametrize(
    ("target", "body", "version_4"),
    [
        ("/api/chat", asking_4(), True),
        ("/api/chat?format=ai-sdk", asking_4(), False),
        ("/api/chat?format=ai-sdk-v4", asking(), True),
        ("/api/chat", asking(), False),
    ],
)
async def test_version_4_is_known_by_what_it_sends_or_named(
    autojump_clock: MockClock, target: str, body: Any, version_4: bool
) -> None:
    async with open_world() as world:
        answer = await world.request("POST", target, json_body=body)
        assert ("x-vercel-ai-data-stream" in answer.headers) == version_4
        assert ("x-vercel-ai-ui-message-stream" in answer.headers) != version_4
        if version_4:
            lines = answer.body.decode().splitlines()
            assert "".join(json.loads(line[2:]) for line in lines if line.startswith("0:")) == SAID


@pytest.mark.parametrize("chat", ["c1", "a/b", "/", "..%2F/ü?x=1", "a/stream", "/api/chat/x/stream"])
async def test_a_chat_is_resumed_from_the_beginning_while_it_runs(
    autojump_clock: MockClock, chat: str
) -> None:
    async with open_world() as world:
        nothing = await world.request("GET", path_of(chat))
        assert (nothing.status, nothing.body) == (204, b"")
        first = await world.connect().post_events("/api/chat", asking(chat=chat, **SLOW))
        await trio.sleep(2.5)
        await first.peer.aclose()
        second = await world.connect().open_events(path_of(chat), accept="*/*")
        assert (second.status, second.headers["x-vercel-ai-ui-message-stream"]) == (200, "v1")
        chunks = await chunks_of(second)
        assert (text_of(chunks), chunks[0]["type"]) == (SAID, "start")
        assert (await world.request("GET", path_of(chat))).status == 204


async def test_a_message_that_goes_on_is_resumed_as_itself(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ask = asking(**SLOW)
        ask["messages"].append({"id": "m2", "role": "assistant", "parts": [{"type": "text", "text": "and"}]})
        first = await world.connect().post_events("/api/chat", ask)
        second = await world.connect().open_events(path_of("c1"))
        for reader in (first, second):
            assert (await chunks_of(reader))[0]["messageId"] == "m2"


async def test_a_chat_of_version_4_is_resumed_in_its_form(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        first = await world.connect().post_events("/api/chat", asking_4(**SLOW))
        second = await world.request("GET", path_of("c1"))
        assert second.headers["x-vercel-ai-data-stream"] == "v1"
        assert (await world.request("GET", path_of("c1") + "?format=xml")).problem == (400, "query_invalid")
        await first.peer.aclose()


async def test_what_nobody_watches_goes_on_for_ten_seconds(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        for more, state in (
            ({}, "abandoned"),
            ({"detach_seconds": 100}, "done"),
            ({"on_disconnect": "cancel"}, "abandoned"),
        ):
            ask = asking("a b c d e f g h i j k l m", **SLOW, **more)
            stream = await world.connect().post_events("/api/chat", ask)
            await trio.sleep(1.5)
            await stream.peer.aclose()
            await trio.sleep(9)
            cancelled = more.get("on_disconnect") == "cancel"
            assert (await states(world))[-1] == ("abandoned" if cancelled else "running")
            assert (await world.request("HEAD", path_of("c1"))).status == (204 if cancelled else 200)
            await trio.sleep(5)
            assert (await states(world))[-1] == state


async def test_stop_ends_it_for_everybody_and_says_the_state(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        stop = path_of("a/b", "stop")
        assert (await world.request("POST", stop)).status == 204
        stream = await world.connect().post_events("/api/chat", asking(chat="a/b", **SLOW))
        await trio.sleep(2.5)
        stopped = await world.request("POST", stop)
        assert (stopped.status, stopped.json()["state"], stopped.json()["text"]) == (
            200,
            "stopped",
            "hello wörld,",
        )
        assert [chunk["type"] for chunk in await chunks_of(stream)][-1] == "abort"
        assert (await world.request("POST", stop)).status == 204
        assert (await world.stats())["closed"]["generation"] == {"client_stopped": 1}


async def test_a_new_message_takes_the_place_of_one_that_nobody_watches(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        left = await world.connect().post_events("/api/chat", asking("first one", **SLOW))
        await left.next_data()
        await left.peer.aclose()
        await wait_all_tasks_blocked()
        second = await world.connect().post_events("/api/chat", asking("second one", **SLOW))
        await second.next_data()
        assert await states(world) == ["stopped", "running"]
        # One that is watched goes on for those who watch it.
        third = await world.connect().post_events("/api/chat", asking("third one", **SLOW))
        resumed = await world.connect().open_events(path_of("c1"))
        texts = [text_of(await chunks_of(reader)) for reader in (second, third, resumed)]
        assert texts == ["second one", "third one", "third one"]


async def test_chats_whose_answers_are_over_are_forgotten(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        for number in range(5):
            await world.request("POST", "/api/chat", json_body=asking("a", chat=f"c{number}"))
        view = world.application.app.view_functions["ai_sdk.send"]
        cells = dict(zip(view.__code__.co_freevars, view.__closure__ or (), strict=True))
        assert list(cells["chats"].cell_contents) == ["c4"]


async def test_a_failure_is_told_in_the_stream(autojump_clock: MockClock) -> None:
    upstream = Upstream("half", ProviderError("provider_failed", "secret"))
    async with open_world(provider=upstream.provider) as world:
        chunks = await chunks_of(await world.connect().post_events("/api/chat", asking()))
        assert chunks[-1]["type"] == "error"
        assert "secret" not in chunks[-1]["errorText"]
        assert text_of(chunks) == "half"
        old = await world.request("POST", "/api/chat", json_body=asking_4())
        assert old.body.endswith(b'3:"The model\'s provider failed."\n')


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{", (400, "json_malformed")),
        ([], (422, "body_invalid")),
        (asking() | {"id": ""}, (422, "body_invalid")),
        (asking() | {"messages": []}, (422, "body_invalid")),
        (asking(""), (422, "body_invalid")),
        (asking() | {"messages": [{"role": "robot", "parts": []}]}, (422, "body_invalid")),
        (
            asking() | {"messages": [{"role": "user", "parts": [{"type": "file", "url": "x"}]}]},
            (422, "body_invalid"),
        ),
        (asking("x" * 300_000), (413, "prompt_too_large")),
        (asking(model="gpt-9"), (404, "model_unknown")),
        (asking(options={"other": 1}), (422, "body_invalid")),
        (asking(detach_seconds=601), (422, "body_invalid")),
        (asking(on_disconnect="cancel", detach_seconds=1), (422, "body_invalid")),
    ],
)
async def test_bad_input_is_refused_before_a_stream_begins(
    autojump_clock: MockClock, body: Any, problem: tuple[int, str]
) -> None:
    async with open_world() as world:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await world.request("POST", "/api/chat", data, content_type="application/json")
        assert answer.problem == problem
        assert len(world.application.generations) == 0


async def test_what_else_is_wrong_is_told(autojump_clock: MockClock) -> None:
    async with open_world(Settings(max_generations=1, generation_queue=0)) as world:
        wrong: list[tuple[str, str, dict[str, Any], tuple[int, str]]] = [
            ("POST", "/api/chat?format=raw", {"json_body": asking()}, (400, "query_invalid")),
            ("POST", "/api/chat", {"body": b"{}", "content_type": "text/plain"}, (415, "type_unsupported")),
            ("GET", "/api/chat", {}, (405, "method_unknown")),
            ("GET", "/api/chat/c1", {}, (404, "path_unknown")),
        ]
        for method, target, options, problem in wrong:
            assert (await world.request(method, target, **options)).problem == problem
        await world.connect().post_events("/api/chat", asking(**SLOW))
        refused = await world.request("POST", "/api/chat", json_body=asking(chat="c2"))
        assert refused.problem == (429, "generations_full")
        world.application.gate.close()
        refused = await world.request("POST", "/api/chat", json_body=asking(), accept="text/event-stream")
        assert refused.problem == (503, "server_draining")


async def test_a_key_joins_what_runs(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ask = asking(**SLOW)
        first = await world.connect().post_events("/api/chat", ask, idempotency_key="k")
        second = await world.connect().post_events("/api/chat", ask, idempotency_key="k")
        read = [await chunks_of(reader) for reader in (first, second)]
        assert read[0] == read[1]
        assert len(world.application.generations) == 1
