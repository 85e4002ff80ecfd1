"""Byte exchanges that end, or fool, a stock Hypercorn 0.18 on Trio.

Each is data: what to send, what to wait for, how to leave.  `FATAL` are those after which the process is
gone, each with the exception it dies of; `WRONG` those that get a wrong answer.  `play` is the client for
both.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

PATIENCE = 5.0
"""How many seconds a step waits for its answer; a server may also stay silent, so that is no failure."""

_LINGER_AND_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Send:
    """Write these bytes in one go."""

    data: bytes


@dataclass(frozen=True)
class WaitFor:
    """Read until all that was received satisfies `enough`, the peer ends, or patience does."""

    enough: Callable[[bytes], bool]


@dataclass(frozen=True)
class Reset:
    """Leave with RST, not FIN."""


Step = Send | WaitFor | Reset


@dataclass(frozen=True)
class Exchange:
    """A named sequence of steps on one connection.

    `dies_of` is the last line of a stock server's traceback, in part; `tries` is how often it takes to hit a
    race, 1 where there is none.
    """

    name: str
    steps: tuple[Step, ...]
    dies_of: str = ""
    tries: int = 1


@dataclass(frozen=True)
class Answer:
    """All bytes the server sent, and whether it then closed."""

    data: bytes
    ended: bool

    @property
    def statuses(self) -> list[int]:
        """The status codes of the HTTP/1.1 answers in it."""
        pieces = self.data.split(b"HTTP/1.1 ")
        return [int(piece[:3]) for piece in pieces[1:]]


def play(port: int, exchange: Exchange, *, patience: float = PATIENCE) -> Answer:
    """Play `exchange` against 127.0.0.1:`port`.

    A connection that breaks on the way is an answer too: it ended.
    """
    received = bytearray()
    ended = False
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as sock:
        try:
            for step in exchange.steps:
                match step:
                    case Send(data):
                        sock.sendall(data)
                    case WaitFor(enough):
                        ended = ended or _read_until(sock, received, enough, patience)
                    case Reset():
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_AND_RESET)
        except (ConnectionError, TimeoutError):
            ended = True
    return Answer(bytes(received), ended)


def _read_until(
    sock: socket.socket, received: bytearray, enough: Callable[[bytes], bool], patience: float
) -> bool:
    """Read into `received`; whether the peer has ended."""
    deadline = time.monotonic() + patience
    while not enough(bytes(received)):
        sock.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            data = sock.recv(65536)
        except TimeoutError:
            return False
        if not data:
            return True
        received += data
    return False


def has_head(data: bytes) -> bool:
    """Whether an HTTP/1.1 answer's head is whole."""
    return b"\r\n\r\n" in data


def never(data: bytes) -> bool:
    """Wait for the peer's end."""
    return False


def has_h2_answer(data: bytes) -> bool:
    """Whether stream 1 of an HTTP/2 connection was ended or reset by the server (RFC 9113, section 4.1)."""
    while len(data) >= 9:
        length, kind, flags = int.from_bytes(data[:3], "big"), data[3], data[4]
        stream = int.from_bytes(data[5:9], "big")
        if stream == 1 and ((kind in (0, 1) and flags & 1) or kind == 3):
            return True
        data = data[9 + length :]
    return False


# --- HTTP/2, written by hand: the server's own library refuses to write most of it --------------------------

_DATA, _HEADERS, _PRIORITY, _SETTINGS = 0, 1, 2, 4
_END_STREAM, _END_HEADERS = 1, 4


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _field_block(*fields: tuple[bytes, bytes]) -> bytes:
    """HPACK literals without indexing and without Huffman coding (RFC 7541, section 6.2.2)."""
    return b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, b"")


def _h2_request(method: bytes, path: bytes | None, *, flags: int = _END_HEADERS | _END_STREAM) -> bytes:
    fields = [(b":method", method), (b":scheme", b"http"), (b":authority", b"localhost")]
    if path is None:
        del fields[1]
    else:
        fields.append((b":path", path))
    return _frame(_HEADERS, flags, 1, _field_block(*fields))


def _h2_body_after_the_answer(name: str, path: bytes) -> Exchange:
    return Exchange(
        name,
        (
            Send(PREFACE + _h2_request(b"POST", path, flags=_END_HEADERS)),
            WaitFor(has_h2_answer),
            Send(_frame(_DATA, _END_STREAM, 1, b"late")),
            WaitFor(never),
        ),
        "KeyError",
    )


# --- HTTP/1.1 and WebSocket handshakes ----------------------------------------------------------------------


