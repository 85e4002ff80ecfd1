"""A WebSocket client over any stream: the handshake by hand, the frames by wsproto."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import trio
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from .frames import Close, Frame, FrameReader, PingFrame

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""Key and answer of RFC 6455, section 1.3."""
NO_CODE = 1005
"""What a close frame without a code counts as (section 7.4.1)."""


class HandshakeError(Exception):
    """The server did not accept; `status` and `head` are its answer's."""

    def __init__(self, head: str) -> None:
        super().__init__(head)
        self.head = head
        self.status = int(head.split()[1])


class WebSocketPeer:
    """One client.  It answers pings and closes as it reads them, unless told otherwise."""

    def __init__(self, stream: trio.abc.Stream, head: str, early: bytes) -> None:
        self.answers = True
        self.head = head
        self._stream = stream
        self._reader = FrameReader(early)

    @classmethod
    async def connect(
        cls,
        stream: trio.abc.Stream,
        target: str,
        *,
        host: str = "localhost",
        subprotocols: Sequence[str] = (),
        early: bytes = b"",
    ) -> Self:
        """Shake hands over `stream`; `early` is sent in the same breath as the handshake.

        Raises:
            HandshakeError: the server answered otherwise than with 101.
            EOFError: it did not answer.
        """
        offered = f"Sec-WebSocket-Protocol: {', '.join(subprotocols)}\r\n" if subprotocols else ""
        request = (
            f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{offered}\r\n"
        )
        await stream.send_all(request.encode() + early)
        received = b""
        while b"\r\n\r\n" not in received:
            data = await stream.receive_some(65536)
            if not data:
                raise EOFError(received)
            received += data
        head, _, rest = received.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise HandshakeError(received.decode())
        assert f"sec-websocket-accept: {ACCEPT}".lower() in head.decode().lower()
        return cls(stream, head.decode(), rest)

    async def receive(self) -> Frame:
        """The next frame.

        Raises:
            EOFError: the server has ended the connection.
            trio.BrokenResourceError: the connection broke.
        """
        await trio.lowlevel.checkpoint()
        while (frame := self._reader.pop()) is None:
            data = await self._stream.receive_some(65536)
            if not data:
                raise EOFError
            self._reader.feed(bytes(data))
        if self.answers:
            if isinstance(frame, PingFrame):
                await self._send(Pong(payload=frame.payload))
            elif isinstance(frame, Close) and self._reader.protocol.state.name == "REMOTE_CLOSING":
                await self.close(frame.code)
        return frame

    async def send(self, message: str | bytes) -> None:
        """Send a message."""
        await self._send(
            TextMessage(data=message) if isinstance(message, str) else BytesMessage(data=message)
        )

    async def ping(self, payload: bytes = b"") -> None:
        """Send a ping."""
        await self._send(Ping(payload=payload))

    async def close(self, code: int = 1000) -> None:
        """Send a close frame; 1005 for one without a code."""
        # wsproto knows "no code" by its own name for it alone.
        await self._send(CloseConnection(code=CloseReason(code) if code == NO_CODE else code))

    async def aclose(self) -> None:
        """Leave without a word."""
        await trio.aclose_forcefully(self._stream)

    async def _send(self, event: Event) -> None:
        await self._stream.send_all(self._reader.protocol.send(event))
