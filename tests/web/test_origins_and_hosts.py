"""Which pages may act here, and under which names the server answers."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from server.settings import Settings
from tests.support.http_peer import Answer, World, open_world

TEXT = {"content_type": "text/plain"}


async def publish_from(world: World, origin: str | None, host: str = "127.0.0.1:8000") -> Answer:
    headers = {"host": host} | ({"origin": origin} if origin is not None else {})
    return await world.request("POST", "/topics/news", b"x", **TEXT, **headers)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "127.0.0.1:8000"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("https://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://localhost:9000", "localhost:9000"),
        ("http://LOCALHOST:9000", "localhost:9000"),
        ("http://[::1]:9000", "[::1]:9000"),
        ("http://localhost", "localhost"),
        ("http://localhost:80", "localhost"),
        ("https://localhost", "localhost:443"),
        ("http://127.0.0.1:8000", "localhost:1234"),
    ],
    ids=str,
)
async def test_a_page_of_this_server_or_no_page_at_all_may_publish(
    autojump_clock: MockClock, origin: str | None, host: str
) -> None:
    async with open_world() as world:
        assert (await publish_from(world, origin, host)).status == 201


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "http://127.0.0.1:8001",
        "http://127.0.0.1",
        "https://127.0.0.1",
        "http://127.0.0.1:8000.evil.example",
        "http://127.0.0.1:x",
        "http://localhost:8000",
        "127.0.0.1:8000",
        "file://",
        "chrome-extension://127.0.0.1:80001",
    ],
)
async def test_a_foreign_page_may_read_no_more_than_anybody_and_not_publish(
    autojump_clock: MockClock, origin: str
) -> None:
    async with open_world() as world:
        answer = await publish_from(world, origin)
        assert answer.problem == (403, "origin_foreign")
        assert not any(name.startswith("access-control-") for name in answer.headers)
        read = await world.request("GET", "/topics", origin=origin)
        assert read.status == 200
        assert not any(name.startswith("access-control-") for name in read.headers)


async def test_a_listed_origin_may_publish_and_read_the_answer(autojump_clock: MockClock) -> None:
    async with open_world(Settings(allow_origin=("https://app.example",))) as world:
        answer = await publish_from(world, "https://app.example")
        assert answer.status == 201
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert answer.headers["access-control-expose-headers"] == "Location, Retry-After"
        assert "origin" in answer.headers["vary"].lower()
        problem = await world.request("GET", "/topics/none", origin="https://app.example")
        assert problem.status == 404
        assert problem.headers["access-control-allow-origin"] == "https://app.example"
        events = await world.connect().open_events("/topics/a/events", origin="https://app.example")
        assert events.headers["access-control-allow-origin"] == "https://app.example"
        assert {"accept", "origin"} <= set(events.headers["vary"].lower().replace(" ", "").split(","))


async def test_any_origin_may_be_listed(autojump_clock: MockClock) -> None:
    async with open_world(Settings(allow_origin=("*",))) as world:
        for origin in ("https://any.example", "null"):
            answer = await publish_from(world, origin)
            assert (answer.status, answer.headers["access-control-allow-origin"]) == (201, "*")


async def test_a_preflight_of_a_listed_origin_says_what_is_allowed(autojump_clock: MockClock) -> None:
    async with open_world(Settings(allow_origin=("https://app.example",))) as world:
        answer = await world.request(
            "OPTIONS", "/topics/a", origin="https://app.example", access_control_request_method="POST"
        )
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "POST" in answer.headers["access-control-allow-methods"]
        allowed = answer.headers["access-control-allow-headers"].split(", ")
        assert {"Last-Event-ID", "Authorization", "Idempotency-Key", "Prefer", "Content-Type"} <= set(allowed)


async def test_a_preflight_allows_what_clients_of_other_ecosystems_send(autojump_clock: MockClock) -> None:
    async with open_world(Settings(allow_origin=("https://app.example",))) as world:
        answer = await world.request(
            "OPTIONS",
            "/v1/chat/completions",
            origin="https://app.example",
            access_control_request_method="POST",
            access_control_request_headers="authorization,content-type,x-other,x-stainless-os,OpenAI-Project",
        )
        allowed = answer.headers["access-control-allow-headers"].split(", ")
        assert {"X-Run-Id", "x-stainless-os", "openai-project"} <= set(allowed)
        assert "x-other" not in allowed


@pytest.mark.parametrize("origin", ["https://other.example", "null", "http://app.example"])
async def test_a_preflight_of_another_origin_is_refused(autojump_clock: MockClock, origin: str) -> None:
    async with open_world(Settings(allow_origin=("https://app.example",))) as world:
        answer = await world.request(
            "OPTIONS", "/topics/a", origin=origin, access_control_request_method="POST"
        )
        assert answer.problem == (403, "origin_foreign")
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:1",
        "LocalHost.",
        "a.localhost",
        "127.0.0.1",
        "127.1.2.3:80",
        "[::1]",
        "[::1]:8000",
    ],
)
async def test_a_loopback_server_answers_to_loopback_names(autojump_clock: MockClock, host: str) -> None:
    async with open_world() as world:
        assert (await world.request("GET", "/health/live", host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "[::2]",
        "x:y",
        "[::1",
    ],
)
@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/"), ("GET", "/topics/a/events"), ("OPTIONS", "/stats")]
)
async def test_a_loopback_server_does_not_answer_to_a_rebound_name(
    autojump_clock: MockClock, host: str, method: str, target: str
) -> None:
    async with open_world() as world:
        assert (await world.request(method, target, host=host)).problem == (421, "host_foreign")


async def test_a_name_can_be_allowed(autojump_clock: MockClock) -> None:
    async with open_world(Settings(allow_host=("Dev.Example",))) as world:
        for host in ("dev.example", "DEV.example:8000"):
            assert (await world.request("GET", "/health/live", host=host)).status == 200
        assert (await world.request("GET", "/health/live", host="other.example")).status == 421


async def test_an_address_that_is_no_loopback_answers_to_any_name(autojump_clock: MockClock) -> None:
    async with open_world(binds=[("192.0.2.1", 80)]) as world:
        peer = world.connect(local=("192.0.2.1", 80))
        assert (await peer.request("GET", "/health/live", host="any.example")).status == 200


async def test_http_1_0_may_leave_the_host_out(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        answer = await world.connect().exchange(b"GET /health/live HTTP/1.0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
