"""Rooms over HTTP: who is where, and messages from the server side."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from server.application import Application, open_application
from server.settings import Settings
from tests.support.asgi import Peer, Response, open_asgi
from tests.support.house import hear, hear_until, saying
from tests.support.websocket_peer import WebSocketPeer

JSON = {"content-type": "application/json"}


class World:
    """The whole application: its routes, and members by WebSocket."""

    def __init__(self, application: Application, http: Peer, nursery: trio.Nursery) -> None:
        self.http = http
        self._server = application.server()
        self._nursery = nursery

    async def get(self, target: str, status: int = 200) -> Any:
        """What a GET is answered with."""
        return _checked(await self.http.request("GET", target), status)

    async def post(self, target: str, body: object, status: int = 201) -> Any:
        """What a POST of JSON (bytes: as they are) is answered with."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return _checked(await self.http.request("POST", target, headers=JSON, body=text), status)

    async def join(self, room: str, name: str = "guest") -> tuple[WebSocketPeer, str]:
        """A member of `room`, and its public name."""
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self._serve, ours)
        peer = await WebSocketPeer.connect(theirs, f"/rooms/{room}?name={name}")
        member: str = (await hear_until(peer, "welcome"))["member"]
        return peer, member

    async def _serve(self, stream: trio.abc.Stream) -> None:
        await self._server.serve_stream(stream, ("127.0.0.1", 50000), ("127.0.0.1", 8000))
        await trio.aclose_forcefully(stream)


def _checked(response: Response, status: int) -> Any:
    body = response.json()
    assert response.status == status, body
    assert isinstance(body, dict)
    return body["code"] if status >= 400 else body


@asynccontextmanager
async def open_world(**settings: Any) -> AsyncIterator[World]:
    async with (
        open_application(Settings(**settings)) as application,
        open_asgi(application.app) as http,
        trio.open_nursery() as nursery,
    ):
        yield World(application, http, nursery)
        nursery.cancel_scope.cancel()


