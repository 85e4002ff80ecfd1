"""Ordered writes: one object decides what leaves a socket, and in which order.

Several tasks write to a connection (the stream's writer, a WebSocket's pong, the heartbeat) and the hub's
loop writes to
it without being a task of its own.  The model, once:

- `send_all` takes its turn, waits for the peer, and writes everything.
- `try_send` offers one ready-made frame to the kernel and never waits.  It does so only while nothing else
  is under way. What the kernel did not take of it is kept as the *rest*.
- While there is a rest, or a `send_all` under way or waiting, `try_send` takes nothing.  Every `send_all`
  writes the rest before its own bytes.  So the bytes of one frame are never torn apart, and frames never
  change places.
- A cancelled `send_all` has sent an unknown part.  The stream is broken from then on.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NoReturn, Protocol, runtime_checkable

import trio

from .sockets import TcpStream


class Sent(enum.Enum):
    """What became of a frame offered to `try_send`."""

    SENT = enum.auto()
    """The kernel took all of it."""
    KEPT = enum.auto()
    """The kernel took a part; the stream holds the rest.

    Somebody has to call `send_all`, with b"" if need be.
    """
    BUSY = enum.auto()
    """Nothing was taken: queue it, and send it with `send_all`."""
    GONE = enum.auto()
    """The peer is gone, or the stream closed.  Nothing more can be sent."""


class Framing(enum.Enum):
    """How the bytes of a response body stand on the wire."""

    CHUNKED = enum.auto()
    """The chunked transfer coding, of HTTP/1.1 where no length is known."""
    IDENTITY = enum.auto()
    """As they are: HTTP/1.0, a known length, ASGI."""


class ByteStream(Protocol):
    """What a stream's writer has of its connection."""

    framing: Framing
    bytes_sent: int
    """Bytes taken off the writer's hands so far."""

    def try_send(self, frame: bytes) -> Sent:
        """Offer one frame, already framed as `framing` says.  Never waits, never raises."""

    async def send_all(self, data: bytes) -> None:
        """Write `data`, already framed, after all that was sent before.

        A cancelled call breaks the stream.
        """


Headers = list[tuple[bytes, bytes]]


@runtime_checkable
class HeadHolder(Protocol):
    """A connection that holds the head of an answer back until something is sent behind it."""

    framing: Framing

    def replace_head(self, status: int, headers: Headers) -> None:
        """Let the head that is held be that of another answer: with `status`, and with `headers` in place of
        what described the body (`DESCRIBING`).  Its body is not framed.

        Only before anything was sent.  Never waits.
        """


DESCRIBING = frozenset(
    {
        b"content-disposition",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"etag",
        b"last-modified",
        b"transfer-encoding",
    }
)
"""Headers that describe a body, in lower case."""


