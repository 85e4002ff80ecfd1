"""No WebSocket client ends the server, nor anybody else's stay in a room.

Each hostile exchange is played to a server of ours over real sockets, while a witness is in another room:
what is published there afterwards must reach it.  What ends a stock `trio_websocket.serve_websocket` is
played to one, too, to show the fault.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.process import ServerProcess
from tests.support.raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    TEXT,
    Frame,
    RawWebSocket,
    close,
    frame,
    upgrade,
)
from tests.transport import hostile
from tests.transport.conftest import stock_server
from tests.transport.hostile import Answer, Exchange, Reset, Send, WaitFor, play

ROOM = "/rooms/hostile"
KIB_64 = 64 * 1024
QUIET_SECONDS = 0.1


class Witness:
    """A member of another room, there all the while: that `wait_for` returns is the proof of life."""

    def __init__(self, port: int) -> None:
        self._client = RawWebSocket(port, "/rooms/witness")
        assert self._next()["type"] == "welcome"

    def wait_for(self, data: str) -> None:
        """Return when a message with this data has come."""
        while self._next().get("data") != data:
            pass

    def close(self) -> None:
        """Leave, in the proper way."""
        self._client.send(close(1000))
        assert [found.code for found in self._client.drain()] == [1000]
        self._client.__exit__(None, None, None)

    def _next(self) -> dict[str, object]:
        while True:
            found = self._client.receive()
            assert found is not None, "the witness was thrown out"
            if found.opcode == PING:
                self._client.send(frame(PONG, found.payload))
            else:
                return told(found)


def told(found: Frame | None) -> dict[str, object]:
    """The object in a text frame."""
    assert found is not None, "the server ended the connection"
    assert found.opcode == TEXT, found
    value: dict[str, object] = json.loads(found.payload)
    return value


@pytest.fixture(scope="module")
def process() -> Iterator[ServerProcess]:
    with ServerProcess(["--bind", "127.0.0.1:0", "--echo"]) as process:
        yield process
        assert "Traceback" not in process.stderr
        stats = get_json(process.port, "/stats")
        assert json.dumps(stats["leaked"]) == "0"
        assert "failed" not in stats["closed"]["room"]


@pytest.fixture(scope="module")
def witness(process: ServerProcess) -> Iterator[Witness]:
    witness = Witness(process.port)
    yield witness
    witness.close()


@pytest.fixture
def port(process: ServerProcess, witness: Witness) -> Iterator[int]:
    """The server's port; after the test, the witness is asked."""
    yield process.port
    token = secrets.token_hex()
    assert ask(process.port, "POST", "/rooms/witness", json.dumps({"data": token})).statuses == [201]
    witness.wait_for(token)


def ask(port: int, method: str, target: str, body: str = "") -> Answer:
    request = (
        f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    return play(port, Exchange(target, (Send(request), WaitFor(hostile.never))))


def get_json(port: int, target: str) -> dict[str, dict[str, dict[str, int]]]:
    body = ask(port, "GET", target).data.partition(b"\r\n\r\n")[2]
    value: dict[str, dict[str, dict[str, int]]] = json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])
    return value


def member(port: int, *headers: str, early: bytes = b"") -> RawWebSocket:
    """A connection to a room of its own, welcomed."""
    client = RawWebSocket(port, f"{ROOM}-{secrets.token_hex(4)}", *headers, early=early)
    assert told(client.receive())["type"] == "welcome"
    return client


def ended(client: RawWebSocket) -> list[Frame]:
    """What comes until the end; a close frame is answered, as a client has to."""
    frames = []
    while (found := client.receive()) is not None:
        frames.append(found)
        if found.opcode == CLOSE:
            client.send(close(1000))
    return frames


def fragments(payload: bytes, size: int, opcode: int = TEXT) -> bytes:
    """A message in frames of at most `size` bytes."""
    pieces = [payload[i : i + size] for i in range(0, len(payload), size)]
    last = len(pieces) - 1
    return b"".join(
        frame(CONTINUATION if i else opcode, piece, fin=i == last) for i, piece in enumerate(pieces)
    )


