"""WebSockets: trio-websocket on our ordered stream.

trio-websocket (0.12.2) does the protocol: handshake, frames, fragments, masking, replies to pings and
closes.  Between it and the socket stands `_Wire`, which

- gives it exactly one request head, made anew from what was checked, so that nothing a client can write
  there reaches its parser, and holds later bytes back until the handshake is answered (it drops those that
  come with the head);
- keeps the close frame with which it answers the client's until `close` sends it: it would wait behind what
  is being written, and its reader with it, so that nobody would learn of the end until then;
- lets nothing follow a close frame, whoever sends, and ends the reading once nothing can be written: its
  reader would wait for more with nobody told;
- joins the pieces of an unfinished message, of which it keeps one for each read and each fragment, also the
  empty ones;
- names the close codes that it sends by itself with our own words.

Leaned on: `wrap_server_stream`, `WebSocketRequest.accept`, `get_message`, `closed`, `_message_parts`,
`_wsproto`, whose inner `Connection` does all that is asked of it after the handshake and is `CLOSED` once it
has made its answer to a close frame, and that each call of
the stream's `send_all` begins with a frame (tests/transport/test_neighbours.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import trio
import trio_websocket
from wsproto.connection import ConnectionState
from wsproto.utilities import LocalProtocolError

from ..lifecycle import RequestHead
from ..wire.problem import Problem
from ..wire.websocket import CloseCode, close_frame, is_close_frame, is_key
from .connection import Connection, ConnectionEndedError
from .writes import OrderedStream, Sent

HANDSHAKE_SECONDS = 10.0
CLOSE_SECONDS = 2.0
"""How long a peer may take to answer a close frame."""
RECEIVE_BYTES = 16 * 1024

_OWN_WORDS = {
    CloseCode.PROTOCOL_ERROR: "protocol_error",
    CloseCode.INVALID_TEXT: "text_malformed",
    CloseCode.TOO_BIG: "frame_too_large",
}


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A handshake that is to be accepted: with which subprotocol, messages of at most how many bytes, and
    what runs then.

    `run` may return at any time; the connection is closed after it, with 1000 where `run` did not close it
    itself.  `too_big` is the close code for a larger message, where the standard one would not do.
    """

    run: Callable[[Connection], Awaitable[None]]
    subprotocol: str | None = None
    max_message: int = 64 * 1024
    too_big: CloseCode = CloseCode.TOO_BIG


WebSocketDoor = Callable[[RequestHead], Acceptance | Problem]
"""Looks at a handshake's head: who wants in, and to what."""


def check_handshake(head: RequestHead) -> Problem | None:
    """What RFC 6455, section 4.2.1, asks of a handshake beyond being an upgrade."""
    if (head.header("content-length") or "0") != "0" or head.header("transfer-encoding") is not None:
        return Problem("request_malformed", "A WebSocket handshake has no body.")
    if list(head.header_values("sec-websocket-version")) != ["13"]:
        return Problem(
            "websocket_version_unsupported",
            "This server speaks WebSocket version 13.",
            headers={"Sec-WebSocket-Version": "13"},
        )
    keys = list(head.header_values("sec-websocket-key"))
    if len(keys) != 1 or not is_key(keys[0]):
        return Problem("request_malformed", "Sec-WebSocket-Key is not 16 bytes in base64, once.")
    if not all(name.isascii() and name.isprintable() for name in offered_subprotocols(head)):
        return Problem("subprotocol_unknown", "A subprotocol's name is not ASCII.")
    return None


def offered_subprotocols(head: RequestHead) -> list[str]:
    """The subprotocols that the client offers, in its order."""
    values = head.header_values("sec-websocket-protocol")
    return [name for value in values for part in value.split(",") if (name := part.strip())]