class OrderedStream:
    """The ordered writes of one connection, over TCP, TLS or, in tests, memory."""

    __slots__ = ("_broken", "_queue", "_rest", "_send_nowait", "_stream", "_writers", "bytes_sent", "framing")

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        # Only plain TCP can be written to without waiting: TLS has a state between the bytes and the socket.
        self._send_nowait: Callable[[bytes], int] = (
            stream.send_nowait if isinstance(stream, TcpStream) else _never_now
        )
        self._writers = 0
        """Calls of `send_all` that write or wait; the first of them writes."""
        # Only where calls met: most connections have one writer at a time, and would keep it for nothing.
        self._queue: trio.lowlevel.ParkingLot | None = None
        self._rest = b""
        self._broken = False
        self.bytes_sent = 0
        self.framing = Framing.IDENTITY

    @property
    def stream(self) -> trio.abc.Stream:
        """The stream below, for reading, half-closing and closing."""
        return self._stream

    @property
    def refused_at(self) -> float | None:
        """Trio's clock when the kernel began to refuse bytes that are to be written; None where it does not,
        or where that is not known.
        """
        stream = self._stream
        while isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        return stream.refused_at if isinstance(stream, TcpStream) else None

    @property
    def broken(self) -> bool:
        """Whether nothing more can be sent."""
        return self._broken

    def try_send(self, frame: bytes) -> Sent:
        """Offer one frame to the kernel.  Never waits and never raises."""
        if self._broken:
            return Sent.GONE
        if self._writers or self._rest:
            # Somebody else's write, a pong say, is no sign that the peer is gone.
            return Sent.BUSY
        try:
            taken = self._send_nowait(frame)
        except BlockingIOError:
            return Sent.BUSY
        except OSError:
            self._broken = True
            return Sent.GONE
        self.bytes_sent += taken
        if taken == len(frame):
            return Sent.SENT
        self._rest = frame[taken:]
        return Sent.KEPT

    def hold(self, data: bytes) -> None:
        """Keep `data`, to leave before all that is sent from now on, in one write with it."""
        self._rest += data

    def replace_head(self, status: int, headers: Headers) -> None:
        """See `HeadHolder`."""
        _, *lines = self._rest.removesuffix(b"\r\n\r\n").split(b"\r\n")
        kept = [line for line in lines if line.partition(b":")[0].strip().lower() not in DESCRIBING]
        added = [name + b": " + value for name, value in headers]
        self._rest = b"\r\n".join([b"HTTP/1.1 %d " % status, *kept, *added, b"", b""])
        self.framing = Framing.IDENTITY

    async def send_all(self, data: bytes) -> None:
        """Write the rest, where there is one, then `data`.

        Raises:
            WriteDeadlineError: the peer took no byte within the write deadline.
            trio.BrokenResourceError: the connection broke, now or before.
        """
        if self._broken:
            _raise_broken()
        # Nothing has been sent yet: a cancellation up to here breaks nothing.
        await trio.lowlevel.checkpoint_if_cancelled()
        # Counted before the first wait: from here on `try_send` must not overtake.
        self._writers += 1
        if self._writers > 1:
            await self._wait_turn()
        try:
            if self._broken:
                _raise_broken()
            rest, self._rest = self._rest, b""
            if rest:
                data = rest + data
            try:
                await self._stream.send_all(data)
            except BaseException:
                self.mark_broken()
                raise
            self.bytes_sent += len(data)
        finally:
            self._writers -= 1
            if self._queue is not None:
                self._queue.unpark()

    async def send_file_part(self, descriptor: int, start: int, count: int) -> int:
        """Write the rest, where there is one, then bytes of an open file, from `start` on and at most
        `count`.

        Only over plain TCP.  Returns how many bytes of the file left, 0 where it ends at `start`.

        Raises:
            WriteDeadlineError: the peer took no byte within the write deadline.
            trio.BrokenResourceError: the connection broke, now or before.
            OSError: the file cannot be read.
        """
        assert isinstance(self._stream, TcpStream)
        while self._rest or self._writers:
            await self.send_all(b"")
        if self._broken:
            _raise_broken()
        self._writers += 1
        try:
            sent = await self._stream.send_file_part(descriptor, start, count)
            self.bytes_sent += sent
        except BaseException:
            self.mark_broken()
            raise
        finally:
            self._writers -= 1
            if self._queue is not None:
                self._queue.unpark()
        return sent

    async def _wait_turn(self) -> None:
        if self._queue is None:
            self._queue = trio.lowlevel.ParkingLot()
        try:
            await self._queue.park()
        except BaseException:
            self._writers -= 1
            raise

    def mark_broken(self) -> None:
        """Let nothing more be sent, as after a close frame or when the connection is being torn down."""
        self._broken = True
        self._rest = b""


def _never_now(_: bytes) -> NoReturn:
    raise BlockingIOError


def _raise_broken() -> NoReturn:
    raise trio.BrokenResourceError("an earlier write on this connection failed or was cancelled")
