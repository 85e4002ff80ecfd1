"""The ASGI peer drives an app as Hypercorn would, and shows its backpressure."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    HTTPScope,
    LifespanScope,
    Scope,
)
from quart import Response, request
from quart_trio import QuartTrio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.asgi import open_asgi


class App:
    """A bare ASGI app with one route for each thing to show."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.scope: HTTPScope | None = None
        self.sent = 0
        self.received: list[ASGIReceiveEvent] = []

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] == "http":
            self.scope = scope
            await self._answer(scope, receive, send)

    async def _live(self, scope: LifespanScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        scope["state"]["opened"] = 1
        self.phases.append((await receive())["type"])
        await send({"type": "lifespan.startup.complete"})
        self.phases.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["path"] == "/crash":
            raise KeyError("crash")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Kind", b"test")]})
        if scope["path"] == "/body":
            while self.received[-1:] == [] or self.received[-1].get("more_body"):
                self.received.append(await receive())
            body = b"".join(event["body"] for event in self.received if event["type"] == "http.request")
            await send({"type": "http.response.body", "body": body, "more_body": False})
            self.received.append(await receive())
        if scope["path"] == "/endless":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._stream, send)
                while self.received[-1:] != [{"type": "http.disconnect"}]:
                    self.received.append(await receive())
                nursery.cancel_scope.cancel()

    async def _stream(self, send: ASGISendCallable) -> None:
        while True:
            await send({"type": "http.response.body", "body": b"%d" % self.sent, "more_body": True})
            self.sent += 1


async def test_start_and_shutdown_run(autojump_clock: MockClock) -> None:
    app = App()
    async with open_asgi(app):
        assert app.phases == ["lifespan.startup"]
    assert app.phases == ["lifespan.startup", "lifespan.shutdown"]


async def test_the_scope_is_as_hypercorn_makes_it(autojump_clock: MockClock) -> None:
    app = App()
    async with open_asgi(app, client=("192.0.2.1", 5)) as peer:
        await peer.request("post", "/body/caf%C3%A9?a=%20b", headers={"X-One": "1"}, body=b"hello")
    assert app.scope == {
        "type": "http",
        "http_version": "1.1",
        "asgi": {"spec_version": "2.1", "version": "3.0"},
        "method": "POST",
        "scheme": "http",
        "path": "/body/café",
        "raw_path": b"/body/caf%C3%A9",
        "query_string": b"a=%20b",
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"x-one", b"1"), (b"content-length", b"5")],
        "client": ("192.0.2.1", 5),
        "server": ("127.0.0.1", 8000),
        "state": {"opened": 1},
        "extensions": {},
    }


async def test_a_body_arrives_as_hypercorn_brings_it(autojump_clock: MockClock) -> None:
    app = App()
    async with open_asgi(app) as peer:
        response = await peer.request("POST", "/body", body=b"hello")
    assert (response.status, response.header("x-kind"), response.text) == (200, "test", "hello")
    assert app.received == [
        {"type": "http.request", "body": b"hello", "more_body": True},
        {"type": "http.request", "body": b"", "more_body": False},
        {"type": "http.disconnect"},
    ]


async def test_a_streamed_body_is_asked_for_piece_by_piece(autojump_clock: MockClock) -> None:
    app = App()
    made = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal made
        for made in range(1, 4):
            yield b"x"
            assert len(app.received) == made

    async with open_asgi(app) as peer:
        response = await peer.request("POST", "/body", body=pieces())
    assert made == 3
    assert response.body == b"xxx"
    assert app.scope is not None
    assert (b"transfer-encoding", b"chunked") in app.scope["headers"]


async def test_a_disconnect_interrupts_a_streamed_body(autojump_clock: MockClock) -> None:
    ended = trio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            await trio.sleep_forever()
        finally:
            ended.set()

    async with open_asgi(App()) as peer:
        async with peer.stream("POST", "/endless", body=pieces()) as response:
            assert await response.receive() == b"0"
    assert ended.is_set()


async def test_the_app_cannot_send_ahead_of_the_reader(autojump_clock: MockClock) -> None:
    app = App()
    async with open_asgi(app) as peer:
        async with peer.stream("GET", "/endless") as response:
            await wait_all_tasks_blocked()
            assert app.sent == 0
            assert [await response.receive() for _ in range(50)] == [b"%d" % n for n in range(50)]
            await wait_all_tasks_blocked()
            assert app.sent == 50
    assert app.received[-1] == {"type": "http.disconnect"}


async def test_a_head_request_has_no_body(autojump_clock: MockClock) -> None:
    async with open_asgi(App()) as peer:
        response = await peer.request("HEAD", "/body", body=b"hello")
    assert response.body == b""


async def test_a_crash_of_the_app_comes_out_of_the_request(autojump_clock: MockClock) -> None:
    async with open_asgi(App()) as peer:
        with pytest.raises(KeyError, match="crash"):
            await peer.request("GET", "/crash")


async def test_an_app_that_goes_on_after_a_disconnect_is_found(autojump_clock: MockClock) -> None:
    async def deaf(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "lifespan":
            await App()(scope, receive, send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await trio.sleep_forever()

    async with open_asgi(deaf) as peer:
        with pytest.raises(AssertionError, match="goes on"):
            async with peer.stream("GET", "/"):
                pass


async def test_a_failed_start_is_an_error(autojump_clock: MockClock) -> None:
    async def refuses(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no disk"})

    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="no disk")):
        async with open_asgi(refuses):
            pass


async def test_a_quart_trio_app_streams_more_than_ten_chunks_unread(autojump_clock: MockClock) -> None:
    app = QuartTrio("test")
    cleaned_up = trio.Event()

    @app.post("/count")
    async def count() -> Response:
        await request.get_data()

        async def numbers() -> AsyncIterator[bytes]:
            try:
                for number in range(100):
                    yield b"%d\n" % number
                await trio.sleep_forever()
            finally:
                cleaned_up.set()

        return Response(numbers(), content_type="text/plain")

    async with open_asgi(app) as peer:
        async with peer.stream("POST", "/count", body=b"go") as response:
            await trio.sleep(10)
            received = b""
            while not received.endswith(b"\n99\n"):
                received += await response.receive()
        assert cleaned_up.is_set()
        missing = await peer.request("GET", "/nosuch")
        assert missing.status == 404
