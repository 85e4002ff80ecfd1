"""Batches over HTTP: published in order and whole, or refused with the line that is to blame."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from server.application import Application, open_application
from server.settings import Settings
from server.transport import AsgiApp, AsgiMessage
from server.web.batches import MAX_LINES, read_batch
from tests.support.cancel import cancel_at_each_step
from tests.support.http_peer import Answer, World, open_world

NDJSON = "application/x-ndjson"


def body_of(*lines: object) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


async def post(world: World, body: bytes, target: str = "/topics/news", **headers: str) -> Answer:
    return await world.request("POST", target, body, content_type=NDJSON, **headers)


async def kept(world: World, topic: str = "news") -> list[tuple[str, str | None, str]]:
    """What history holds of `topic`: id, event and data."""
    excerpt = world.application.events.hub.excerpt(topic, None, None, MAX_LINES)
    return [(str(message.id), message.event, message.data) for message in excerpt.messages]


async def refused(body: bytes, target: str = "/topics/news") -> tuple[tuple[int, str], Any]:
    """How `body` is refused; nothing of it may have been published."""
    async with open_world() as world:
        answer = await post(world, body, target)
        hub = world.application.events.hub
        assert hub.published == 0
        assert [name for name in hub.topic_names() if name != "clock"] == []
        return answer.problem, answer.json().get("errors")


async def test_a_batch_is_published_in_order(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        events = await world.connect().open_events("/topics/news/events")
        await events.next()
        answer = await post(
            world,
            body_of({"data": {"n": 1}, "event": "a"}, {"data": [2, "ü\u2028"]}, {"data": None, "retry": 1}),
        )
        received = [await events.next() for _ in range(3)]
        assert answer.status == 201
        assert answer.json() == {"topic": "news", "ids": [event.id for event in received], "subscribers": 1}
        assert [(event.event, event.data) for event in received] == [
            ("a", '{"n":1}'),
            ("message", '[2,"\\u00fc\\u2028"]'),
            ("message", "null"),
        ]
        assert received[2].retry == 500


async def test_a_batch_across_topics_answers_with_ids_in_the_order_of_its_lines(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        events = await world.connect().open_events("/topics/b/events")
        await events.next()
        lines = [{"topic": topic, "data": n} for n, topic in enumerate("abab")]
        answer = await post(world, body_of(*lines), "/topics")
        assert answer.status == 201
        ids = answer.json()["ids"]
        assert answer.json() == {"ids": ids, "subscribers": {"a": 0, "b": 1}}
        assert await kept(world, "a") == [(ids[0], None, "0"), (ids[2], None, "2")]
        assert await kept(world, "b") == [(ids[1], None, "1"), (ids[3], None, "3")]
        assert [(await events.next()).id for _ in range(2)] == [ids[1], ids[3]]


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":1}\n{"data":2}',
        b'{"data":1}\r\n{"data":2}\r\n',
        b'\n{"data":1}\n\n \t\r\n{"data":2}\n\n\n',
        b'  {"data" : 1\t} \r\n{ "data":2}',
    ],
)
async def test_line_ends_and_blank_lines_do_not_matter(autojump_clock: MockClock, body: bytes) -> None:
    async with open_world() as world:
        assert len((await post(world, body)).json()["ids"]) == 2
        assert [data for _, _, data in await kept(world)] == ["1", "2"]


@pytest.mark.parametrize("body", [b"", b"\n", b"\r\n \n\t"])
@pytest.mark.parametrize("target", ["/topics/news", "/topics"])
async def test_a_batch_without_a_message_is_refused(
    autojump_clock: MockClock, body: bytes, target: str
) -> None:
    problem, _ = await refused(body, target)
    assert problem == (422, "body_invalid")


DEEP = b'{"data":' + b"[" * 64 + b"]" * 64 + b"}"


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b'{"data": NaN}',
        b'{"data": -Infinity}',
        rb'{"data": "\ud800"}',
        b'{"data": "\xff"}',
        b'{"data": "\xed\xa0\x80"}',
        b'{"data": "a\x00b"}',
        DEEP,
        b'{"data": 1} {"data": 2}',
        b'{"data": 1},',
        b"\xef\xbb\xbf" + b'{"data": 1}',
        b"\x1e" + b'{"data": 1}',
        b"data",
    ],
)
async def test_a_line_that_is_not_json_is_named(autojump_clock: MockClock, line: bytes) -> None:
    problem, errors = await refused(b'{"data":1}\n\n' + line + b'\n{"data":4}\n')
    assert problem == (400, "json_malformed")
    (fault,) = errors
    assert fault["pointer"] == "/3"
    assert fault["detail"]


async def test_bytes_that_are_not_utf8_are_found_within_their_line(autojump_clock: MockClock) -> None:
    _, errors = await refused(b'{"data":1}\n{"data":"\xff"}\n')
    assert errors == [{"pointer": "/2", "detail": "the line is not UTF-8 at byte 9"}]


@pytest.mark.parametrize(
    ("line", "pointer"),
    [
        ([], ""),
        (1, ""),
        (None, ""),
        ({}, ""),
        ({"data": 1, "idempotency_key": "k"}, ""),
        ({"data": 1, "topic": "news"}, ""),
        ({"data": 1, "event": 3}, "/event"),
        ({"data": 1, "event": ""}, "/event"),
        ({"data": 1, "event": "a\nid: 7"}, "/event"),
        ({"data": 1, "event": "gap"}, "/event"),
        ({"data": 1, "event": "heartbeat"}, "/event"),
        ({"data": 1, "retry": -1}, "/retry"),
    ],
)
async def test_a_line_that_is_no_message_is_pointed_at(
    autojump_clock: MockClock, line: object, pointer: str
) -> None:
    problem, errors = await refused(body_of({"data": 1}, line, {"data": 3}))
    assert problem == (422, "body_invalid")
    assert [fault["pointer"] for fault in errors] == ["/2" + pointer]


@pytest.mark.parametrize(
    ("line", "pointer", "problem"),
    [
        ({"data": 1}, "", (422, "body_invalid")),
        ({"data": 1, "topic": 1}, "/topic", (422, "body_invalid")),
        ({"data": 1, "topic": ""}, "/topic", (422, "body_invalid")),
        ({"data": 1, "topic": ".a"}, "/topic", (422, "body_invalid")),
        ({"data": 1, "topic": "rooms/a"}, "/topic", (422, "body_invalid")),
        ({"data": 1, "topic": "clock"}, "/topic", (403, "topic_reserved")),
        ({"data": 1, "topic": "stats"}, "/topic", (403, "topic_reserved")),
        ({"data": 1, "topic": "a", "event": "open"}, "/event", (422, "body_invalid")),
    ],
)
async def test_a_line_across_topics_that_cannot_be_published_is_pointed_at(
    autojump_clock: MockClock, line: object, pointer: str, problem: tuple[int, str]
) -> None:
    found, errors = await refused(body_of({"topic": "a", "data": 1}, line), "/topics")
    assert found == problem
    assert [fault["pointer"] for fault in errors] == ["/2" + pointer]


async def test_a_line_may_be_64_deep(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        data = b"[" * 63 + b"]" * 63
        assert (await post(world, b'{"data":' + data + b"}")).status == 201


@pytest.mark.parametrize("topic", ["clock", "stats"])
async def test_the_servers_own_topics_are_reserved(autojump_clock: MockClock, topic: str) -> None:
    assert (await refused(body_of({"data": 1}), f"/topics/{topic}"))[0] == (403, "topic_reserved")


@pytest.mark.parametrize("type", ["application/json", "text/plain", ""])
async def test_across_topics_another_type_is_unsupported(autojump_clock: MockClock, type: str) -> None:
    async with open_world() as world:
        answer = await world.request("POST", "/topics", b'{"topic":"a","data":1}', content_type=type)
        assert answer.problem == (415, "type_unsupported")


async def test_a_batch_may_have_so_many_lines_and_no_more(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        lines = b'{"data":1}\n' * MAX_LINES
        assert len((await post(world, lines)).json()["ids"]) == MAX_LINES
        for more in (b'{"data":1}', b"\n"):
            assert (await post(world, lines + more)).problem == (413, "body_too_large")
        assert world.application.events.hub.published == MAX_LINES


async def test_where_not_all_topics_have_room_none_is_published_to(autojump_clock: MockClock) -> None:
    async with open_world(Settings(max_topics=2)) as world:
        answer = await post(world, body_of(*({"topic": topic, "data": 1} for topic in "abc")), "/topics")
        assert answer.problem == (503, "topics_full")
        assert answer.headers["retry-after"] == "5"
        assert world.application.events.hub.published == 0
        assert await kept(world, "a") == []


async def test_others_run_while_a_long_batch_is_checked() -> None:
    passes = 0

    async def count_passes(task_status: trio.TaskStatus[None]) -> None:
        nonlocal passes
        task_status.started()
        while True:
            await trio.lowlevel.checkpoint()
            passes += 1

    async def passes_of(body: bytes) -> int:
        nonlocal passes
        async with trio.open_nursery() as nursery:
            await nursery.start(count_passes)
            passes = 0
            await read_batch(body, "news")
            nursery.cancel_scope.cancel()
        return passes

    assert await passes_of(body_of({"data": 1})) <= 1
    # At least one for each few hundred short lines, and for each few hundred KiB.
    assert await passes_of(body_of({"data": 1}) * MAX_LINES) >= MAX_LINES // 500
    assert await passes_of(body_of({"data": "x" * 100_000}) * 100) >= 30


async def test_a_publish_that_is_cancelled_publishes_all_of_a_batch_or_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_application(Settings()) as application:
        hub = application.events.hub
        lines = [{"topic": topic, "data": "x" * 100} for topic in ("a", "b")] * 1000
        before = 0

        def whole_or_absent(step: int) -> None:
            nonlocal before
            assert hub.published - before in (0, len(lines))
            before = hub.published

        async def publish() -> None:
            assert (await ask(application, "/topics", body_of(*lines))) == 201

        # Each checkpoint within the batch is among the steps.
        assert await cancel_at_each_step(publish, after=whole_or_absent) > 20
        assert before


async def ask(application: Application, path: str, body: bytes) -> int:
    """The status of a POST that is served in this task."""
    statuses = []

    async def receive() -> AsgiMessage:
        await trio.lowlevel.checkpoint()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: AsgiMessage) -> None:
        await trio.lowlevel.checkpoint()
        statuses.append(message.get("status"))

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {},
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "headers": [(b"host", b"127.0.0.1:8000"), (b"content-type", NDJSON.encode())],
    }
    await cast("AsgiApp", application.app)(scope, receive, send)
    return cast("int", statuses[0])


async def test_batches_of_several_publishers_do_not_mix(autojump_clock: MockClock) -> None:
    async with open_world() as world:

        async def publish(name: str) -> None:
            await post(world, body_of(*({"data": name} for _ in range(300))))

        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(publish, name)
        names = [data for _, _, data in await kept(world)]
        assert len(names) == 900
        assert [names[n * 300 : n * 300 + 300] for n in range(3)] == [[n] * 300 for n in _distinct(names)]


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
