"""Generations over HTTP: what is taken and refused, joined, resumed, stopped and erased."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.application import Extension, open_application
from server.generations import ProviderMissingError
from server.settings import Settings
from tests.support.asgi import Peer
from tests.support.http_peer import LOCAL, Answer, EventReader, World, open_world
from tests.support.sse import Event

SAID = "hello wörld, it\n flows 😀"


def asking(text: str = SAID, **more: object) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


async def post_events(world: World, ask: object, target: str = "/generations", **headers: str) -> EventReader:
    """Start a generation, and read the head of its stream."""
    body = json.dumps(ask).encode()
    headers.setdefault("content_type", "application/json")
    peer = world.connect()
    response = await peer._ask("POST", target, body, headers)
    names = {name.decode(): value.decode() for name, value in response.headers}
    return EventReader(peer, response.status_code, names)


def text_of(events: list[Event]) -> str:
    return "".join(json.loads(each.data or "")["content"] for each in events if each.event == "token")


def id_of(reader: EventReader | Answer) -> str:
    return reader.headers["location"].removeprefix("/generations/")


async def state_of(world: World, id: str) -> Any:
    answer = await world.request("GET", f"/generations/{id}")
    assert answer.status == 200
    return answer.json()


async def test_a_stream_begins_at_once_and_ends_with_done(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        events = await post_events(world, asking())
        assert events.status == 200
        assert events.headers["content-type"] == "text/event-stream"
        assert events.headers["cache-control"] == "no-store, no-transform"
        assert len(id_of(events)) == 32
        first = await events.next()
        assert (first.data, first.id is not None, first.retry is not None) == (None, True, True)
        # The first sign of life comes before the first token.
        assert (await events.next()).comment == ""
        stats = await world.stats()
        assert stats["streams"]["generation"] == 1
        rest = await events.rest()
        assert events.complete
        assert [event.event for event in rest] == ["token"] * 5 + ["done"]
        assert (text_of(rest), rest[-1].data) == (SAID, "[DONE]")
        assert len({event.id for event in rest}) == 6
        shown = await state_of(world, id_of(events))
        assert shown.pop("started") <= shown.pop("ended")
        assert shown == {"id": id_of(events), "state": "done", "reason": "stop", "tokens": 5, "text": SAID}
        stats = await world.stats()
        assert (stats["streams"]["generation"], stats["closed"]["generation"]) == (0, {"completed": 1})


@pytest.mark.parametrize(
    ("format", "accept", "type"),
    [
        ("raw", "*/*", "text/event-stream"),
        ("text", "*/*", "text/plain; charset=utf-8"),
        ("ndjson", "*/*", "application/x-ndjson"),
        ("openai", "text/plain", "text/event-stream"),
        ("responses", "*/*", "text/event-stream"),
        ("ai-sdk", "*/*", "text/event-stream"),
        ("ai-sdk-v4", "*/*", "text/plain; charset=utf-8"),
        ("ag-ui", "*/*", "text/event-stream"),
        (None, "text/plain", "text/plain; charset=utf-8"),
        (None, "text/plain;q=0.5, application/x-ndjson", "application/x-ndjson"),
        (None, "application/json", "text/event-stream"),
        (None, "text/event-stream", "text/event-stream"),
    ],
)
async def test_the_form_is_asked_for_by_format_or_accept(
    autojump_clock: MockClock, format: str | None, accept: str, type: str
) -> None:
    async with open_world() as world:
        target = "/generations" + (f"?format={format}" if format else "")
        answer = await world.request("POST", target, json_body=asking("one two"), accept=accept)
        assert (answer.status, answer.headers["content-type"]) == (200, type)
        assert b"one" in answer.body
        again = await world.request("GET", f"/generations/{id_of(answer)}/events{target[12:]}", accept=accept)
        assert (again.status, again.headers["content-type"]) == (200, type)
        if format == "text":
            assert answer.body == again.body == b"one two"


@pytest.mark.parametrize("format", ["events", "text", "ndjson", "openai", "ai-sdk-v4"])
async def test_the_head_comes_before_the_first_token(autojump_clock: MockClock, format: str) -> None:
    async with open_world() as world:
        ask = asking("a", options={"delay_ms": 5000})
        events = await post_events(world, ask, f"/generations?format={format}")
        assert events.status == 200
        assert trio.current_time() < 5


async def test_it_streams_under_a_server_without_a_handover(autojump_clock: MockClock) -> None:
    async with open_application(Settings(), [LOCAL]) as application:
        peer = Peer(cast("Any", application.app), {}, ("127.0.0.1", 5000), cast("Any", None))
        async with trio.open_nursery() as nursery:
            peer._nursery = nursery
            body = json.dumps(asking("one two three", options={"delay_ms": 1000})).encode()
            headers = {"content-type": "application/json"}
            async with peer.stream("POST", "/generations", headers=headers, body=body) as answer:
                pieces = [piece async for piece in answer]
            assert b"".join(pieces).count(b"event: token") == 3
            assert b"".join(pieces).endswith(b"event: done\ndata: [DONE]\n\n")
            async with peer.stream("POST", "/generations", headers=headers, body=body) as answer:
                await answer.receive()
                (generation,) = application.generations.running
            await generation.wait_over()
            assert generation.reason == "client_disconnected"


# Refused before anything begins


@pytest.mark.parametrize(
    ("body", "problem", "pointer"),
    [
        (b"{", (400, "json_malformed"), None),
        (b"[]", (422, "body_invalid"), ""),
        (b"{}", (422, "body_invalid"), ""),
        (asking("a", messages=[]), (422, "body_invalid"), "/messages"),
        (asking("a", messages="hi"), (422, "body_invalid"), "/messages"),
        (asking(""), (422, "body_invalid"), "/messages/0/content"),
        (
            asking("a", messages=[{"role": "robot", "content": "a"}]),
            (422, "body_invalid"),
            "/messages/0/role",
        ),
        (asking("a", messages=[{"role": "user"}]), (422, "body_invalid"), "/messages/0"),
        (
            asking("a", messages=[{"role": "user", "content": 7}]),
            (422, "body_invalid"),
            "/messages/0/content",
        ),
        (asking("x" * 300_000), (413, "prompt_too_large"), "/messages/0"),
        (asking("a", model="gpt-9"), (404, "model_unknown"), "/model"),
        (asking("a", model=7), (422, "body_invalid"), "/model"),
        (asking("a", max_tokens=0), (422, "body_invalid"), "/max_tokens"),
        (asking("a", max_tokens=1.5), (422, "body_invalid"), "/max_tokens"),
        (asking("a", temperature=3), (422, "body_invalid"), "/temperature"),
        (asking("a", on_disconnect="linger"), (422, "body_invalid"), "/on_disconnect"),
        (asking("a", on_disconnect="detach", detach_seconds=601), (422, "body_invalid"), "/detach_seconds"),
        (asking("a", on_disconnect="detach", detach_seconds=-1), (422, "body_invalid"), "/detach_seconds"),
        (asking("a", detach_seconds=1), (422, "body_invalid"), "/detach_seconds"),
        (asking("a", options={"delay_ms": -1}), (422, "body_invalid"), "/options/delay_ms"),
        (asking("a", options={"other": 1}), (422, "body_invalid"), "/options"),
        (asking("a", options=7), (422, "body_invalid"), "/options"),
        (asking("a", unknown=1), (422, "body_invalid"), ""),
    ],
)
async def test_bad_input_is_refused_before_a_stream_begins(
    autojump_clock: MockClock, body: Any, problem: tuple[int, str], pointer: str | None
) -> None:
    async with open_world() as world:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await world.request("POST", "/generations", data, content_type="application/json")
        assert answer.problem == problem
        if pointer is not None:
            assert answer.json()["errors"][0]["pointer"] == pointer
        assert len(world.application.generations) == 0


async def test_an_unknown_form_type_or_parameter_is_refused(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        wrong: list[tuple[str, dict[str, Any], tuple[int, str]]] = [
            ("/generations?format=xml", {}, (400, "query_invalid")),
            ("/generations?formt=raw", {}, (400, "query_invalid")),
            ("/generations", {"accept": "image/png"}, (406, "form_unacceptable")),
            ("/generations", {"content_type": "text/plain"}, (415, "type_unsupported")),
        ]
        for target, headers, problem in wrong:
            answer = await world.request("POST", target, json_body=asking(), **headers)
            assert answer.problem == problem
        assert len(world.application.generations) == 0


async def test_what_was_never_there_is_unknown_and_what_is_no_longer_kept_is_gone(
    autojump_clock: MockClock,
) -> None:
    async with open_world(Settings(generation_seconds=10)) as world:
        events = await post_events(world, asking())
        await events.rest()
        gone = id_of(events)
        await trio.sleep(11)
        for each, problem in (("0" * 32, (404, "generation_unknown")), (gone, (410, "generation_gone"))):
            for method, rest in (("GET", ""), ("GET", "/events"), ("POST", "/stop"), ("DELETE", "")):
                assert (await world.request(method, f"/generations/{each}{rest}")).problem == problem


# Joining and resuming


async def test_others_join_from_its_start_while_it_runs_and_after(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        first = await post_events(world, asking(options={"delay_ms": 1000}))
        path = f"/generations/{id_of(first)}/events"
        await trio.sleep(2.5)
        second = await world.connect().open_events(path)
        texts = [text_of(await reader.rest()) for reader in (first, second)]
        third = await world.connect().open_events(path)
        texts.append(text_of(await third.rest()))
        assert texts == [SAID] * 3


async def test_a_viewer_resumes_behind_its_last_id_and_after_the_last_there_is_204(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        whole = await post_events(world, asking())
        events = await whole.rest()
        path = f"/generations/{id_of(whole)}/events"
        ids = [event.id for event in events if event.id]
        for index, last in enumerate(ids):
            answers = [
                await world.request("GET", path, last_event_id=last),
                await world.request("GET", f"{path}?last_event_id={last}"),
            ]
            for answer in answers:
                if index == len(ids) - 1:
                    assert (answer.status, answer.body) == (204, b"")
                else:
                    resumed = await world.connect().open_events(path, last_event_id=last)
                    rest = await resumed.rest()
                    assert text_of(rest) == text_of(
                        [each for each in events if ids.index(each.id or last) > index]
                    )
                    assert rest[-1].event == "done"


async def test_an_id_that_is_none_or_of_elsewhere_begins_anew(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        before = await world.publish("news", 1)
        whole = await post_events(world, asking())
        await whole.rest()
        path = f"/generations/{id_of(whole)}/events"
        behind = await world.publish("news", 2)
        to_come = f"{behind.partition(':')[0]}:999999"
        for last in ("nonsense", "abc:7", before, behind, to_come, "earliest"):
            resumed = await world.connect().open_events(path, last_event_id=last)
            assert text_of(await resumed.rest()) == SAID


async def test_an_id_of_another_generation_that_runs_beside_it_begins_anew(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        one = await post_events(world, asking(options={"delay_ms": 100}))
        other = await post_events(world, asking(options={"delay_ms": 90}))
        await one.next_data()
        last = (await other.next_data()).id
        assert last is not None
        resumed = await world.connect().open_events(f"/generations/{id_of(one)}/events", last_event_id=last)
        assert text_of(await resumed.rest()) == SAID


async def test_a_connection_that_is_lost_ends_it_or_keeps_it_as_was_asked(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        slow = {"delay_ms": 2000}
        for more, state in (
            ({}, "abandoned"),
            ({"on_disconnect": "detach"}, "done"),
            ({"on_disconnect": "detach", "detach_seconds": 3}, "abandoned"),
        ):
            events = await post_events(world, asking(options=slow, **more))
            await events.next_data()
            await events.peer.aclose()
            await trio.sleep(12)
            assert (await state_of(world, id_of(events)))["state"] == state


async def test_head_answers_the_head_and_watches_nothing(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        events = await post_events(world, asking(options={"delay_ms": 1000}))
        answer = await world.connect()._ask("HEAD", f"/generations/{id_of(events)}/events", b"", {})
        assert answer.status_code == 200
        assert (await world.stats())["streams"]["generation"] == 1


async def test_prefer_respond_async_answers_at_once_and_goes_on_alone(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        answer = await world.request(
            "POST",
            "/generations",
            json_body=asking(options={"delay_ms": 20_000}),
            prefer="respond-async, wait=5",
        )
        assert answer.status == 202
        assert answer.headers["preference-applied"] == "respond-async"
        assert answer.json() == {"id": id_of(answer)}
        listed = (await world.request("GET", "/generations")).json()
        assert [each["id"] for each in listed["generations"]] == [id_of(answer)]
        await trio.sleep(101)
        assert (await state_of(world, id_of(answer)))["state"] == "done"
        assert (await world.request("GET", "/generations")).json() == {"generations": [], "next": None}


# Stopping


async def test_stop_ends_it_for_every_viewer_and_says_the_state(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        events = await post_events(world, asking(options={"delay_ms": 1000}))
        path = f"/generations/{id_of(events)}"
        other = await world.connect().open_events(path + "/events")
        await trio.sleep(2.5)
        stopped = await world.request("POST", path + "/stop")
        assert (stopped.status, stopped.json()["state"]) == (200, "stopped")
        assert stopped.json()["reason"] == "client_stopped"
        assert stopped.json()["text"] == "hello wörld,"
        for reader in (events, other):
            rest = await reader.rest()
            assert text_of(rest) == "hello wörld,"
            assert rest[-1].event == "done"
            assert reader.complete
        again = await world.request("POST", path + "/stop")
        assert again.json() == stopped.json()
        assert (await world.stats())["closed"]["generation"] == {"client_stopped": 2}
        # EventSource comes back by itself; it is told that nothing more comes.
        assert (await world.request("GET", path + "/events", last_event_id=rest[-1].id or "")).status == 204


async def test_delete_stops_and_erases(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        events = await post_events(world, asking(options={"delay_ms": 1000}))
        path = f"/generations/{id_of(events)}"
        await trio.sleep(1.5)
        deleted = await world.request("DELETE", path)
        assert (deleted.status, deleted.body) == (204, b"")
        assert (await events.rest())[-1].event == "done"
        for method, rest in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
            assert (await world.request(method, path + rest)).problem == (404, "generation_unknown")
        await wait_all_tasks_blocked()
        assert world.application.events.hub.history_bytes == 0


async def test_its_topic_is_not_reached_as_a_topic(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        events = await post_events(world, asking())
        await events.rest()
        assert (await world.request("GET", "/topics")).json()["topics"] == []
        for path in (f"/topics/generations%2F{id_of(events)}", f"/topics/generations/{id_of(events)}"):
            assert (await world.request("GET", path)).status in (400, 404)


# Limits


async def test_beyond_places_and_queue_it_is_429_and_says_when_to_come_back(
    autojump_clock: MockClock,
) -> None:
    async with open_world(Settings(max_generations=1, generation_queue=1)) as world:
        ask = asking("a b", options={"delay_ms": 1000})
        first, second = await post_events(world, ask), await post_events(world, ask)
        refused = await world.request("POST", "/generations", json_body=ask)
        assert refused.problem == (429, "generations_full")
        assert refused.headers["retry-after"] == "5"
        for reader in (first, second):
            assert text_of(await reader.rest()) == "a b"


async def test_running_ones_are_listed_in_pages(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ask = asking(options={"delay_ms": 60_000})
        ids = sorted([id_of(await post_events(world, ask)) for _ in range(3)])
        page = (await world.request("GET", "/generations?limit=2")).json()
        assert [each["id"] for each in page["generations"]] == ids[:2]
        assert page["next"] == ids[1]
        page = (await world.request("GET", f"/generations?limit=2&after={page['next']}")).json()
        assert ([each["id"] for each in page["generations"]], page["next"]) == (ids[2:], None)


# Keys


async def test_a_retry_with_the_same_key_joins_the_running_one(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ask = asking(options={"delay_ms": 1000})
        first = await post_events(world, ask, idempotency_key="k")
        await trio.sleep(2.5)
        second = await post_events(world, ask, idempotency_key="k")
        assert id_of(first) == id_of(second)
        assert [text_of(await reader.rest()) for reader in (first, second)] == [SAID, SAID]
        third = await post_events(world, ask | {"idempotency_key": "k"})
        assert third.status == 422
        again = await post_events(world, ask, idempotency_key="k")
        assert (id_of(again), text_of(await again.rest())) == (id_of(first), SAID)
        other = await world.request("POST", "/generations", json_body=asking("other"), idempotency_key="k")
        assert other.problem == (422, "idempotency_key_reused")


async def test_a_retry_of_what_was_abandoned_begins_anew(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ask = asking(options={"delay_ms": 1000})
        first = await post_events(world, ask, idempotency_key="k")
        await first.next_data()
        await first.peer.aclose()
        await wait_all_tasks_blocked()
        second = await post_events(world, ask, idempotency_key="k")
        assert id_of(second) != id_of(first)
        third = await post_events(world, ask, idempotency_key="k")
        assert id_of(third) == id_of(second)
        assert text_of(await second.rest()) == SAID


# Shutting down


async def test_while_draining_no_new_one_is_started(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.application.gate.close()
        refused = await world.request("POST", "/generations", json_body=asking(), accept="*/*")
        assert refused.problem == (503, "server_draining")
        stream = await world.request("POST", "/generations", json_body=asking(), accept="text/event-stream")
        assert (stream.status, b"event: closing" in stream.body) == (200, True)


# Providers


async def test_a_provider_of_ones_own_is_a_function_and_a_name(autojump_clock: MockClock) -> None:
    async def shout(request: Any) -> AsyncIterator[str]:
        for turn in request.messages:
            yield turn.content.upper()

    async with world_with(shout, "shout") as world:
        answer = await world.request(
            "POST", "/generations?format=text", json_body=asking("hi", model="shout", options={"any": 1})
        )
        assert answer.body == b"HI"


@asynccontextmanager
async def world_with(stream: Any, name: str) -> AsyncIterator[World]:
    """A world whose provider is `stream`."""
    settings = Settings(provider=name)
    async with open_application(
        settings, [LOCAL], extension=Extension(providers={name: stream})
    ) as application:
        async with trio.open_nursery() as nursery:
            yield World(application, application.server(), nursery)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("name", ["nope", "no.such.module:f", "json:dumps", "json:nope"])
async def test_a_provider_that_is_not_there_ends_the_start(name: str) -> None:
    with pytest.raises(ProviderMissingError, match=name.partition(":")[0]):
        async with open_application(Settings(provider=name)):
            pass