async def test_rooms_are_listed_by_name_with_their_members(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        assert await world.get("/rooms") == {"rooms": [], "next": None}
        await world.join("b")
        await world.join("b")
        posted = await world.post("/rooms/a", {"data": 1})
        assert await world.get("/rooms") == {
            "rooms": [
                {"room": "a", "member_count": 0, "last": posted["id"]},
                {"room": "b", "member_count": 2, "last": None},
            ],
            "next": None,
        }


async def test_the_list_of_rooms_is_paged(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        for name in "dbeac":
            await world.post(f"/rooms/{name}", {"data": 1})
        seen, after = [], ""
        while after is not None:
            page = await world.get(f"/rooms?limit=2&after={after}")
            assert len(page["rooms"]) <= 2
            seen += [room["room"] for room in page["rooms"]]
            after = page["next"]
        assert seen == list("abcde")


async def test_a_room_shows_its_members_in_pages(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ids = sorted([(await world.join("lobby", f"n{number}"))[1] for number in range(5)])
        whole = await world.get("/rooms/lobby")
        assert [member["member"] for member in whole["members"]] == ids
        assert {member["name"] for member in whole["members"]} == {f"n{number}" for number in range(5)}
        assert all(member["state"] == {} for member in whole["members"])
        assert (whole["room"], whole["member_count"], whole["last"]) == ("lobby", 5, None)
        assert whole["next"] is None
        seen, after = [], ""
        while after is not None:
            page = await world.get(f"/rooms/lobby?limit=2&after={after}")
            assert page["member_count"] == 5
            seen += [member["member"] for member in page["members"]]
            after = page["next"]
        assert seen == ids


async def test_a_members_secret_is_nowhere_to_be_seen(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.join("lobby")
        assert "session" not in json.dumps(await world.get("/rooms/lobby"))


async def test_a_room_that_was_never_used_is_unknown(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        assert await world.get("/rooms/lobby", 404) == "room_unknown"
        assert await world.get("/rooms") == {"rooms": [], "next": None}


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=1&limit=2", "shade=1"])
@pytest.mark.parametrize("target", ["/rooms", "/rooms/lobby"])
async def test_a_query_that_is_none_is_refused(target: str, query: str, autojump_clock: MockClock) -> None:
    async with open_world() as world:
        assert await world.get(f"{target}?{query}", 400) == "query_invalid"


async def test_a_message_from_the_server_side_has_no_sender(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        peer, member = await world.join("lobby")
        posted = await world.post("/rooms/lobby", {"data": {"a": 1}, "label": "build"})
        assert posted == {"room": "lobby", "id": posted["id"], "member_count": 1}
        message = await hear(peer)
        del message["time"]
        assert message == {
            "type": "message",
            "id": posted["id"],
            "from": None,
            "data": {"a": 1},
            "label": "build",
        }
        await peer.send(saying("mine"))
        assert (await hear(peer))["from"] == member


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "json_malformed"),
        (b"{", 400, "json_malformed"),
        (b'{"data":NaN}', 400, "json_malformed"),
        (b'{"data":"\xff"}', 400, "json_malformed"),
        (b'{"data":' + b"[" * 65 + b"]" * 65 + b"}", 400, "json_malformed"),
        ([], 422, "body_invalid"),
        ({}, 422, "body_invalid"),
        ({"data": 1, "from": "x"}, 422, "body_invalid"),
        ({"data": 1, "sender": "x"}, 422, "body_invalid"),
        ({"data": 1, "label": ""}, 422, "body_invalid"),
        ({"data": 1, "label": "x" * 65}, 422, "body_invalid"),
        ({"data": 1, "label": 1}, 422, "body_invalid"),
        (b'{"data":"' + b"x" * 1024 * 1024 + b'"}', 413, "body_too_large"),
    ],
)
async def test_a_bad_body_reaches_nobody(
    body: object, status: int, code: str, autojump_clock: MockClock
) -> None:
    async with open_world() as world:
        peer, _ = await world.join("lobby")
        assert await world.post("/rooms/lobby", body, status) == code
        await world.post("/rooms/lobby", {"data": "good"})
        assert (await hear(peer))["data"] == "good"


async def test_only_json_is_taken(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        for kind in ("text/plain", "application/x-ndjson", ""):
            answer = await world.http.request(
                "POST", "/rooms/lobby", headers={"content-type": kind}, body=b'{"data":1}'
            )
            assert _checked(answer, 415) == "type_unsupported"
        zipped = JSON | {"content-encoding": "gzip"}
        answer = await world.http.request("POST", "/rooms/lobby", headers=zipped, body=b'{"data":1}')
        assert _checked(answer, 415) == "encoding_unsupported"


@pytest.mark.parametrize("name", [".hidden", "a%20b", "%C3%BC", "x" * 129, "a%00"])
async def test_a_name_that_is_none_is_refused(name: str, autojump_clock: MockClock) -> None:
    async with open_world() as world:
        assert await world.get(f"/rooms/{name}", 400) == "name_invalid"
        assert await world.post(f"/rooms/{name}", {"data": 1}, 400) == "name_invalid"


async def test_there_are_only_so_many_rooms(autojump_clock: MockClock) -> None:
    async with open_world(max_topics=3) as world:
        refused = 0
        for name in "abcd":
            answer = await world.http.request("POST", f"/rooms/{name}", headers=JSON, body=b'{"data":1}')
            refused += answer.status == 503
        assert refused > 0
        assert len((await world.get("/rooms"))["rooms"]) == 4 - refused


@pytest.mark.parametrize("name", ["rooms%2Flobby", "rooms/lobby", "rooms%252Flobby"])
async def test_a_room_cannot_be_reached_as_a_topic(name: str, autojump_clock: MockClock) -> None:
    async with open_world() as world:
        peer, _ = await world.join("lobby")
        for method, target, body in [
            ("GET", f"/topics/{name}", b""),
            ("GET", f"/topics/{name}/events", b""),
            ("POST", f"/topics/{name}", b'{"data":"forged"}'),
        ]:
            answer = await world.http.request(method, target, headers=JSON if body else {}, body=body)
            assert answer.status in (400, 404, 405), answer.body
        await world.post("/rooms/lobby", {"data": "real"})
        assert (await hear(peer))["data"] == "real"


async def test_rooms_are_not_listed_among_topics(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.join("lobby")
        await world.post("/rooms/other", {"data": 1})
        await world.post("/topics/news", {"data": 1})
        topics = {topic["topic"] for topic in (await world.get("/topics"))["topics"]}
        assert "news" in topics
        assert not any("room" in topic or "lobby" in topic for topic in topics)
        assert [room["room"] for room in (await world.get("/rooms"))["rooms"]] == ["lobby", "other"]


async def test_a_topic_and_a_room_of_one_name_are_two(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        peer, _ = await world.join("news")
        await world.post("/topics/news", {"data": "to the topic"})
        await world.post("/rooms/news", {"data": "to the room"})
        assert (await hear(peer))["data"] == "to the room"
