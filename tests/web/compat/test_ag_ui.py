"""AG-UI: runs with their client's ids, mended and joined by them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.generations import ProviderError
from server.settings import Settings
from tests.support.generating import Upstream
from tests.support.http_peer import EventReader, World, open_world
from tests.support.sse import Event

SAID = "hello wörld, it\n flows 😀"
SLOW: dict[str, Any] = {"options": {"delay_ms": 1000}}


def asking(text: str = SAID, *, run: str = "r1", **forwarded: object) -> dict[str, Any]:
    return {
        "threadId": "t1",
        "runId": run,
        "messages": [{"id": "m1", "role": "user", "content": text}],
        "tools": [],
        "context": [],
        "state": {},
        "forwardedProps": forwarded,
    }


async def events_of(reader: EventReader) -> list[Event]:
    return [event for event in await reader.rest() if event.data is not None]


def shown(events: list[Event]) -> list[Any]:
    return [json.loads(event.data or "") for event in events]


def text_of(events: list[Event]) -> str:
    return "".join(each["delta"] for each in shown(events) if each["type"] == "TEXT_MESSAGE_CONTENT")


async def states(world: World) -> list[str]:
    await wait_all_tasks_blocked()
    return [generation.state.value for generation in world.application.generations._known.values()]


async def test_a_run_is_streamed_with_the_ids_of_its_client(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        stream = await world.connect().post_events("/api/ag-ui", asking())
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
        events = await events_of(stream)
        assert stream.complete
        assert text_of(events) == SAID
        first, *_, last = shown(events)
        assert (first["type"], last["type"]) == ("RUN_STARTED", "RUN_FINISHED")
        for each in (first, last):
            assert (each["threadId"], each["runId"]) == ("t1", "r1")
        assert (await world.stats())["closed"]["generation"] == {"completed": 1}


async def test_the_same_request_with_the_last_id_mends_a_cut(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ask = asking()
        whole = await events_of(await world.connect().post_events("/api/ag-ui", ask))
        ids = [index for index, event in enumerate(whole) if event.id]
        assert len(ids) == 7
        # Behind the first id, the generation's beginning, it begins anew: who saw it drops what it knows.
        for index in ids[1:-1]:
            again = await world.connect().post_events(
                "/api/ag-ui", ask, last_event_id=whole[index].id or "", x_run_id="r1"
            )
            rest = await events_of(again)
            # What it missed comes as one piece.
            assert text_of(whole[: index + 1]) + text_of(rest) == SAID
            assert shown(rest)[-1] == shown(whole)[-1]
            assert {"RUN_STARTED", "TEXT_MESSAGE_START"}.isdisjoint(each["type"] for each in shown(rest))
        assert len(world.application.generations) == 1


async def test_a_run_is_joined_from_its_beginning_by_its_id(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        first = await world.connect().post_events("/api/ag-ui", asking(run="r/ü 1", **SLOW))
        await trio.sleep(2.5)
        await first.peer.aclose()
        join = "/api/ag-ui?offset=-1&runId=r%2F%C3%BC%201"
        second = await world.connect().open_events(join)
        events = await events_of(second)
        assert (text_of(events), shown(events)[0]["runId"]) == (SAID, "r/ü 1")
        place = next(index for index, event in enumerate(events) if event.id and text_of(events[: index + 1]))
        rest = await events_of(await world.connect().open_events(join, last_event_id=events[place].id or ""))
        assert text_of(events[: place + 1]) + text_of(rest) == SAID
        third = await events_of(await world.connect().open_events(join))
        assert text_of(third) == SAID


async def test_a_run_that_is_unknown_or_no_longer_kept_is_not_begun_anew(autojump_clock: MockClock) -> None:
    async with open_world(Settings(generation_seconds=10)) as world:
        events = await events_of(await world.connect().post_events("/api/ag-ui", asking()))
        last = events[2].id or "x"
        other = asking(run="r2")
        for number in range(2):
            answers = [
                await world.request("POST", "/api/ag-ui", json_body=other, last_event_id=last),
                await world.request("GET", "/api/ag-ui?offset=-1&runId=r2"),
            ]
            assert [answer.problem for answer in answers] == [(404, "generation_unknown")] * 2
            if number == 0:
                await trio.sleep(11)
                other = asking()
        gone = await world.request("GET", "/api/ag-ui?offset=-1&runId=r1")
        assert gone.problem == (404, "generation_unknown")
        assert len(world.application.generations) == 0


@pytest.mark.parametrize(
    ("forwarded", "state"),
    [({}, "abandoned"), ({"on_disconnect": "cancel"}, "abandoned"), ({"detach_seconds": 60}, "done")],
)
async def test_what_is_forwarded_says_what_a_lost_connection_means(
    autojump_clock: MockClock, forwarded: dict[str, Any], state: str
) -> None:
    async with open_world() as world:
        ask = asking("a b c d e f g h i j k l m", **SLOW, **forwarded)
        stream = await world.connect().post_events("/api/ag-ui", ask)
        await trio.sleep(1.5)
        await stream.peer.aclose()
        await trio.sleep(9)
        cancelled = forwarded.get("on_disconnect") == "cancel"
        assert await states(world) == ["abandoned" if cancelled else "running"]
        await trio.sleep(5)
        assert await states(world) == [state]


async def test_a_failure_is_a_run_error(autojump_clock: MockClock) -> None:
    upstream = Upstream("half", ProviderError("provider_limited", "secret"))
    async with open_world(provider=upstream.provider) as world:
        events = shown(await events_of(await world.connect().post_events("/api/ag-ui", asking())))
        assert (events[-1]["type"], events[-1]["code"]) == ("RUN_ERROR", "provider_limited")
        assert events[-1]["runId"] == "r1"
        assert "secret" not in json.dumps(events)


@pytest.mark.parametrize(
    ("body", "problem", "pointer"),
    [
        (b"{", (400, "json_malformed"), None),
        ({}, (422, "body_invalid"), ""),
        (asking() | {"runId": 7}, (422, "body_invalid"), "/runId"),
        (asking() | {"runId": ""}, (422, "body_invalid"), "/runId"),
        (asking() | {"messages": []}, (422, "body_invalid"), "/messages"),
        (asking(""), (422, "body_invalid"), "/messages/0"),
        (
            asking() | {"messages": [{"role": "robot", "content": "a"}]},
            (422, "body_invalid"),
            "/messages/0/role",
        ),
        (asking("x" * 300_000), (413, "prompt_too_large"), None),
        (asking(model="gpt-9"), (404, "model_unknown"), "/forwardedProps/model"),
        (asking(options={"delay_ms": -1}), (422, "body_invalid"), "/forwardedProps/options/delay_ms"),
        (asking(detach_seconds=601), (422, "body_invalid"), "/forwardedProps/detach_seconds"),
    ],
)
async def test_bad_input_is_refused_before_a_stream_begins(
    autojump_clock: MockClock, body: Any, problem: tuple[int, str], pointer: str | None
) -> None:
    async with open_world() as world:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await world.request("POST", "/api/ag-ui", data, content_type="application/json")
        assert answer.problem == problem
        if pointer is not None:
            assert answer.json()["errors"][0]["pointer"] == pointer
        assert len(world.application.generations) == 0


async def test_what_else_is_wrong_is_told(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        assert (await world.request("GET", "/api/ag-ui")).problem == (400, "query_invalid")
        assert (await world.request("GET", "/api/ag-ui?threadId=t1")).problem == (400, "query_invalid")
        assert (await world.request("DELETE", "/api/ag-ui")).problem == (405, "method_unknown")
        world.application.gate.close()
        refused = await world.request("POST", "/api/ag-ui", json_body=asking(), accept="text/event-stream")
        assert refused.problem == (503, "server_draining")