def message_of(size: int, character: str = "x") -> bytes:
    """A room's message, as JSON of exactly `size` bytes."""
    empty = len(b'{"type":"message","data":"","ref":"r"}')
    wide = len(character.encode())
    data = character * ((size - empty) // wide)
    text = f'{{"type":"message","data":"{data}","ref":"r"}}'.encode()
    return text + b" " * (size - len(text))


# --- What a room's connection is closed for -----------------------------------------------------------------

TALK = frame(TEXT, b'{"type":"ping"}')
MOST = (1 << 63) - 1

FAULTS: dict[str, tuple[bytes, int]] = {
    **{f"opcode {opcode}": (frame(opcode, b"x"), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{f"reserved bits {rsv}": (frame(TEXT, b"{}", rsv=rsv), 1002) for rsv in range(1, 8)},
    "unmasked text": (frame(TEXT, b"{}", mask=None), 1002),
    "unmasked ping": (frame(PING, mask=None), 1002),
    "unmasked close": (frame(CLOSE, b"\x03\xe8", mask=None), 1002),
    "nothing to continue": (frame(CONTINUATION, b"x"), 1002),
    "text within a message": (frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), 1002),
    "fragmented ping": (frame(PING, b"x", fin=False), 1002),
    "fragmented pong": (frame(PONG, b"x", fin=False), 1002),
    "fragmented close": (frame(CLOSE, b"\x03\xe8", fin=False), 1002),
    "ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "pong of 64 KiB": (frame(PONG, b"x" * KIB_64), 1002),
    "close of 126 bytes": (close(1000, b"x" * 124), 1002),
    "length 2^63": (frame(TEXT, length=1 << 63), 1002),
    "length 2^64-1": (frame(BINARY, length=(1 << 64) - 1), 1002),
    "length 2^63-1, and the bytes": (frame(TEXT, b"x" * (KIB_64 + 1), length=MOST), 1009),
    "length 125 in 2 bytes": (frame(TEXT, b"x" * 125, length_bytes=2), 1002),
    "length 0 in 8 bytes": (frame(TEXT, length_bytes=8), 1002),
    "length 65535 in 8 bytes": (frame(TEXT, b"x" * 65535, length_bytes=8), 1002),
    **{
        f"close code {code}": (close(code), 1002)
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535)
    },
    "close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "bad UTF-8 in a close reason": (close(1000, b"\xff"), 1007),
    "bad UTF-8": (frame(TEXT, b'{"type":"message","data":"\xed\xa0\x80"}'), 1007),
    "bad UTF-8, and the message has no end": (frame(TEXT, b"\xc0", fin=False), 1007),
    "cut UTF-8": (frame(TEXT, "€".encode()[:2]), 1007),
    "binary on JSON": (frame(BINARY, b"{}"), 1003),
    "empty binary on JSON": (frame(BINARY), 1003),
    "one byte too many": (frame(TEXT, message_of(KIB_64 + 1)), 1009),
    "one byte too many, in fragments": (fragments(message_of(KIB_64 + 1), 1000), 1009),
    "one byte too many, of wide characters": (frame(TEXT, message_of(KIB_64 + 1, "𝄞")), 1009),
    "one byte too many, of wide characters in fragments": (
        fragments(message_of(KIB_64 + 1, "𝄞"), 1001),
        1009,
    ),
    "100,000 brackets": (frame(TEXT, b"[" * 100_000), 1009),
    "too many bytes, and then a ping": (frame(TEXT, message_of(KIB_64 + 1)) + frame(PING), 1009),
    "ten bad frames in a row": (frame(TEXT, b"[]") * 10, 1008),
}


@pytest.mark.parametrize("chop", [None, 1000], ids=["whole", "chopped"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_answered_with_its_close_code(name: str, chop: int | None, port: int) -> None:
    data, code = FAULTS[name]
    with member(port) as client:
        client.send(data, chop)
        *before, end = ended(client)
    assert (end.opcode, end.code) == (CLOSE, code)
    assert end.payload[2:].decode().replace("_", "").isalpha()
    assert {told(found)["type"] for found in before} <= {"error"}


def test_a_fault_is_answered_even_behind_frames_that_are_none(port: int) -> None:
    with member(port) as client:
        client.send(TALK * 3 + frame(TEXT, b"{}", rsv=1) + TALK)
        *before, end = ended(client)
    assert end.code == 1002
    assert len(before) <= 3
    assert all(told(found) == {"type": "pong"} for found in before)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"[]", "frame_invalid"),
        (b"1", "frame_invalid"),
        (b'"type"', "frame_invalid"),
        (b"null", "frame_invalid"),
        (b"{}", "frame_invalid"),
        (b'{"type":7}', "frame_invalid"),
        (b'{"type":"nosuch"}', "frame_invalid"),
        (b'{"type":"message"}', "frame_invalid"),
        (b"", "frame_malformed"),
        (b"{", "frame_malformed"),
        (b'{"type":"message","data":NaN}', "frame_malformed"),
        (b'{"type":"message","data":"\\ud800"}', "frame_malformed"),
        (b"[" * KIB_64, "frame_malformed"),
        (b'{"type":"message","data":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "frame_malformed"),
        (b'{"a":' * 12_000, "frame_malformed"),
    ],
    ids=lambda value: value[:30].decode() if isinstance(value, bytes) else value,
)
def test_a_bad_frame_is_an_error_that_a_member_survives(text: bytes, code: str, port: int) -> None:
    with member(port) as client:
        client.send(frame(TEXT, text))
        answer = told(client.receive())
        assert (answer["type"], answer["code"]) == ("error", code)
        client.send(TALK)
        assert told(client.receive()) == {"type": "pong"}


def test_good_frames_between_bad_ones_start_the_count_anew(port: int) -> None:
    with member(port) as client:
        client.send((frame(TEXT, b"[]") * 9 + TALK) * 3)
        answers = [told(client.receive())["type"] for _ in range(30)]
        assert answers == (["error"] * 9 + ["pong"]) * 3


@pytest.mark.parametrize("character", ["x", "é", "€", "𝄞"])
@pytest.mark.parametrize("size", [None, 1, 1000], ids=["one frame", "bytes", "fragments"])
def test_64_kib_exactly_are_taken(character: str, size: int | None, port: int) -> None:
    payload = message_of(KIB_64, character)
    assert len(payload) == KIB_64
    with member(port) as client:
        client.send(frame(TEXT, payload) if size is None else fragments(payload, size))
        assert told(client.receive())["type"] == "ack"
        message = told(client.receive())
    assert message["data"] == json.loads(payload)["data"]


# --- Who leaves, or stays, in a bad way ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "unfinished",
    {
        "garbage": secrets.token_bytes(64),
        "half a head": frame(TEXT, b"x" * 200)[:3],
        "half a payload": frame(TEXT, b"x" * 200)[:50],
        "half a close frame": close(1000)[:3],
        "a fragment without end": frame(TEXT, b"x", fin=False),
        "length 2^63-1": frame(TEXT, length=MOST),
        "a good frame": TALK,
        "a close frame": close(1000),
    }.items(),
    ids=lambda item: item[0],
)
@pytest.mark.parametrize("leave", [RawWebSocket.reset, RawWebSocket.send_eof], ids=["RST", "EOF"])
def test_who_leaves_in_the_middle_is_let_go(
    unfinished: tuple[str, bytes], leave: Callable[[RawWebSocket], None], port: int
) -> None:
    before = open_connections(port)
    with member(port) as client:
        client.send(unfinished[1])
        leave(client)
        if leave is RawWebSocket.send_eof:
            ended(client)
    wait_until(lambda: open_connections(port) <= before)


