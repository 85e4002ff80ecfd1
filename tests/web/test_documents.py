"""Documents over HTTP and at the door of WebSockets, in the whole application."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pycrdt
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from server.application import Application, open_application
from server.settings import Settings
from server.wire.y_protocol import SyncStep2, decode, encode_step_1, encode_update
from tests.support.asgi import Peer, open_asgi
from tests.support.frames import Binary, Close
from tests.support.websocket_peer import WebSocketPeer


class World:
    """The whole application: its routes, and editors by WebSocket."""

    def __init__(self, application: Application, http: Peer, nursery: trio.Nursery) -> None:
        self.application = application
        self.http = http
        self._server = application.server()
        self._nursery = nursery

    async def get(self, target: str, status: int = 200) -> Any:
        """What a GET is answered with; of a problem the code."""
        response = await self.http.request("GET", target)
        body = response.json()
        assert response.status == status, body
        assert isinstance(body, dict)
        return body["code"] if status >= 400 else body

    async def knock(self, document: str) -> WebSocketPeer:
        """A WebSocket at the document."""
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self._serve, ours)
        return await WebSocketPeer.connect(theirs, f"/documents/{document}")

    async def edit(self, document: str, text: str) -> WebSocketPeer:
        """An editor that has written `text`, and been told of it."""
        peer = await self.knock(document)
        await peer.send(encode_update(typed(text)))
        await peer.send(encode_step_1(b"\0"))
        while True:
            frame = await peer.receive()
            assert isinstance(frame, Binary)
            if isinstance(decode(frame.data), SyncStep2):
                return peer

    async def _serve(self, stream: trio.abc.Stream) -> None:
        await self._server.serve_stream(stream, ("127.0.0.1", 50000), ("127.0.0.1", 8000))
        await trio.aclose_forcefully(stream)


def typed(text: str) -> bytes:
    doc: pycrdt.Doc[Any] = pycrdt.Doc({"text": pycrdt.Text(text)}, client_id=1)
    return doc.get_update()


@asynccontextmanager
async def open_world(**settings: Any) -> AsyncIterator[World]:
    async with (
        open_application(Settings(**settings)) as application,
        open_asgi(application.app) as http,
        trio.open_nursery() as nursery,
    ):
        yield World(application, http, nursery)
        nursery.cancel_scope.cancel()


async def test_documents_are_listed_by_name_with_editors_and_bytes(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        assert await world.get("/documents") == {"documents": [], "next": None}
        await world.edit("b", "bee")
        await world.edit("b", "bee")
        await world.edit("a", "x" * 1000)
        listed = await world.get("/documents")
        assert [(each["document"], each["editors"]) for each in listed["documents"]] == [("a", 1), ("b", 2)]
        assert listed["next"] is None
        assert 1000 < listed["documents"][0]["bytes"] < 1100
        assert await world.get("/documents/a") == listed["documents"][0]


async def test_a_long_list_comes_in_pages(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        for name in ("a", "b", "c"):
            await world.edit(name, name)
        first = await world.get("/documents?limit=2")
        assert [each["document"] for each in first["documents"]] == ["a", "b"]
        rest = await world.get(f"/documents?limit=2&after={first['next']}")
        assert [each["document"] for each in rest["documents"]] == ["c"]
        assert rest["next"] is None


async def test_documents_in_the_store_are_listed_too(tmp_path: Path) -> None:
    async with open_world(data=str(tmp_path)) as world:
        await world.edit("kept", "text")
    async with open_world(data=str(tmp_path)) as world:
        (listed,) = (await world.get("/documents"))["documents"]
        assert (listed["document"], listed["editors"]) == ("kept", 0)
        assert await world.get("/documents/kept") == listed
        await world.edit("another", "text")
        names = [each["document"] for each in (await world.get("/documents"))["documents"]]
        assert names == ["another", "kept"]


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/documents/none", 404, "document_unknown"),
        ("/documents/.x", 400, "name_invalid"),
        ("/documents?limit=0", 400, "query_invalid"),
        ("/documents/a?limit=1", 400, "query_invalid"),
    ],
)
async def test_what_is_asked_wrongly_is_said(
    target: str, status: int, code: str, autojump_clock: MockClock
) -> None:
    async with open_world() as world:
        assert await world.get(target, status) == code


async def test_documents_are_no_topics_and_no_rooms(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.edit("paper", "text")
        assert (await world.get("/topics"))["topics"] == []
        assert (await world.get("/rooms"))["rooms"] == []


async def test_a_message_over_the_limit_closes_with_a_code_that_is_not_tried_again() -> None:
    async with open_world(document_max=10_000) as world:
        peer = await world.knock("paper")
        assert isinstance(await peer.receive(), Binary)
        await peer.send(b"\x00\x02" + b"x" * 20_000)
        while not isinstance(frame := await peer.receive(), Close):
            pass
        assert frame == Close(4422, "frame_too_large")


async def test_editors_over_the_limit_are_refused_at_the_door(autojump_clock: MockClock) -> None:
    async with open_world(max_editors=1) as world:
        await world.edit("one", "text")
        with pytest.raises(Exception, match="503"):
            await world.knock("two")


async def test_without_the_library_documents_say_what_is_missing(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycrdt", None)
    async with open_world() as world:
        assert world.application.editing is None
        assert await world.get("/documents", 501) == "documents_unavailable"
        assert await world.get("/documents/paper", 501) == "documents_unavailable"
        assert await world.get("/rooms") == {"rooms": [], "next": None}
