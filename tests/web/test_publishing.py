"""Publishing over HTTP: what is taken, and how everything else is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from trio.testing import MockClock

from server.settings import Settings
from tests.support.http_peer import Answer, World, open_world


async def kept(world: World, topic: str = "news") -> list[Any]:
    """What history holds of `topic`: data, event, retry and whether it is text."""
    excerpt = world.application.events.hub.excerpt(topic, None, None, 1000)
    return [message.data for message in excerpt.messages]


async def post(body: bytes, type: str = "application/json", topic: str = "news", **headers: str) -> Answer:
    async with open_world() as world:
        answer = await world.request("POST", f"/topics/{topic}", body, content_type=type, **headers)
        assert (await kept(world, topic) == []) == (answer.status != 201)
        return answer


async def test_a_publish_answers_topic_id_and_subscribers(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        events = await world.connect().open_events("/topics/news/events")
        await events.next()
        answer = await world.request("POST", "/topics/news", json_body={"data": {"a": [1, None]}})
        received = await events.next()
        assert answer.status == 201
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json() == {"topic": "news", "id": received.id, "subscribers": 1}
        assert received.data == '{"a":[1,null]}'


async def test_text_is_taken_whole(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        for body in (b"", b" a\r\n{\n", "ü😀\u2028\0".encode()):
            answer = await world.request("POST", "/topics/news", body, content_type="text/plain")
            assert answer.status == 201
        assert await kept(world) == ["", " a\r\n{\n", "ü😀\u2028\0"]


@pytest.mark.parametrize(
    "type", ["application/json", "Application/JSON; charset=UTF-8", "text/plain;charset=utf-8"]
)
async def test_a_charset_may_be_said(autojump_clock: MockClock, type: str) -> None:
    assert (await post(b'{"data": 1}', type)).status == 201


@pytest.mark.parametrize(("retry", "clamped"), [(0, 500), (499, 500), (7000, 7000), (60_001, 60_000)])
async def test_a_retry_is_clamped(autojump_clock: MockClock, retry: int, clamped: int) -> None:
    async with open_world() as world:
        events = await world.connect().open_events("/topics/news/events")
        await events.next()
        await world.request("POST", "/topics/news", json_body={"data": 1, "retry": retry})
        assert (await events.next()).retry == clamped


@pytest.mark.parametrize("name", ["a", "-", "_x", ":", "A.b_c:d-e", "orders.eu.new", "x" * 128, "a..b"])
async def test_a_name_may_be(autojump_clock: MockClock, name: str) -> None:
    assert (await post(b'{"data": 1}', topic=name)).json()["topic"] == name


@pytest.mark.parametrize(
    "name", [".a", "%2E", "x" * 129, "a%20b", "a*", "%C3%BC", "%00", "a%0Ab", "a+b", "~", "a%FFb", "a,b"]
)
@pytest.mark.parametrize(("method", "rest"), [("POST", ""), ("GET", ""), ("GET", "/events")])
async def test_another_name_is_refused(autojump_clock: MockClock, name: str, method: str, rest: str) -> None:
    async with open_world() as world:
        assert (await world.request(method, f"/topics/{name}{rest}")).problem == (400, "name_invalid")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"data": NaN}', rb'{"data": "\ud800"}', b'{"data": "\xff"}', b'{"data": ' + b"[" * 64],
)
async def test_what_is_not_json_is_malformed(autojump_clock: MockClock, body: bytes) -> None:
    assert (await post(body)).problem == (400, "json_malformed")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], ""),
        ({}, ""),
        ({"data": 1, "dta": 2}, ""),
        ({"data": 1, "event": 3}, "/event"),
        ({"data": 1, "event": ""}, "/event"),
        ({"data": 1, "event": "x" * 129}, "/event"),
        ({"data": 1, "event": "a\nid: 7"}, "/event"),
        ({"data": 1, "event": "a\0"}, "/event"),
        ({"data": 1, "event": "gap"}, "/event"),
        ({"data": 1, "event": "closing"}, "/event"),
        ({"data": 1, "event": "heartbeat"}, "/event"),
        ({"data": 1, "event": "open"}, "/event"),
        ({"data": 1, "event": "error"}, "/event"),
        ({"data": 1, "retry": -1}, "/retry"),
        ({"data": 1, "retry": "5"}, "/retry"),
        ({"data": 1, "retry": 1.5}, "/retry"),
        ({"data": 1, "retry": True}, "/retry"),
    ],
)
async def test_what_is_json_and_no_publication_is_pointed_at(
    autojump_clock: MockClock, body: object, pointer: str
) -> None:
    answer = await post(json.dumps(body).encode())
    assert answer.problem == (422, "body_invalid")
    (fault,) = answer.json()["errors"]
    assert fault["pointer"] == pointer
    assert fault["detail"]


async def test_text_that_is_not_utf8_is_malformed(autojump_clock: MockClock) -> None:
    assert (await post(b"a\xff", "text/plain")).problem == (400, "text_malformed")


@pytest.mark.parametrize(
    "type",
    ["", "application/xml", "text/html", "json", "application/json; charset=latin-1", "multipart/form-data"],
)
async def test_another_type_is_unsupported(autojump_clock: MockClock, type: str) -> None:
    assert (await post(b'{"data": 1}', type)).problem == (415, "type_unsupported")


async def test_without_a_type_it_is_unsupported(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        answer = await world.request("POST", "/topics/news", b'{"data": 1}')
        assert answer.problem == (415, "type_unsupported")


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "identity, gzip", "x"])
async def test_a_content_encoding_is_unsupported(autojump_clock: MockClock, encoding: str) -> None:
    answer = await post(b'{"data": 1}', content_encoding=encoding)
    assert answer.problem == (415, "encoding_unsupported")


async def test_every_line_of_a_content_encoding_counts(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        head = (
            b"POST /topics/news HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
            b"Content-Type: text/plain\r\n"
            b"Content-Encoding: identity\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\nx"
        )
        assert b" 415 " in (await world.connect().exchange(head)).partition(b"\r\n")[0]


@pytest.mark.parametrize("topic", ["clock", "stats"])
async def test_the_servers_own_topics_are_reserved(autojump_clock: MockClock, topic: str) -> None:
    assert (await post(b'{"data": 1}', topic=topic)).problem == (403, "topic_reserved")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_above_the_limit_is_refused_and_one_at_it_is_not(
    autojump_clock: MockClock, chunked: bool
) -> None:
    headers = {"transfer_encoding": "chunked"} if chunked else {}
    async with open_world(Settings(max_body=100)) as world:
        for size, status in ((100, 201), (101, 413)):
            answer = await world.request(
                "POST", "/topics/news", b"x" * size, content_type="text/plain", **headers
            )
            assert answer.status == status
        assert answer.problem == (413, "body_too_large")


async def test_a_body_that_ends_early_publishes_nothing(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        head = b"POST /topics/news HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
        rest = b"Content-Type: text/plain\r\n\r\nx"
        answer = await world.connect().exchange(head + rest, eof=True)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"body_incomplete" in answer
        assert await kept(world) == []


async def test_a_query_is_refused(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        answer = await world.request("POST", "/topics/news?a=1", b"x", content_type="text/plain")
        assert answer.problem == (400, "query_invalid")


async def test_with_all_topics_in_use_a_publish_is_told_when_to_come_back(autojump_clock: MockClock) -> None:
    async with open_world(Settings(max_topics=1)) as world:
        await world.publish("news", 1)
        answer = await world.request("POST", "/topics/more", b"x", content_type="text/plain")
        assert answer.problem == (503, "topics_full")
        assert answer.headers["retry-after"] == "5"