async def serve_websocket(stream: OrderedStream, head: RequestHead, early: bytes, accept: Acceptance) -> None:
    """Answer the handshake in `head`, run `accept.run` on the connection, and close it.

    `early` is what the client has sent behind the head.

    Raises:
        trio.BrokenResourceError: the peer went away in the middle of a write.
    """
    wire = _Wire(stream, _handshake_bytes(head, accept.subprotocol), early, accept.too_big)
    # What follows may take hours, and has no use for them.
    del head, early
    try:
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(HANDSHAKE_SECONDS) as handshake:
                websocket = await _shake_hands(nursery, wire, accept)
            if handshake.cancelled_caught:
                raise trio.BrokenResourceError("the client did not take the answer to its handshake")
            wire.open(websocket)
            connection = WebSocketConnection(wire, websocket, accept.max_message)
            await accept.run(connection)
            await connection.close(CloseCode.NORMAL, "")
            nursery.cancel_scope.cancel()
    except* (LocalProtocolError, trio_websocket.ConnectionClosed):
        # Its reader task lets these out: behind the close frame with which it has answered a fault it cannot
        # answer a ping, and a write of its own can find the connection gone.  Both mean what `receive` says:
        # it is over.
        stream.mark_broken()
    finally:
        wire.let_go()


async def _shake_hands(
    nursery: trio.Nursery, wire: _Wire, accept: Acceptance
) -> trio_websocket.WebSocketConnection:
    request = await trio_websocket.wrap_server_stream(
        nursery, wire, max_message_size=accept.max_message, receive_buffer_size=RECEIVE_BYTES
    )
    websocket = await request.accept(subprotocol=accept.subprotocol)
    # wsproto's two halves, handshake and frames, look the same to trio-websocket.  The first is done with;
    # its parser and the request in it would be kept as long as the connection.
    established = websocket._wsproto.connection
    assert established is not None
    websocket._wsproto = established  # type: ignore[assignment]  # of another class, with the same methods
    return websocket


class WebSocketConnection:
    """A `Connection` over trio-websocket."""

    def __init__(self, wire: _Wire, websocket: trio_websocket.WebSocketConnection, max_message: int) -> None:
        self._wire = wire
        self._websocket = websocket
        self._max_message = max_message
        self._closing = False

    @property
    def bytes_sent(self) -> int:
        """Bytes taken off the writer's hands so far."""
        return self._wire.ordered.bytes_sent

    @property
    def last_heard(self) -> float:
        """Trio's clock when the last byte came; now, where what came before has not been received yet, and
        nobody reads on.
        """
        return self._wire.last_heard if self._wire.is_reading else trio.current_time()

    @property
    def refused_at(self) -> float | None:
        """Trio's clock when the kernel began to refuse bytes; None where it does not."""
        return self._wire.ordered.refused_at

    def try_send(self, frame: bytes) -> Sent:
        """See `Connection.try_send`."""
        return self._wire.ordered.try_send(frame)

    async def send_all(self, data: bytes) -> None:
        """See `Connection.send_all`."""
        await self._wire.ordered.send_all(data)

    async def receive(self) -> str | bytes:
        """See `Connection.receive`."""
        try:
            message = await self._websocket.get_message()
        except trio_websocket.ConnectionClosed as closed:
            code = closed.reason.code if closed.reason is not None else CloseCode.ABNORMAL
            raise ConnectionEndedError(code, ours=self._closing) from None
        # trio-websocket counts characters; four bytes each at most have been held.
        if isinstance(message, str) and len(message.encode()) > self._max_message:
            await self.close(self._wire.too_big, _OWN_WORDS[CloseCode.TOO_BIG])
            raise ConnectionEndedError(CloseCode.TOO_BIG, ours=True)
        return message

    async def close(self, code: int, reason: str) -> None:
        """See `Connection.close`."""
        frame = self._close_frame(code, reason)
        self._closing = True
        with trio.move_on_after(CLOSE_SECONDS), suppress(trio.BrokenResourceError):
            # Past trio-websocket: it would fail on a ping that comes behind its own close frame, and take
            # the close frame down with it.
            if frame is not None and not self._wire.close_sent:
                await self._wire.send_close(frame)
            with suppress(trio_websocket.ConnectionClosed):
                while True:
                    await self._websocket.get_message()

    def _close_frame(self, code: int, reason: str) -> bytes | None:
        """The frame to close with; None where the connection has ended without a word."""
        ended = self._websocket.closed
        if ended is None:
            return close_frame(code, reason)
        # What wsproto could not parse ends the connection, and no frame says so.
        has_words = ended.code in _OWN_WORDS
        return self._wire.answer or (self._wire.in_our_words(ended.code) if has_words else None)


