"""A WebSocket client that sends exactly the bytes it is told to, also wrong ones, over a blocking socket.

`frame` makes one client frame of any bits, opcode, mask and announced length.  `RawWebSocket` opens a
connection, sends bytes whole or chopped, and reads frames strictly: what a server must not send (a mask, a
reserved bit, a length that is not minimal, anything behind its close frame) fails the test.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import time
from types import TracebackType
from typing import NamedTuple, Self

PATIENCE = 5.0
"""Seconds that an answer may take."""

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

KEY = base64.b64encode(b"sixteen bytes ok").decode()
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
ACCEPT = base64.b64encode(hashlib.sha1((KEY + _GUID).encode()).digest()).decode()
MASK = b"\xa5\x1b\x00\xff"

_LINGER_AND_RESET = struct.pack("ii", 1, 0)


class Frame(NamedTuple):
    """One frame from the server."""

    opcode: int
    payload: bytes
    fin: bool = True

    @property
    def code(self) -> int:
        """A close frame's code; 1005 where it has none."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else 1005


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    length: int | None = None,
    length_bytes: int | None = None,
) -> bytes:
    """A client's frame (RFC 6455, section 5.2).

    Args:
        opcode: 0 to 15.
        payload: before it is masked.
        fin: whether it is the last one of its message.
        rsv: the three reserved bits, as a number.
        mask: None leaves it unmasked.
        length: what the head announces, if not the payload's length.
        length_bytes: how the length is written: 0, 2 or 8 bytes behind the short one, if not the fewest.
    """
    length = len(payload) if length is None else length
    if length_bytes is None:
        length_bytes = 0 if length < 126 else 2 if length < 1 << 16 else 8
    short = {0: length, 2: 126, 8: 127}[length_bytes]
    head = bytes((fin << 7 | rsv << 4 | opcode, (mask is not None) << 7 | short))
    head += length.to_bytes(length_bytes, "big") if length_bytes else b""
    if mask is None:
        return head + payload
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return head + mask + masked.to_bytes(len(payload), "big")


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """A client's close frame."""
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def upgrade(target: str, *headers: str, key: str = KEY) -> bytes:
    """A handshake's head, with more `headers`, each as one line."""
    lines = (
        f"GET {target} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        *headers,
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class RawWebSocket:
    """A connection to `target` on 127.0.0.1:`port`; `early` is sent with the handshake, in one segment."""

    def __init__(self, port: int, target: str, *headers: str, early: bytes = b"") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._buffer = b""
        self._closed = False
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.send(upgrade(target, *headers) + early)
            while b"\r\n\r\n" not in self._buffer:
                assert self._read(), f"the connection ended in the handshake: {self._buffer!r}"
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            self.head = head.decode("latin-1")
            assert self.head.startswith("HTTP/1.1 101 "), self.head
            assert f"sec-websocket-accept: {ACCEPT}".lower() in self.head.lower()
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, data: bytes, chop: int | None = None) -> None:
        """Write `data`, in writes of at most `chop` bytes; what a server does not take any more is lost."""
        pieces = [data] if chop is None else [data[i : i + chop] for i in range(0, len(data), chop)]
        try:
            for piece in pieces:
                self._socket.sendall(piece)
        except ConnectionError:
            return

    def receive(self, patience: float = PATIENCE) -> Frame | None:
        """The next frame; None where the server has ended the connection.

        Raises:
            TimeoutError: neither came within `patience` seconds.
            AssertionError: a frame is not as a server's has to be.
        """
        deadline = time.monotonic() + patience
        while (found := self._next_frame()) is None:
            if not self._read(deadline):
                assert not self._buffer, f"the connection ended within a frame: {self._buffer!r}"
                return None
        assert not self._closed, f"behind its close frame the server sent {found}"
        self._closed = found.opcode == CLOSE
        return found

    def is_quiet(self, seconds: float) -> bool:
        """Whether nothing comes within `seconds`, neither a frame nor the end."""
        try:
            self.receive(seconds)
        except TimeoutError:
            return True
        return False

    def drain(self, patience: float = PATIENCE) -> list[Frame]:
        """All frames until the server ends the connection."""
        frames = []
        while (found := self.receive(patience)) is not None:
            frames.append(found)
        return frames

    def send_eof(self) -> None:
        """Half-close."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leave with RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_AND_RESET)
        self._socket.close()

    def _read(self, deadline: float | None = None) -> bool:
        """Read more; whether there was any."""
        self._socket.settimeout(PATIENCE if deadline is None else max(0.001, deadline - time.monotonic()))
        data = self._socket.recv(1 << 16)
        self._buffer += data
        return bool(data)

    def _next_frame(self) -> Frame | None:
        if len(self._buffer) < 2:
            return None
        first, length = self._buffer[:2]
        assert first & 0x70 == 0, "reserved bits in a server's frame"
        assert length < 128, "a mask in a server's frame"
        size = {126: 2, 127: 8}.get(length, 0)
        if len(self._buffer) < 2 + size:
            return None
        if size:
            length = int.from_bytes(self._buffer[2 : 2 + size], "big")
            assert length > (125 if size == 2 else 0xFFFF), "a length that is not minimal"
        end = 2 + size + length
        if len(self._buffer) < end:
            return None
        payload, self._buffer = self._buffer[2 + size : end], self._buffer[end:]
        opcode = first & 15
        assert opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)
        assert opcode < CLOSE or (first & 0x80 and length < 126), "not a control frame"
        return Frame(opcode, payload, bool(first & 0x80))