def open_connections(port: int) -> int:
    connections: object = get_json(port, "/stats")["connections"]["websocket"]
    assert isinstance(connections, int)
    return connections


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline


def test_nothing_is_answered_behind_the_servers_close(port: int) -> None:
    with member(port) as client:
        client.send(frame(BINARY, b"x") + frame(PING, b"a") + TALK)
        found = client.receive()
        while found is not None and found.opcode != CLOSE:
            found = client.receive()
        assert found is not None
        assert found.code == 1003
        for _ in range(20):
            client.send(frame(PING, b"b") + TALK + frame(PONG) + frame(TEXT, b"\xff"))
        client.send(close(1000))
        assert client.drain() == []


def test_too_many_bytes_are_the_reason_whatever_follows(port: int) -> None:
    before = ended_at_a_limit(port)
    with member(port) as client:
        client.send(frame(TEXT, message_of(KIB_64 + 1)) + frame(PING))
        assert [found.code for found in ended(client)] == [1009]
    wait_until(lambda: ended_at_a_limit(port) == before + 1)


def ended_at_a_limit(port: int) -> int:
    return get_json(port, "/stats")["closed"].get("room", {}).get("limit", 0)


def test_the_end_comes_though_nobody_answers_the_close(port: int) -> None:
    with member(port) as client:
        client.send(frame(BINARY, b"x"))
        assert [found.code for found in client.drain(10)] == [1003]