class _Wire(trio.abc.Stream):
    """The stream that trio-websocket is given."""

    def __init__(self, ordered: OrderedStream, handshake: bytes, early: bytes, too_big: CloseCode) -> None:
        self.ordered = ordered
        self.too_big = too_big
        self.close_sent = False
        self.answer: bytes | None = None
        """The close frame with which trio-websocket answers the client's; to be sent."""
        self.last_heard = trio.current_time()
        self.is_reading = False
        """Whether trio-websocket's reader waits here, and not for somebody to take what it has read."""
        self._handshake = handshake
        self._early = early
        # None once it has been: an event is for those that wait.
        self._opening: trio.Event | None = trio.Event()
        self._closed = False
        self._websocket: trio_websocket.WebSocketConnection | None = None
        self._parts: list[str | bytes] = []
        self._joined = 0

    def open(self, websocket: trio_websocket.WebSocketConnection) -> None:
        """The handshake has been answered: let what the client sent go through."""
        self._websocket = websocket
        if self._opening is not None:
            self._opening.set()
            self._opening = None

    def let_go(self) -> None:
        """Nobody reads or writes any more.  The two know each other: what one connection has kept would
        otherwise wait for the collector of cycles.
        """
        self._websocket = None

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._handshake:
            await trio.lowlevel.checkpoint()
            handshake, self._handshake = self._handshake, b""
            return handshake
        if self._opening is not None:
            await self._opening.wait()
        if self._closed:
            raise trio.ClosedResourceError("the connection has been closed")
        if self._early:
            await trio.lowlevel.checkpoint()
            early, self._early = self._early, b""
            return early
        self._join_fragments()
        self.is_reading = True
        try:
            data = await self.ordered.stream.receive_some(max_bytes)
        finally:
            self.is_reading = False
        self.last_heard = trio.current_time()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the connection has been closed")
        if self.close_sent or self.answer is not None:
            # A pong, or the reply to the client's own close frame.
            await trio.lowlevel.checkpoint()
            return
        frame = bytes(data)
        # Where this waits, the peer takes nothing: its silence counts.
        self.is_reading = True
        try:
            if self._opening is not None or not is_close_frame(frame):
                await self.ordered.send_all(frame)
            elif self._is_answer():
                self.answer = frame
                await trio.lowlevel.checkpoint()
            else:
                await self.send_close(self._reworded(frame))
        except trio.BrokenResourceError:
            self._closed = True
            raise
        finally:
            self.is_reading = False

    def _is_answer(self) -> bool:
        """Whether the close frame that trio-websocket sends now is the second one: the client's was first."""
        assert self._websocket is not None
        return self._websocket._wsproto.state is ConnectionState.CLOSED

    async def send_close(self, frame: bytes) -> None:
        """Write the close frame, and let nothing follow it."""
        self.close_sent = True
        try:
            await self.ordered.send_all(frame)
        finally:
            self.ordered.mark_broken()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        # The socket is closed by the connection's frame, after it has lingered: closing it here, with bytes
        # unread, would reset it, and the reset would overtake the close frame.
        self._closed = True
        await trio.lowlevel.checkpoint()

    def in_our_words(self, code: int) -> bytes:
        """The close frame for one of the codes that have words of ours."""
        return close_frame(self.too_big if code == CloseCode.TOO_BIG else code, _OWN_WORDS[CloseCode(code)])

    def _reworded(self, frame: bytes) -> bytes:
        code = int.from_bytes(frame[2:4], "big")
        return self.in_our_words(code) if code in _OWN_WORDS else frame

    def _join_fragments(self) -> None:
        """Put what the last read brought of a message to what is there of it."""
        assert self._websocket is not None
        parts = self._websocket._message_parts
        if parts is not self._parts:
            self._parts, self._joined = parts, 0
        new = parts[self._joined :]
        if new:
            whole = new[0][:0].join(new)  # type: ignore[arg-type]  # all text or all bytes
            del parts[self._joined :]
            # Each piece stays longer than the next, so they are few, and none is copied often.
            while whole and parts and len(parts[-1]) <= len(whole):
                whole = parts.pop() + whole  # type: ignore[operator]
            if whole:
                parts.append(whole)
            self._joined = len(parts)


def _handshake_bytes(head: RequestHead, subprotocol: str | None) -> bytes:
    """The handshake as trio-websocket is to see it: only what it reads, and that has been checked."""
    target = head.path + ("?" + head.query if head.query else "")
    protocol = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol is not None else ""
    return (
        f"GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {head.header('sec-websocket-key')}\r\n"
        f"{protocol}\r\n"
    ).encode("ascii")