def _upgrade(*extra: bytes, target: bytes = b"/ws", connection: bytes = b"Upgrade") -> bytes:
    return b"\r\n".join(
        [
            b"GET " + target + b" HTTP/1.1",
            b"Host: localhost",
            b"Connection: " + connection,
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            *extra,
            b"",
            b"",
        ]
    )


# "hi", masked with zeros (RFC 6455, section 5.2)
_TEXT_FRAME = b"\x81\x82\0\0\0\0hi"

H2_PRIOR_KNOWLEDGE = (
    _h2_body_after_the_answer("h2 POST to a 404, then DATA", b"/nosuch"),
    _h2_body_after_the_answer("h2 POST to a 405, then DATA", b"/"),
    Exchange(
        r"h2 :path with \xff",
        (Send(PREFACE + _h2_request(b"GET", b"/\xff")), WaitFor(never)),
        "UnicodeDecodeError",
    ),
    Exchange(
        r"h2 :method with \xff",
        (Send(PREFACE + _h2_request(b"G\xff", b"/")), WaitFor(never)),
        "UnicodeDecodeError",
    ),
    Exchange(
        "h2 CONNECT without :path",
        (Send(PREFACE + _h2_request(b"CONNECT", None)), WaitFor(never)),
        "UnboundLocalError",
    ),
    Exchange(
        "h2 1,500 PRIORITY frames",
        (
            Send(PREFACE + b"".join(_frame(_PRIORITY, 0, 2 * n + 1, b"\0\0\0\0\x0f") for n in range(1500))),
            WaitFor(never),
        ),
        "TooManyStreamsError",
    ),
)

H2C_UPGRADE = Exchange(
    "h2c upgrade with bad settings",
    (
        Send(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: A\r\n\r\n"
        ),
        WaitFor(has_head),
    ),
    "binascii.Error",
)

WEBSOCKET_UPGRADES = (
    Exchange(
        "websocket upgrade with a frame in the same segment",
        (Send(_upgrade() + _TEXT_FRAME), WaitFor(has_head)),
        "LocalProtocolError",
    ),
    Exchange(
        "websocket upgrade with a body",
        (Send(_upgrade(b"Content-Length: 5") + b"hello"), WaitFor(has_head)),
        "LocalProtocolError",
    ),
)

UNDECODABLE_HEADERS = tuple(
    Exchange(rf"\xff in {name}", (Send(request), WaitFor(has_head)), "UnicodeDecodeError")
    for name, request in {
        "Sec-WebSocket-Protocol": _upgrade(b"Sec-WebSocket-Protocol: \xff"),
        "Sec-WebSocket-Extensions": _upgrade(b"Sec-WebSocket-Extensions: \xff"),
        "Connection": _upgrade(connection=b"Upgrade, \xff"),
    }.items()
)

BODY_RACES = (
    Exchange(
        "chunked POST to a 404 with a bad chunk size",
        (
            Send(b"POST /nosuch HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Send(b"zz\r\n"),
            WaitFor(has_head),
            Reset(),
        ),
        "BusyResourceError",
        tries=60,
    ),
    Exchange(
        "HTTP/1.0 keep-alive with more body than announced",
        (
            Send(
                b"OPTIONS /nosuch HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n"
                b"Content-Length: 10\r\n\r\n" + b"x" * 5000
            ),
            WaitFor(never),
        ),
        "BusyResourceError",
        tries=60,
    ),
)

FATAL = (
    *BODY_RACES,
    *WEBSOCKET_UPGRADES,
    *UNDECODABLE_HEADERS,
    H2C_UPGRADE,
    *H2_PRIOR_KNOWLEDGE,
)

TWO_LENGTHS = Exchange(
    "Content-Length together with Transfer-Encoding",
    (
        Send(
            b"POST /topics/hostile HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
            b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ),
        WaitFor(never),
    ),
)

BAD_TARGETS = tuple(
    Exchange(
        f"target {target.decode()}",
        (
            Send(b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
            WaitFor(has_head),
        ),
    )
    for target in (b"?a=b", b"http://[/x")
)

UNFINISHED_UPLOAD = Exchange(
    "an upload that stops and goes away",
    (
        Send(
            b"POST /topics/hostile HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
            b"Content-Length: 100\r\n\r\nhalf"
        ),
        Reset(),
    ),
)

WEBSOCKET_TO_NOWHERE = Exchange(
    "websocket upgrade to an unknown path",
    (Send(_upgrade(target=b"/nosuch")), WaitFor(never)),
)

STREAM_THEN_PIPELINED = Exchange(
    "an event stream with a request pipelined behind it, then RST",
    (
        Send(
            b"GET /topics/clock/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
            b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ),
        WaitFor(has_head),
        Reset(),
    ),
)

WRONG = (TWO_LENGTHS, *BAD_TARGETS)
