"""What is sent by mistake or malice: each gets an answer that says what is wrong, and ends nothing."""

from __future__ import annotations

import json

import pytest

from tests.clients.conftest import assert_nothing_failed
from tests.clients.sockets import Api, Subscriber, exchange
from tests.support.process import ServerProcess

DEEP = 100_000


def call(
    server: ServerProcess, method: str, target: str, body: bytes = b"", type: str = "application/json"
) -> tuple[int, dict[str, str], str]:
    """Status, headers and `code` of an answer."""
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: {type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    status, headers, text = exchange(server.port, head.encode("latin-1") + body)
    code = ""
    if headers.get("content-type") == "application/problem+json":
        problem = json.loads(text)
        assert problem["status"] == status
        assert set(problem) - {"errors"} == {"type", "title", "status", "detail", "code"}
        code = problem["code"]
    return status, headers, code


@pytest.mark.parametrize(
    "name",
    [
        ".hidden",
        "..",
        "a%20b",
        "a%2Fb",
        "a%2fevents",
        "a%00b",
        "a%0Ab",
        "caf%C3%A9",
        "%FF",
        "x" * 129,
        "a*",
        "a%25",
        "%zz",
    ],
    ids=lambda name: name[:10],
)
@pytest.mark.parametrize(("method", "rest"), [("POST", ""), ("GET", ""), ("GET", "/events")])
def test_a_bad_name_is_a_400(running_server: ServerProcess, name: str, method: str, rest: str) -> None:
    status, _, code = call(running_server, method, f"/topics/{name}{rest}", b'{"data":1}')
    assert (status, code) in [(400, "name_invalid"), (400, "request_malformed")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"data":1}x',
        b'{"data":NaN}',
        b'{"data":-Infinity}',
        b'{"data":01}',
        b"{'data':1}",
        b'{"data":"\xff"}',
        b'{"data":"\xed\xa0\x80"}',
        b'{"data":"\\ud800"}',
        b'{"data":"a\nb"}',
        b'{"data":"\\x00"}',
        b'\xef\xbb\xbf{"data":1}',
        '{"data":1}'.encode("utf-16"),
        b"[" * DEEP,
        b'{"data":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"data":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
        b'{"data":' + b"[" * 65 + b"]" * 65 + b"}",
    ],
    ids=lambda body: repr(body[:16]),
)
def test_what_is_not_strict_json_is_a_400(running_server: ServerProcess, body: bytes) -> None:
    assert call(running_server, "POST", "/topics/bad-json", body)[::2] == (400, "json_malformed")


@pytest.mark.parametrize(
    "body",
    [
        b"1",
        b"[]",
        b"{}",
        b'{"data":1,"other":2}',
        b'{"data":1,"event":3}',
        b'{"data":1,"event":""}',
        b'{"data":1,"event":"gap"}',
        b'{"data":1,"event":"a\\nid: b"}',
        b'{"data":1,"event":"a\\u0000b"}',
        b'{"data":1,"retry":-1}',
        b'{"data":1,"retry":"1"}',
        b'{"data":1,"retry":1e400}',
    ],
    ids=lambda body: body.decode(),
)
def test_json_of_another_shape_is_a_422_that_says_where(running_server: ServerProcess, body: bytes) -> None:
    assert call(running_server, "POST", "/topics/bad-shape", body)[::2] == (422, "body_invalid")


def test_text_that_is_not_utf_8_is_a_400(running_server: ServerProcess) -> None:
    answer = call(running_server, "POST", "/topics/bad-text", b"\xff\xfe", "text/plain")
    assert answer[::2] == (400, "text_malformed")


@pytest.mark.parametrize(
    "type",
    [
        "",
        "text/html",
        "application/x-www-form-urlencoded",
        "text/plain; charset=latin-1",
        "multipart/form-data",
    ],
)
def test_another_type_is_a_415(running_server: ServerProcess, type: str) -> None:
    answer = call(running_server, "POST", "/topics/bad-type", b'{"data":1}', type)
    assert answer[::2] == (415, "type_unsupported")


@pytest.mark.parametrize(
    "query",
    [
        "what=1",
        "heartbeat=loud",
        "rewind=-1",
        "rewind=many",
        "rewind=1e3",
        "rewind=9999999999",
        "rewind=1&rewind=2",
        "last_event_id=%FF",
        "&".join(f"a{n}=1" for n in range(200)),
    ],
    ids=lambda query: query[:20],
)
def test_an_unknown_query_is_a_400(running_server: ServerProcess, query: str) -> None:
    assert call(running_server, "GET", f"/topics/a/events?{query}")[::2] == (400, "query_invalid")


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("PUT", "/topics/a", "DELETE, GET, HEAD, OPTIONS, POST"),
        ("POST", "/topics/a/events", "GET, HEAD, OPTIONS"),
        ("PATCH", "/stats", "GET, HEAD, OPTIONS"),
        ("BREW", "/", "GET, HEAD, OPTIONS"),
    ],
)
def test_another_method_is_a_405_that_says_which_are_allowed(
    running_server: ServerProcess, method: str, target: str, allowed: str
) -> None:
    status, headers, code = call(running_server, method, target)
    assert (status, code, headers["allow"]) == (405, "method_unknown", allowed)


@pytest.mark.parametrize(
    "target", ["/nowhere", "/topics/", "/topics/a/", "//topics/a", "/client/../x", "/a/b/c"]
)
def test_another_path_is_a_404(running_server: ServerProcess, target: str) -> None:
    assert call(running_server, "GET", target)[::2] == (404, "path_unknown")


def test_a_client_that_accepts_no_event_stream_gets_a_406(running_server: ServerProcess) -> None:
    request = b"GET /topics/a/events HTTP/1.0\r\nAccept: application/json\r\n\r\n"
    assert exchange(running_server.port, request)[0] == 406


@pytest.mark.parametrize(
    "last_event_id",
    ["x", "a:b", "abc:1:2", "-1", ":", "0000000000:1", "a" * 5000, "zz:99999999999999999999", "a:01", "é"],
    ids=lambda text: text[:12],
)
def test_an_id_that_is_none_begins_with_a_gap_and_everything_kept(
    running_server: ServerProcess, api: Api, last_event_id: str
) -> None:
    api.publish("bad-id", "kept")
    with Subscriber(running_server.port, "bad-id", last_event_id=last_event_id) as subscriber:
        subscriber.wait_messages(1)
        (gap,) = subscriber.named("gap")
        assert json.loads(gap.data or "")["reason"] == "epoch"
        assert subscriber.events.index(gap) == 1
        assert subscriber.data[0] == "kept"


def test_an_id_beyond_the_head_is_a_gap_too(running_server: ServerProcess, api: Api) -> None:
    epoch = api.publish("beyond", 1).partition(":")[0]
    with Subscriber(running_server.port, "beyond", last_event_id=f"{epoch}:999999") as subscriber:
        subscriber.wait_messages(1)
        assert [json.loads(gap.data or "")["reason"] for gap in subscriber.named("gap")] == ["epoch"]


def test_after_all_of_it_the_server_serves_and_nothing_has_failed(
    running_server: ServerProcess, api: Api
) -> None:
    with Subscriber(running_server.port, "afterwards") as subscriber:
        subscriber.wait_open()
        api.publish("afterwards", "fine")
        assert subscriber.wait_messages(1).data == ["fine"]
    assert api.stats()["leaked"] == 0
    assert_nothing_failed(running_server)