def test_a_ping_between_close_frames_is_not_fatal(port: int) -> None:
    with member(port) as client:
        client.send(close(1000) + frame(PING, b"x") + close(1001) + TALK)
        assert [found.code for found in ended(client)] == [1000]


# --- The handshake ------------------------------------------------------------------------------------------


def test_frames_in_the_segment_of_the_handshake_are_delivered(port: int) -> None:
    with member(port, early=TALK + frame(PING, b"early") + TALK) as client:
        answers = [client.receive() for _ in range(3)]
        assert sorted(found.payload for found in answers if found) == [
            b"early",
            b'{"type":"pong"}',
            b'{"type":"pong"}',
        ]


@pytest.mark.parametrize("cut", range(1, len(TALK)))
def test_half_a_frame_there_is_completed_by_the_rest(cut: int, port: int) -> None:
    with member(port, early=TALK[:cut]) as client:
        assert cut % 4 or client.is_quiet(QUIET_SECONDS)
        client.send(TALK[cut:])
        assert told(client.receive()) == {"type": "pong"}


def test_a_close_frame_there_is_answered(port: int) -> None:
    with RawWebSocket(port, ROOM, early=close(1000)) as client:
        *before, end = ended(client)
    assert end.code == 1000
    assert len(before) <= 1


def test_a_fault_there_is_answered(port: int) -> None:
    with RawWebSocket(port, ROOM, early=b"\xff" * 30) as client:
        *before, end = ended(client)
    assert end.code == 1002
    assert len(before) <= 1


def replaced(old: str, new: str, target: str = ROOM) -> bytes:
    """A handshake with one line another one."""
    head = upgrade(target)
    assert old.encode() in head
    return head.replace(old.encode(), new.encode("latin-1"))


KEY_LINE = f"Sec-WebSocket-Key: {KEY}\r\n"
VERSION_LINE = "Sec-WebSocket-Version: 13\r\n"

