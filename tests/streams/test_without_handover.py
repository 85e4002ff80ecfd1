"""Streams under a stock ASGI server, where there is no handover: the same stream, over `send`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from server.application import Application, open_application
from server.lifecycle import CloseReason
from server.settings import Settings
from tests.support.sse import SSEParser


class AsgiClient:
    """One request to the app over bare ASGI."""

    def __init__(self, application: Application, target: str, method: str = "GET", body: object = ()) -> None:
        path, _, query = target.partition("?")
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(b"host", b"localhost"), (b"content-type", b"text/plain")],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
            "extensions": {},
            "state": {},
        }
        self.sent: list[Any] = []
        self.requested = 0
        self.gone = trio.Event()
        self._app = application.app
        self._pieces = list(body)  # type: ignore[call-overload]

    async def run(self) -> None:
        await self._app(self.scope, self._receive, self._send)  # type: ignore[arg-type]

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def complete(self) -> bool:
        return bool(self.sent) and self.sent[-1].get("more_body") is False

    async def _receive(self) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        if self._pieces:
            self.requested += 1
            message: dict[str, Any] = self._pieces.pop(0)
            return message
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(message)


def piece(body: bytes | None, more: bool = True) -> dict[str, Any]:
    message: dict[str, Any] = {"type": "http.request"}
    if body is not None:
        message["body"] = body
    if more:
        message["more_body"] = True
    return message


@asynccontextmanager
async def opened(settings: Settings | None = None) -> AsyncIterator[Application]:
    async with open_application(settings or Settings()) as application:
        yield application
        assert application.registry.streams == {}
        assert application.events.hub.subscriptions == 0


async def test_a_stream_sends_its_first_block_with_the_head(autojump_clock: MockClock) -> None:
    async with opened() as application, trio.open_nursery() as nursery:
        client = AsgiClient(application, "/topics/t/events", body=[piece(b"", more=False)])
        nursery.start_soon(client.run)
        await trio.sleep(1)
        assert client.sent[0]["status"] == 200
        assert SSEParser().feed(client.body)[0].id is not None
        assert not client.complete
        client.gone.set()


async def test_a_disconnect_ends_the_stream_and_does_not_complete_the_answer(
    autojump_clock: MockClock,
) -> None:
    async with opened() as application:
        client = AsgiClient(application, "/topics/t/events", body=[piece(b"", more=False)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run)
            await trio.sleep(1)
            client.gone.set()
        assert application.registry.closed == {"events": {CloseReason.CLIENT_DISCONNECTED: 1}}
        assert not client.complete


async def test_a_stream_that_is_cut_off_leaves_the_answer_unfinished(autojump_clock: MockClock) -> None:
    async with opened() as application:
        client = AsgiClient(application, "/topics/t/events", body=[piece(b"", more=False)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run)
            await trio.sleep(1)
            (stream,) = application.registry.streams.values()
            stream.close(CloseReason.SLOW_CONSUMER)
        assert not client.complete
        assert application.registry.closed == {"events": {CloseReason.SLOW_CONSUMER: 1}}


async def test_a_stream_that_ends_completes_the_answer_behind_closing(autojump_clock: MockClock) -> None:
    async with opened() as application:
        client = AsgiClient(application, "/topics/t/events", body=[piece(b"", more=False)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.run)
            await trio.sleep(1)
            (stream,) = application.registry.streams.values()
            stream.end(CloseReason.SERVER_DRAINING)
        assert client.complete
        assert SSEParser().feed(client.body)[-1].event == "closing"


# Bodies that are pulled


async def test_a_body_is_read_piece_by_piece_and_may_have_empty_ones(autojump_clock: MockClock) -> None:
    async with opened() as application:
        pieces = [piece(b"a"), piece(b""), piece(None), piece(b"b"), piece(None, more=False)]
        client = AsgiClient(application, "/topics/t", "POST", pieces)
        await client.run()
        assert client.sent[0]["status"] == 201
        (message,) = application.events.hub.excerpt("t", None, None, 1000).messages
        assert message.data == "ab"


@pytest.mark.parametrize("target", ["/topics/clock", "/topics/.no", "/nothing"])
async def test_a_body_that_is_not_wanted_is_not_read(autojump_clock: MockClock, target: str) -> None:
    async with opened() as application:
        client = AsgiClient(application, target, "POST", [piece(b"a"), piece(b"b", more=False)])
        await client.run()
        assert client.sent[0]["status"] >= 400
        assert client.requested == 0


async def test_a_body_above_the_limit_is_not_read_to_its_end(autojump_clock: MockClock) -> None:
    async with opened(Settings(max_body=10)) as application:
        client = AsgiClient(application, "/topics/t", "POST", [piece(b"12345678")] * 100)
        await client.run()
        assert client.sent[0]["status"] == 413
        assert client.requested == 2


async def test_a_client_that_leaves_within_its_body_publishes_nothing(autojump_clock: MockClock) -> None:
    async with opened() as application:
        client = AsgiClient(application, "/topics/t", "POST", [piece(b"a")])
        client.gone.set()
        await client.run()
        assert client.sent[0]["status"] == 400
        assert b"body_incomplete" in client.body
        assert application.events.hub.topic("t") is None
