"""The doors of WebSockets: who is let in where, decided on the head alone."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from server.hub import After, Cursor, Earliest, Live, Start
from server.lifecycle import Registry, RequestHead
from server.rooms import Membership, Pings, Rooms, RoomServices, Sessions
from server.security import OriginRules
from server.transport import Acceptance, DrainGate
from server.web import websocket_door
from server.wire.problem import Problem
from tests.support.http_peer import open_world
from tests.support.hubs import open_hub
from tests.support.memory_socket import memory_tcp
from tests.support.websocket_peer import KEY

RULES = OriginRules(
    {("127.0.0.1", 8000)}, frozenset({"https://app.example"}), frozenset({"sluiceway.example"})
)


@pytest.fixture
async def services() -> RoomServices:
    hub = open_hub(max_topics=2)
    registry = Registry()
    return RoomServices(hub, registry, Rooms(hub, Sessions()), Pings(), DrainGate(lambda: 0, 25.0))


def head(target: str = "/rooms/lobby", **headers: str) -> RequestHead:
    """The head of a handshake; names of headers with underscores."""
    path, _, query = target.partition("?")
    given = {"host": "localhost:8000"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestHead("GET", path, query, tuple(given.items()), "127.0.0.1", "127.0.0.1")


def knock(services: RoomServices, at: RequestHead, *, echo: bool = False) -> Acceptance | str:
    """Let in, or the code of the refusal."""
    answer = websocket_door(services, RULES, echo=echo)(at)
    return answer.code if isinstance(answer, Problem) else answer


@pytest.mark.parametrize("target", ["/rooms/lobby", "/rooms/A.b_c:d-9", "/rooms/" + "x" * 128, "/rooms/%41"])
async def test_a_room_is_open_to_all(services: RoomServices, target: str) -> None:
    accepted = knock(services, head(target))
    assert isinstance(accepted, Acceptance)
    assert accepted.max_message == 64 * 1024


@pytest.mark.parametrize(
    "target",
    [
        "/rooms/",
        "/rooms/.x",
        "/rooms/" + "x" * 129,
        "/rooms/a%20b",
        "/rooms/a%0a",
        "/rooms/a%2Fb",
        "/rooms/%C3%BC",
    ],
)
async def test_a_name_that_is_none_is_refused(services: RoomServices, target: str) -> None:
    assert knock(services, head(target)) == "name_invalid"


@pytest.mark.parametrize(
    "target",
    ["/", "/rooms", "/rooms/a/b", "/rooms%2Fa", "/Rooms/a", "//rooms/a", "/topics/a/events", "/echo"],
)
async def test_there_is_no_websocket_elsewhere(services: RoomServices, target: str) -> None:
    assert knock(services, head(target)) == "path_unknown"


async def test_documents_that_are_not_installed_say_so(services: RoomServices) -> None:
    assert knock(services, head("/documents/paper")) == "documents_unavailable"
    assert knock(services, head("/documents/.x")) == "name_invalid"


async def test_echo_is_there_where_it_is_asked_for(services: RoomServices) -> None:
    accepted = knock(services, head("/echo"), echo=True)
    assert isinstance(accepted, Acceptance)
    assert accepted.max_message == 16 * 1024 * 1024


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("http://localhost:8000", True),
        ("http://127.0.0.1:8000", True),
        ("https://app.example", True),
        ("https://APP.example", True),
        ("http://app.example", False),
        ("https://app.example.evil", False),
        ("http://localhost:9000", False),
        ("null", False),
        ("", False),
        ("nonsense", False),
        ("http://[", False),
        ("file://", False),
    ],
)
async def test_pages_of_foreign_origins_are_refused(
    services: RoomServices, origin: str | None, allowed: bool
) -> None:
    answer = knock(services, head(**({} if origin is None else {"origin": origin})))
    assert isinstance(answer, Acceptance) if allowed else answer == "origin_foreign"


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("localhost:8000", True),
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("sluiceway.example", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost:x", False),
    ],
)
async def test_a_foreign_host_is_refused(services: RoomServices, host: str, allowed: bool) -> None:
    answer = knock(services, head(host=host))
    assert isinstance(answer, Acceptance) if allowed else answer == "host_foreign"


async def test_echo_has_the_same_door(services: RoomServices) -> None:
    assert knock(services, head("/echo", host="evil.example"), echo=True) == "host_foreign"
    assert knock(services, head("/echo", origin="http://evil.example"), echo=True) == "origin_foreign"


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, None),
        ("sluiceway.v1.json", "sluiceway.v1.json"),
        ("other, sluiceway.v1.json", "sluiceway.v1.json"),
        ("sluiceway.v1.msgpack", "sluiceway.v1.msgpack"),
        ("sluiceway.v1.msgpack, sluiceway.v1.json", "sluiceway.v1.msgpack"),
        (" sluiceway.v1.json ,other", "sluiceway.v1.json"),
        (",,", None),
    ],
)
async def test_the_known_subprotocol_is_chosen(
    services: RoomServices, offered: str | None, chosen: str | None
) -> None:
    accepted = knock(services, head(**({} if offered is None else {"sec_websocket_protocol": offered})))
    assert isinstance(accepted, Acceptance)
    assert accepted.subprotocol == chosen


@pytest.mark.parametrize("offered", ["other", "sluiceway.v2.json", "SLUICEWAY.V1.JSON", "a,b"])
async def test_a_client_that_knows_only_others_is_refused(services: RoomServices, offered: str) -> None:
    assert knock(services, head(sec_websocket_protocol=offered)) == "subprotocol_unknown"


def membership_of(accepted: Acceptance | str) -> Membership:
    assert isinstance(accepted, Acceptance)
    membership = accepted.run.__self__  # type: ignore[attr-defined]
    assert isinstance(membership, Membership)
    return membership


@pytest.mark.parametrize(
    ("target", "offered", "secret", "chosen"),
    [
        ("/rooms/lobby", None, None, None),
        ("/rooms/lobby?session=abc", None, "abc", None),
        ("/rooms/lobby", "sluiceway.v1.json, sluiceway.session.abc", "abc", "sluiceway.v1.json"),
        ("/rooms/lobby", "sluiceway.session.abc,sluiceway.v1.msgpack", "abc", "sluiceway.v1.msgpack"),
        ("/rooms/lobby?session=other", "sluiceway.session.abc", "abc", None),
        ("/rooms/lobby", "sluiceway.bearer.token", None, None),
    ],
)
async def test_a_session_is_named_and_its_secret_neither_echoed_nor_kept(
    services: RoomServices, target: str, offered: str | None, secret: str | None, chosen: str | None
) -> None:
    headers = {} if offered is None else {"sec_websocket_protocol": offered}
    accepted = knock(services, head(target, **headers))
    assert isinstance(accepted, Acceptance)
    assert accepted.subprotocol == chosen
    membership = membership_of(accepted)
    assert membership.secret == secret
    assert secret is None or secret not in repr(membership)
    assert membership.head.query == ""


@pytest.mark.parametrize(
    ("query", "start"),
    [
        ("", Live()),
        ("last_event_id=", Live()),
        ("last_event_id=earliest", Earliest()),
        ("last_event_id=abc:7", After(Cursor("abc", 7))),
        ("last_event_id=nonsense", After(Cursor("", 0))),
    ],
)
async def test_an_id_says_where_to_go_on(services: RoomServices, query: str, start: Start) -> None:
    assert membership_of(knock(services, head(f"/rooms/lobby?{query}"))).start == start


@pytest.mark.parametrize("query", ["session=a&session=b", "last_event_id=a:1&last_event_id=a:2"])
async def test_what_is_given_twice_is_refused(services: RoomServices, query: str) -> None:
    assert knock(services, head(f"/rooms/lobby?{query}")) == "query_invalid"


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("", "guest"),
        ("name=Ann", "Ann"),
        ("name=Ann+B%C3%BCchner", "Ann Büchner"),
        ("name=" + "x" * 64, "x" * 64),
        ("name=" + "%F0%9F%98%80" * 64, "😀" * 64),
        ("name=%F0%9F%91%A9%E2%80%8D%F0%9F%92%BB", "👩\u200d💻"),
        ("name=%D9%85%DB%8C%E2%80%8C%D8%AE", "می\u200cخ"),
        ("name=%E5%B1%B1%E7%94%B0%E3%80%80%E5%A4%AA", "山田\u3000太"),
        ("other=1&name=Ann", "Ann"),
    ],
)
async def test_a_member_is_called_what_it_asks_to_be(services: RoomServices, query: str, name: str) -> None:
    accepted = knock(services, head(f"/rooms/lobby?{query}"))
    assert isinstance(accepted, Acceptance)
    assert accepted.run.__self__.name == name  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "query",
    [
        "name=",
        "name=a&name=b",
        "name=" + "x" * 65,
        "name=a%0Ab",
        "name=a%00",
        "name=%E2%80%AE",
        "name=+",
        "name=+%E3%80%80%E2%80%8D",
        "name=%FF",
        "&".join(f"x{number}=1" for number in range(101)),
    ],
)
async def test_a_members_name_that_is_none_is_refused(services: RoomServices, query: str) -> None:
    assert knock(services, head(f"/rooms/lobby?{query}")) == "query_invalid"


async def test_nobody_is_let_in_during_a_drain(services: RoomServices) -> None:
    services.gate.close()
    answer = websocket_door(services, RULES, echo=False)(head())
    assert isinstance(answer, Problem)
    assert (answer.code, answer.status) == ("server_draining", 503)
    assert "Retry-After" in answer.headers


async def test_there_are_only_so_many_rooms(services: RoomServices) -> None:
    services.hub.set_tap("rooms/one", lambda message: None)
    services.hub.set_tap("rooms/two", lambda message: None)
    assert isinstance(knock(services, head("/rooms/one")), Acceptance)
    assert knock(services, head("/rooms/three")) == "topics_full"


async def test_a_handshake_that_is_refused_makes_no_room(services: RoomServices) -> None:
    knock(services, head("/rooms/lobby?name="))
    knock(services, head(sec_websocket_protocol="other"))
    knock(services, head(origin="http://evil.example"))
    assert services.rooms.names() == []


async def test_who_does_not_take_the_answer_is_let_go(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        request = (
            "GET /rooms/hall HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        )
        peer = world.connect(lambda: memory_tcp(room=1, write_deadline=30))
        await peer.stream.send_all(request.encode())
        await trio.sleep(11)
        assert world.server.failures == 0
        await world.wait_no_stream()
        assert (await world.stats())["connections"]["websocket"] == 0