REFUSED: dict[str, tuple[bytes, int, str]] = {
    "a body by length": (upgrade(ROOM, "Content-Length: 4") + b"body", 400, "request_malformed"),
    "a chunked body": (
        upgrade(ROOM, "Transfer-Encoding: chunked") + b"4\r\nbody\r\n0\r\n\r\n",
        400,
        "request_malformed",
    ),
    "no key": (replaced(KEY_LINE, ""), 400, "request_malformed"),
    "a key of 15 bytes": (
        replaced("c2l4dGVlbiBieXRlcyBvaw==", "c2l4dGVlbiBieXRlcyBv"),
        400,
        "request_malformed",
    ),
    "a key that is not base64": (replaced("c2l4dGVlbiBieXRlcyBvaw==", "*" * 24), 400, "request_malformed"),
    "a key that is not ASCII": (replaced("c2l4dGVlbiBieXRlcyBvaw==", "\xff" * 24), 400, "request_malformed"),
    "two keys": (upgrade(ROOM, KEY_LINE.strip()), 400, "request_malformed"),
    "two versions": (upgrade(ROOM, VERSION_LINE.strip()), 426, "websocket_version_unsupported"),
    "no version": (replaced(VERSION_LINE, ""), 426, "websocket_version_unsupported"),
    "version 8": (replaced(": 13", ": 8"), 426, "websocket_version_unsupported"),
    "version \xff": (replaced(": 13", ": \xff"), 426, "websocket_version_unsupported"),
    "a foreign origin": (upgrade(ROOM, "Origin: http://evil.example"), 403, "origin_foreign"),
    "the null origin": (upgrade(ROOM, "Origin: null"), 403, "origin_foreign"),
    "an unknown path": (upgrade("/nosuch"), 404, "path_unknown"),
    "the path of a topic": (upgrade("/topics/clock/events"), 404, "path_unknown"),
    "a deeper path": (upgrade("/rooms/a/b"), 404, "path_unknown"),
    "a room with a bad name": (upgrade("/rooms/.hidden"), 400, "name_invalid"),
    "a room without a name": (upgrade("/rooms/"), 400, "name_invalid"),
    "a room with too long a name": (upgrade("/rooms/" + "x" * 129), 400, "name_invalid"),
    "a room with a slash in its name": (upgrade("/rooms/a%2Fb"), 400, "name_invalid"),
    "a room that is not UTF-8": (upgrade("/rooms/%ff"), 400, "name_invalid"),
    "only unknown subprotocols": (
        upgrade(ROOM, "Sec-WebSocket-Protocol: chat, superchat"),
        400,
        "subprotocol_unknown",
    ),
    "a subprotocol that is not ASCII": (
        upgrade(ROOM, "Sec-WebSocket-Protocol: sluiceway.v1.json, \xff"),
        400,
        "subprotocol_unknown",
    ),
    "an empty name": (upgrade(ROOM + "?name="), 400, "query_invalid"),
    "a name of 65 characters": (upgrade(ROOM + "?name=" + "x" * 65), 400, "query_invalid"),
    "a name of control characters": (upgrade(ROOM + "?name=%00%0d%0a"), 400, "query_invalid"),
    "a name that is not UTF-8": (upgrade(ROOM + "?name=%ff"), 400, "query_invalid"),
    "two names": (upgrade(ROOM + "?name=a&name=b"), 400, "query_invalid"),
    "a foreign host": (replaced("Host: localhost", "Host: evil.example"), 421, "host_foreign"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_handshake_is_refused_with_a_reason(name: str, port: int) -> None:
    data, status, code = REFUSED[name]
    answer = play(port, Exchange(name, (Send(data), WaitFor(hostile.never))))
    head, _, body = answer.data.partition(b"\r\n\r\n")
    assert answer.statuses == [status]
    assert answer.ended
    assert b"content-type: application/problem+json" in head.lower()
    assert json.loads(body)["code"] == code
    assert (b"\r\nsec-websocket-version: 13" in head.lower()) == (status == 426)


@pytest.mark.parametrize(
    "data",
    [
        replaced(" HTTP/1.1", " HTTP/1.0"),
        replaced("GET ", "POST "),
        replaced("GET ", "PUT "),
        replaced("Upgrade: websocket", "Upgrade: nosuch"),
        replaced("Connection: Upgrade", "Connection: close"),
    ],
    ids=["HTTP/1.0", "POST", "PUT", "another upgrade", "no upgrade"],
)
def test_what_is_no_handshake_is_an_ordinary_request(data: bytes, port: int) -> None:
    answer = play(port, Exchange("", (Send(data), WaitFor(hostile.has_head))))
    (status,) = answer.statuses
    assert 200 <= status < 500


@pytest.mark.parametrize("early", [b"", TALK[:5]], ids=["alone", "with half a frame"])
def test_the_known_subprotocol_is_chosen_among_unknown_ones(early: bytes, port: int) -> None:
    with member(
        port, "Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: x, sluiceway.v1.json"
    ) as client:
        assert "sec-websocket-protocol: sluiceway.v1.json" in client.head.lower()


def test_extensions_are_declined(port: int) -> None:
    with member(port, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits") as client:
        assert "sec-websocket-extensions" not in client.head.lower()
        client.send(frame(TEXT, b"x", rsv=4))
        assert [found.code for found in ended(client)] == [1002]


def test_members_have_the_names_they_asked_for(port: int) -> None:
    with RawWebSocket(port, ROOM + "?name=%F0%9D%84%9E%20a") as client:
        members = told(client.receive())["members"]
    assert isinstance(members, list)
    assert members[-1]["name"] == "𝄞 a"


# --- What ends a stock server -------------------------------------------------------------------------------


def _garbage(port: int) -> None:
    play(port, Exchange("garbage", (Send(b"\x16\x03 garbage\r\n\r\n"), Reset())))


def _ping_while_closing(port: int) -> None:
    with RawWebSocket(port, "/") as client:
        client.send(frame(TEXT, b"leave") + frame(PING))
        ended(client)


def _ping_behind_too_much(port: int) -> None:
    with RawWebSocket(port, "/") as client:
        client.send(frame(TEXT, b"x" * (1 << 20 | 1)) + frame(PING))
        ended(client)


def _subprotocol(port: int) -> None:
    data = upgrade("/", "Sec-WebSocket-Protocol: \xff")
    play(port, Exchange("subprotocol", (Send(data), WaitFor(hostile.never))))


def _careless_handler(port: int) -> None:
    with RawWebSocket(port, "/careless") as client:
        client.send(close(1000))
        ended(client)


@pytest.mark.parametrize(
    ("exchange", "dies_of"),
    [
        (_garbage, "ConnectionClosed"),
        (_ping_while_closing, "LocalProtocolError"),
        (_ping_behind_too_much, "LocalProtocolError"),
        (_subprotocol, "UnicodeDecodeError"),
        (_careless_handler, "ConnectionClosed"),
    ],
)
def test_a_stock_server_dies_of_it(exchange: Callable[[int], None], dies_of: str, tmp_path: Path) -> None:
    errors = tmp_path / "stderr"
    with stock_server(errors, "tests.transport.stock_rooms") as (process, port):
        for _ in range(20):
            try:
                exchange(port)
                process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                continue
            except ConnectionError:
                process.wait(timeout=5)
            break
        assert process.poll() is not None
    assert dies_of in errors.read_text(errors="replace")


@pytest.mark.parametrize("cut", [None, 5], ids=["a frame", "half a frame"])
def test_a_stock_server_drops_what_comes_with_the_handshake(cut: int | None, tmp_path: Path) -> None:
    sent = frame(TEXT, b"early")
    with stock_server(tmp_path / "stderr", "tests.transport.stock_rooms") as (_, port):
        with RawWebSocket(port, "/", early=sent[:cut]) as client:
            client.send(b"" if cut is None else sent[cut:])
            assert client.is_quiet(0.3) or cut is not None


def test_garbage_in_place_of_a_head_is_answered(port: int) -> None:
    for _ in range(20):
        _garbage(port)
    answer = play(port, Exchange("garbage", (Send(b"\x16\x03 garbage\r\n\r\n"), WaitFor(hostile.never))))
    assert answer.statuses == [400]
