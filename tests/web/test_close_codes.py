"""Every close code of rooms, as a client sees it: over the whole application, with its reason text, and as
docs/reference/rooms.md has it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from server.application import Application, open_application
from server.hub import Draft
from server.lifecycle import CloseReason
from server.settings import Settings, TopicRule
from server.wire.room_frames import MAX_FRAME
from tests.support.frames import Close, Frame
from tests.support.house import hear_to_the_end, hear_until
from tests.support.memory_socket import ClientEnd, memory_tcp
from tests.support.websocket_peer import WebSocketPeer

REFERENCE = Path(__file__).parents[2] / "docs/reference/rooms.md"
ROOM = 4000
"""Bytes on their way to the member."""

ELSEWHERE = {
    (1001, ""): "the client's own: tests/rooms/test_presence.py",
    (1006, ""): "no close frame at all: tests/rooms/test_presence.py",
    (1013, "topics_full"): "tests/rooms/test_room_lifetimes.py",
    (4429, ""): "not sent yet",
}
"""What the table has beside the codes that are reached here."""


@dataclass
class Line:
    """A member's connection."""

    application: Application
    peer: WebSocketPeer
    end: ClientEnd

    def end_stream(self, reason: CloseReason) -> None:
        """End it as the server does for `reason`."""
        (stream,) = self.application.registry.streams.values()
        stream.end(reason)

    async def send_raw(self, opcode: int, payload: bytes) -> None:
        """A frame of less than 126 bytes, masked with zeros."""
        await self.end.send_all(bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload)


@asynccontextmanager
async def open_line(subprotocol: str) -> AsyncIterator[Line]:
    rules = (TopicRule("lobby", capacity=5),)
    async with open_application(Settings(room=rules)) as application, trio.open_nursery() as nursery:
        server = application.server()
        end, stream = memory_tcp(ROOM, 30.0)

        async def serve() -> None:
            await server.serve_stream(stream, ("127.0.0.1", 50000), ("127.0.0.1", 8000))
            await trio.aclose_forcefully(stream)

        nursery.start_soon(serve)
        peer = await WebSocketPeer.connect(end, "/rooms/lobby", subprotocols=[subprotocol])
        await hear_until(peer, "welcome")
        yield Line(application, peer, end)
        nursery.cancel_scope.cancel()


Play = Callable[[Line], Awaitable[None]]
CASES: dict[tuple[int, str], list[Play]] = {}


def reaches(code: int, words: str) -> Callable[[Play], Play]:
    def add(play: Play) -> Play:
        CASES.setdefault((code, words), []).append(play)
        return play

    return add


@reaches(1000, "")
async def the_client_closes(line: Line) -> None:
    await line.peer.close(1000)


@reaches(1000, "completed")
async def it_is_over(line: Line) -> None:
    line.end_stream(CloseReason.COMPLETED)


@reaches(1002, "protocol_error")
async def an_unknown_opcode(line: Line) -> None:
    await line.send_raw(0x3, b"")


@reaches(1003, "binary_unsupported")
async def bytes_under_json(line: Line) -> None:
    await line.peer.send(b"\x80")


@reaches(1007, "text_malformed")
async def text_that_is_not_utf8(line: Line) -> None:
    await line.send_raw(0x1, b'"\xff"')


@reaches(1008, "too_many_errors")
async def ten_bad_frames(line: Line) -> None:
    for _ in range(10):
        await line.peer.send("{}")


@reaches(1008, "limit")
async def a_limit_without_a_code_of_its_own(line: Line) -> None:
    line.end_stream(CloseReason.LIMIT)


@reaches(1009, "frame_too_large")
async def a_frame_of_many_bytes(line: Line) -> None:
    await line.peer.send("x" * (MAX_FRAME + 1))


@reaches(1009, "frame_too_large")
async def a_frame_of_many_bytes_and_few_characters(line: Line) -> None:
    await line.peer.send("\N{SNOWMAN}" * (MAX_FRAME // 2))


@reaches(1011, "server_failed")
async def it_fails(line: Line) -> None:
    line.end_stream(CloseReason.FAILED)


@reaches(1012, "server_draining")
async def it_drains(line: Line) -> None:
    line.application.gate.close()
    line.end_stream(CloseReason.SERVER_DRAINING)


@reaches(4401, "expired")
async def the_credentials_expire(line: Line) -> None:
    line.end_stream(CloseReason.EXPIRED)


@reaches(4403, "admin")
async def an_operator_closes_it(line: Line) -> None:
    line.end_stream(CloseReason.ADMIN)


@reaches(4408, "heartbeat_missed")
async def it_does_not_answer_a_ping(line: Line) -> None:
    line.peer.answers = False
    await trio.sleep(35)


@reaches(4413, "slow_consumer")
async def it_reads_nothing(line: Line) -> None:
    drafts = [Draft("rooms/lobby", f'"{"x" * ROOM}"')]
    for _ in range(10):
        await line.application.rooms.hub.publish(drafts)


async def close_frame_of(line: Line) -> Frame | None:
    _, close = await hear_to_the_end(line.peer)
    return close


@pytest.mark.parametrize(
    ("code", "words", "play"),
    [
        pytest.param(code, words, play, id=f"{code}-{play.__name__}")
        for (code, words), plays in CASES.items()
        for play in plays
    ],
)
async def test_each_close_code_is_reached_with_its_reason(
    code: int, words: str, play: Play, autojump_clock: MockClock
) -> None:
    async with open_line("sluiceway.v1.json") as line:
        await play(line)
        assert await close_frame_of(line) == Close(code, words)


async def test_text_under_messagepack_is_the_other_wrong_kind(autojump_clock: MockClock) -> None:
    async with open_line("sluiceway.v1.msgpack") as line:
        await line.peer.send("{}")
        assert await close_frame_of(line) == Close(1003, "text_unsupported")


def test_each_is_in_the_reference_with_what_a_client_should_do() -> None:
    table = REFERENCE.read_text().split("## Close codes")[1].split("## ")[0]
    documented = set()
    for row in re.findall(r"^\| (\d{4})(.*?)\|(.*?)\|(.*?)\|$", table, re.MULTILINE):
        code, words, means, advice = row
        assert means.strip()
        assert advice.strip()
        documented |= {(int(code), word) for word in re.findall(r"`(\w+)`", words) or [""]}
    reached = {(code, words) for code, words in CASES if words} | {(1003, "text_unsupported")}
    assert documented == reached | set(ELSEWHERE)
