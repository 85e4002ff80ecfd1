"""One HTTP connection: every request gets one whole answer, in order, or is refused with words."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import MockClock

from server.transport import AsgiApp, AsgiMessage
from server.transport.head import MAX_HEAD
from tests.transport.served import Receive, Send, Site, echo, ignore_body, read_body, respond


async def test_a_connection_is_kept_for_the_next_request(autojump_clock: MockClock) -> None:
    async with Site(echo).connection() as client:
        for number in range(3):
            await client.post(b"%d" % number)
            answer = await client.answer()
            assert answer.body == b"POST /echo %d" % number
            assert not answer.closes


async def test_pipelined_requests_are_answered_in_their_order(autojump_clock: MockClock) -> None:
    site = Site(echo)
    async with site.connection() as client:
        await client.send(
            b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
            b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
            b"GET /3?q HTTP/1.1\r\nHost: a\r\n\r\nGET /4"
        )
        bodies = [(await client.answer()).body for _ in range(3)]
        await client.send(b" HTTP/1.1\r\nHost: a\r\n\r\n")
        bodies.append((await client.answer()).body)
    assert bodies == [b"GET /1 ", b"POST /2 body", b"GET /3?q ", b"GET /4 "]
    assert [path for path, _, _ in site.answers] == ["/1", "/2", "/3", "/4"]


async def test_an_old_client_gets_its_answer_and_the_end(autojump_clock: MockClock) -> None:
    async with Site(echo).connection() as client:
        await client.get(version="1.0")
        answer = await client.answer()
        assert answer.body == b"GET / "
        assert answer.closes
        assert await client.rest() == b""


async def test_head_gets_the_head_alone(autojump_clock: MockClock) -> None:
    async with Site(echo).connection() as client:
        await client.get(method="HEAD")
        answer = await client.answer("HEAD")
        assert (answer.headers["content-length"], answer.body) == ("7", b"")
        await client.get()
        assert (await client.answer()).body == b"GET / "


async def test_a_client_that_half_closes_gets_its_answer(autojump_clock: MockClock) -> None:
    async with Site(echo).connection() as client:
        await client.post(b"body")
        await client.half_close()
        assert (await client.answer()).body == b"POST /echo body"
        assert await client.rest() == b""


async def test_requests_behind_a_half_close_are_answered_too(autojump_clock: MockClock) -> None:
    async with Site(echo).connection() as client:
        await client.get("/1")
        await client.get("/2")
        await client.half_close()
        assert [(await client.answer()).body for _ in range(2)] == [b"GET /1 ", b"GET /2 "]
        assert await client.rest() == b""


@pytest.mark.parametrize(
    ("target", "method", "seen"),
    [
        ("http://other.example/path?q=1", "GET", b"GET /path?q=1 "),
        ("https://other.example", "GET", b"GET / "),
        ("//double/slash", "GET", b"GET //double/slash "),
        ("*", "OPTIONS", b"OPTIONS * "),
    ],
)
async def test_every_form_of_target_is_understood(
    target: str, method: str, seen: bytes, autojump_clock: MockClock
) -> None:
    async with Site(echo).connection() as client:
        await client.get(target, method=method)
        assert (await client.answer()).body == seen


# 100-continue


async def test_continue_is_said_when_the_body_is_asked_for(autojump_clock: MockClock) -> None:
    asked = trio.Event()

    async def app(scope: AsgiMessage, receive: Receive, send: Send) -> None:
        await asked.wait()
        await respond(send, await read_body(receive))

    async with Site(app).connection() as client:
        await client.post(b"", "Content-Length: 4", "Expect: 100-continue")
        with trio.move_on_after(1) as waited:
            await client.stream.receive_some()
        assert waited.cancelled_caught
        asked.set()
        assert (await client.stream.receive_some()).startswith(b"HTTP/1.1 100 ")
        await client.send(b"body")
        assert (await client.answer()).body == b"body"


async def test_a_refusal_comes_in_the_place_of_continue(autojump_clock: MockClock) -> None:
    async with Site(echo).connection() as client:
        await client.post(b"", "Content-Length: 100001", "Expect: 100-continue")
        answer = await client.answer()
        assert (answer.status, answer.before) == (413, ())
        assert answer.closes


async def test_an_answer_in_the_place_of_continue_ends_the_connection_at_once(
    autojump_clock: MockClock,
) -> None:
    async with Site(ignore_body).connection() as client:
        await client.post(b"", "Content-Length: 4", "Expect: 100-continue")
        answer = await client.answer()
        assert (answer.status, answer.before) == (200, ())
        assert await client.rest() == b""
        assert trio.current_time() < 1


async def test_who_expects_continue_and_sends_anyway_is_served(autojump_clock: MockClock) -> None:
    async with Site(echo).connection() as client:
        await client.post(b"body", "Content-Length: 4", "Expect: 100-continue")
        assert (await client.answer()).body == b"POST /echo body"
        await client.get()
        assert (await client.answer()).body == b"GET / "


# Refusals


def problem_code(body: bytes) -> str:
    code: str = json.loads(body)["code"]
    return code


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"\x16\x03\x01 hello\r\n\r\n", 400, "request_malformed"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "request_malformed"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400, "request_malformed"),
        (b"GET ?q HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request_malformed"),
        (b"GET http://[/x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request_malformed"),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "request_malformed",
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", 413, "body_too_large"),
        (b"GET /" + b"x" * (MAX_HEAD + 100), 431, "head_too_large"),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            404,
            "path_unknown",
        ),
    ],
)
async def test_what_cannot_be_served_is_refused_and_the_connection_ended(
    request_bytes: bytes, status: int, code: str, autojump_clock: MockClock
) -> None:
    site = Site(echo)
    async with site.connection() as client:
        await trio.sleep(20)
        await client.send(request_bytes)
        answer = await client.answer()
        assert (answer.status, problem_code(answer.body)) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.closes
        assert await client.rest() == b""
    ((_, reported, seconds),) = site.answers
    assert (reported, seconds) == (status, 0)


async def test_a_refusal_after_a_head_request_has_its_body(autojump_clock: MockClock) -> None:
    async with Site(echo).connection() as client:
        await client.get(method="HEAD")
        await client.answer("HEAD")
        await client.send(b"nonsense\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer.complete) == (400, True)
        assert problem_code(answer.body) == "request_malformed"


async def test_the_preface_of_http2_gets_no_answer(autojump_clock: MockClock) -> None:
    async with Site(echo).connection() as client:
        await client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert await client.rest() == b""


async def test_a_head_that_is_not_whole_after_half_a_minute_is_refused(autojump_clock: MockClock) -> None:
    async with Site(echo).connection() as client:
        await client.send(b"GET / HTTP/1.1\r\n")
        async with trio.open_nursery() as nursery:

            async def trickle() -> None:
                while True:
                    await trio.sleep(1)
                    await client.send(b"X: y\r\n")

            nursery.start_soon(trickle)
            answer = await client.answer()
            nursery.cancel_scope.cancel()
        assert answer.status == 408
        assert trio.current_time() == pytest.approx(30)


async def test_a_head_cut_short_is_no_request(autojump_clock: MockClock) -> None:
    site = Site(echo)
    async with site.connection() as client:
        await client.send(b"GET / HT")
        await client.half_close()
        assert (await client.answer()).status == 400
    assert site.server.failures == 0


@pytest.mark.parametrize("requests", [0, 1])
async def test_an_idle_connection_is_closed_without_a_word(requests: int, autojump_clock: MockClock) -> None:
    site = Site(echo)
    async with site.connection() as client:
        for _ in range(requests):
            await client.get()
            await client.answer()
        assert await client.rest() == b""
        assert trio.current_time() == pytest.approx(60)
    assert site.server.failures == 0


# Bodies


async def test_a_body_may_be_slow_but_not_pause(autojump_clock: MockClock) -> None:
    async with Site(echo).connection() as client:
        await client.post(b"", "Content-Length: 5")
        for _ in range(4):
            await trio.sleep(29)
            await client.send(b"x")
        paused = trio.current_time()
        answer = await client.answer()
        assert (answer.status, problem_code(answer.body)) == (408, "body_slow")
        assert trio.current_time() - paused == pytest.approx(30)


@pytest.mark.parametrize("chunk", [b"zz\r\n", b"-1\r\n", b"5\r\nabcdefg\r\n"])
async def test_a_body_that_is_framed_wrongly_is_refused(chunk: bytes, autojump_clock: MockClock) -> None:
    site = Site(echo)
    async with site.connection() as client:
        await client.post(b"3\r\nabc\r\n" + chunk, "Transfer-Encoding: chunked")
        answer = await client.answer()
        assert (answer.status, problem_code(answer.body)) == (400, "request_malformed")
        assert await client.rest() == b""


@pytest.mark.parametrize(
    ("body", "framing"), [(b"only", "Content-Length: 10"), (b"a\r\nonly", "Transfer-Encoding: chunked")]
)
async def test_a_connection_that_ends_in_the_body_is_told_so(
    body: bytes, framing: str, autojump_clock: MockClock
) -> None:
    async with Site(echo).connection() as client:
        await client.post(body, framing)
        await client.half_close()
        answer = await client.answer()
        assert (answer.status, problem_code(answer.body)) == (400, "body_incomplete")


async def test_a_body_in_small_chunks_lets_others_have_their_turn(autojump_clock: MockClock) -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with Site(echo).connection() as client, trio.open_nursery() as others:
        others.start_soon(take_turns)
        await client.post(b"1\r\nx\r\n" * 8_000 + b"0\r\n\r\n", "Transfer-Encoding: chunked")
        assert (await client.answer()).body == b"POST /echo " + b"x" * 8_000
        others.cancel_scope.cancel()
    # All of it lies in the connection's buffer at once.
    assert turns > 100


async def test_more_body_than_announced_is_the_next_request(autojump_clock: MockClock) -> None:
    async with Site(echo).connection() as client:
        await client.post(b"four and more\r\n\r\n", "Content-Length: 4")
        assert (await client.answer()).body == b"POST /echo four"
        assert (await client.answer()).status == 400


async def test_a_small_body_that_nobody_read_keeps_the_connection(autojump_clock: MockClock) -> None:
    async with Site(ignore_body).connection() as client:
        for _ in range(2):
            await client.post(b"x" * 50_000)
            assert (await client.answer()).body == b"ignored"


async def test_a_large_body_that_nobody_read_ends_the_connection(autojump_clock: MockClock) -> None:
    async with Site(ignore_body).connection() as client:
        await client.post(b"x" * 90_000)
        assert (await client.answer()).body == b"ignored"
        assert await client.rest() == b""


async def test_a_body_that_nobody_reads_cannot_hold_the_connection_by_trickling(
    autojump_clock: MockClock,
) -> None:
    async with Site(ignore_body).connection() as client:
        await client.post(b"", "Content-Length: 1000")
        assert (await client.answer()).body == b"ignored"
        answered = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await client.send(b"x")
                await trio.sleep(1)
        assert trio.current_time() - answered < 10


async def test_a_body_that_fails_inside_a_nursery_of_the_app_is_refused_as_itself(
    autojump_clock: MockClock,
) -> None:
    async def read_in_a_nursery(scope: AsgiMessage, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_body, receive)

    async with Site(read_in_a_nursery).connection() as client:
        await client.post(b"zz\r\n", "Transfer-Encoding: chunked")
        answer = await client.answer()
        assert (answer.status, problem_code(answer.body)) == (400, "request_malformed")


async def test_empty_lines_before_a_request_are_ignored(autojump_clock: MockClock) -> None:
    async with Site(echo).connection() as client:
        await client.send(b"\r\n")
        await client.send(b"\r\n\r\n")
        await client.get()
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("head", ["GET / HTTP/1.0", "GET / HTTP/1.1\r\nConnection: close", "GET / HTTP/1.1"])
async def test_an_app_that_waits_for_the_clients_end_learns_it_and_not_before(
    head: str, autojump_clock: MockClock
) -> None:
    ended_at: list[float] = []

    async def app(scope: AsgiMessage, receive: Receive, send: Send) -> None:
        await read_body(receive)
        for _ in range(2):
            assert (await receive())["type"] == "http.disconnect"
        ended_at.append(trio.current_time())
        await respond(send, b"")

    async with Site(app).connection() as client:
        await client.send(f"{head}\r\nHost: a\r\n\r\n".encode())
        await trio.sleep(100)
        await client.half_close()
        assert (await client.answer()).status == 200
    assert ended_at == [pytest.approx(100)]


# The guard


async def fail_before(scope: AsgiMessage, receive: Receive, send: Send) -> None:
    raise ValueError("before")


async def fail_in_a_group(scope: AsgiMessage, receive: Receive, send: Send) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_before, scope, receive, send)
        nursery.start_soon(fail_before, scope, receive, send)


async def break_elsewhere(scope: AsgiMessage, receive: Receive, send: Send) -> None:
    raise trio.BrokenResourceError("a connection of the app's own")


async def return_at_once(scope: AsgiMessage, receive: Receive, send: Send) -> None:
    await trio.lowlevel.checkpoint()


async def answer_with_nonsense(scope: AsgiMessage, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"line\r\nbreak")]})


@pytest.mark.parametrize(
    "app",
    [fail_before, fail_in_a_group, break_elsewhere, return_at_once, answer_with_nonsense],
    ids=lambda app: app.__name__,
)
async def test_an_app_that_fails_before_its_answer_is_a_500(app: AsgiApp, autojump_clock: MockClock) -> None:
    site = Site(app)
    async with site.connection() as client:
        await client.get()
        answer = await client.answer()
        assert (answer.status, problem_code(answer.body)) == (500, "server_failed")
        assert await client.rest() == b""
    assert [status for _, status, _ in site.answers] == [500]


async def start_answer(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"part", "more_body": True})


async def fail_within(scope: AsgiMessage, receive: Receive, send: Send) -> None:
    await start_answer(send)
    raise ValueError("within")


async def leave_unfinished(scope: AsgiMessage, receive: Receive, send: Send) -> None:
    await start_answer(send)


async def send_too_little(scope: AsgiMessage, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
    await send({"type": "http.response.body", "body": b"part", "more_body": False})


@pytest.mark.parametrize(
    "app", [fail_within, leave_unfinished, send_too_little], ids=lambda app: app.__name__
)
async def test_an_answer_that_broke_off_never_looks_complete(app: AsgiApp, autojump_clock: MockClock) -> None:
    async with Site(app).connection() as client:
        await client.get()
        answer = await client.answer()
        assert (answer.body, answer.complete) == (b"part", False)


async def test_a_failed_connection_is_the_only_one_that_ends(autojump_clock: MockClock) -> None:
    async def app(scope: AsgiMessage, receive: Receive, send: Send) -> None:
        if scope["path"] == "/bad":
            raise ExceptionGroup("", [ValueError(), ExceptionGroup("", [KeyError()])])
        await respond(send, b"good")

    site = Site(app)
    async with site.connection() as good, site.connection() as bad:
        await good.get()
        assert (await good.answer()).body == b"good"
        await bad.get("/bad")
        assert (await bad.answer()).status == 500
        await good.get()
        assert (await good.answer()).body == b"good"
