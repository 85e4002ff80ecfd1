"""A two-way connection without a network: `Connection` in memory, and the client at its other end.

What the server's side writes are bytes, which the client takes from a bounded buffer, so that partly taken
frames and a client that takes nothing show as on a socket.  What the client sends are whole messages.
"""

from __future__ import annotations

import trio

from server.lifecycle import WriteDeadlineError
from server.transport import ConnectionEndedError, Sent
from server.wire.websocket import CloseCode, close_frame

from .frames import Close, Frame, FrameReader, PingFrame

CLOSE_SECONDS = 2.0
"""How long the client may take to answer a close frame."""
INBOX = 16
"""Messages of the client that may wait to be received."""


def memory_connection(
    *, room: int = 64 * 1024, write_deadline: float = 30.0
) -> tuple[MemoryConnection, MemoryPeer]:
    """Both ends of a connection; `room` bytes may be on their way to the client."""
    link = _Link(room)
    return MemoryConnection(link, write_deadline), MemoryPeer(link)


class _Link:
    """What the two ends share."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.buffer = bytearray()
        self.stalled = False
        self.gone = False
        self.ended = False
        self.writes = 0
        self.moved = trio.lowlevel.ParkingLot()
        self.to_server, self.from_client = trio.open_memory_channel[str | bytes](INBOX)
        self.heard_at = trio.current_time()
        self.peer_code: int | None = None
        self.peer_closed = trio.Event()

    def take(self, data: bytes | memoryview) -> int:
        """Let the network have as much of `data` as it has room for."""
        taken = 0 if self.stalled else min(len(data), self.room - len(self.buffer))
        if taken:
            self.writes += 1
            self.buffer += data[:taken]
            self.moved.unpark_all()
        return taken

    def hear(self) -> None:
        self.heard_at = trio.current_time()

    def end_client(self, code: int) -> None:
        """The client says nothing more, and has closed with `code`."""
        if self.peer_code is None:
            self.peer_code = code
        self.to_server.close()
        self.peer_closed.set()

    def end_server(self) -> None:
        """The server says nothing more."""
        self.ended = True
        self.from_client.close()
        self.moved.unpark_all()


class MemoryConnection:
    """The server's end: a `server.transport.Connection`."""

    def __init__(self, link: _Link, write_deadline: float) -> None:
        self._link = link
        self._write_deadline = write_deadline
        self._lock = trio.Lock()
        self._writers = 0
        self._rest = b""
        self._broken = False
        self._closing = False
        self._bytes_sent = 0
        self._refused_at: float | None = None

    @property
    def bytes_sent(self) -> int:
        return self._bytes_sent

    @property
    def last_heard(self) -> float:
        unread = self._link.from_client.statistics().tasks_waiting_send
        return trio.current_time() if unread else self._link.heard_at

    @property
    def refused_at(self) -> float | None:
        return self._refused_at

    def try_send(self, frame: bytes) -> Sent:
        if self._broken or self._link.gone:
            return Sent.GONE
        if self._writers or self._rest:
            return Sent.BUSY
        taken = self._link.take(frame)
        self._bytes_sent += taken
        if taken == len(frame):
            return Sent.SENT
        if not taken:
            return Sent.BUSY
        self._rest = frame[taken:]
        return Sent.KEPT

    async def send_all(self, data: bytes) -> None:
        self._check_unbroken()
        self._writers += 1
        try:
            async with self._lock:
                self._check_unbroken()
                data, self._rest = self._rest + data, b""
                try:
                    await self._write(data)
                except BaseException:
                    self._broken = True
                    raise
                self._bytes_sent += len(data)
        finally:
            self._writers -= 1

    async def receive(self) -> str | bytes:
        try:
            return await self._link.from_client.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            code = self._link.peer_code
            raise ConnectionEndedError(
                CloseCode.ABNORMAL if code is None else code, ours=self._closing
            ) from None

    async def close(self, code: int, reason: str) -> None:
        if self._closing:
            await trio.lowlevel.checkpoint()
            return
        self._closing = True
        link = self._link
        link.from_client.close()
        if link.peer_code is not None:
            code, reason = link.peer_code, ""
        try:
            with trio.move_on_after(CLOSE_SECONDS):
                await self.send_all(close_frame(code, reason))
                self._broken = True
                await link.peer_closed.wait()
        except trio.BrokenResourceError:
            return
        finally:
            self._broken = True
            link.end_server()

    def cut(self) -> None:
        """End it without a word, as the server does with a connection once nobody serves it."""
        self._broken = True
        self._link.end_server()

    def _check_unbroken(self) -> None:
        if self._broken or self._link.gone:
            raise trio.BrokenResourceError("the client is gone, or an earlier write failed")

    async def _write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        sent = 0
        try:
            while sent < len(data):
                sent += await self._write_part(data[sent:])
        finally:
            self._refused_at = None
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _write_part(self, part: bytes) -> int:
        while True:
            if self._link.gone:
                raise trio.BrokenResourceError("the client is gone")
            taken = self._link.take(part)
            if taken:
                self._refused_at = None
                return taken
            if self._refused_at is None:
                self._refused_at = trio.current_time()
            with trio.move_on_at(self._refused_at + self._write_deadline) as scope:
                await self._link.moved.park()
            if scope.cancelled_caught:
                raise WriteDeadlineError(f"the client took no byte for {self._write_deadline} seconds")


class MemoryPeer:
    """The client's end.  It answers pings and closes as it reads them, unless told otherwise."""

    def __init__(self, link: _Link) -> None:
        self.answers = True
        self._link = link
        self._reader = FrameReader()

    @property
    def is_ended(self) -> bool:
        """Whether the server's end is closed."""
        return self._link.ended

    @property
    def writes(self) -> int:
        """How many writes of the server the network has taken bytes of."""
        return self._link.writes

    async def receive(self) -> Frame:
        """The next frame.

        Raises:
            EOFError: the server has ended the connection.
        """
        await trio.lowlevel.checkpoint()
        while (frame := self._reader.pop()) is None:
            await self._read()
        if self.answers:
            if isinstance(frame, PingFrame):
                self._link.hear()
            elif isinstance(frame, Close):
                self._link.end_client(frame.code)
        return frame

    def skip(self) -> None:
        """Throw away what has arrived, which must be whole frames."""
        self._link.buffer.clear()
        self._link.moved.unpark_all()

    def take_some(self) -> None:
        """Let what has arrived be taken, without a sign of life."""
        self._reader.feed(bytes(self._link.buffer))
        self.skip()

    async def send(self, message: str | bytes) -> None:
        """Send a message, as soon as the server has room for it.

        Raises:
            trio.BrokenResourceError: the server's end is closed.
        """
        self._link.hear()
        await self._link.to_server.send(message)

    def say_pong(self) -> None:
        """Send a pong, or any byte that is no message."""
        self._link.hear()

    async def close(self, code: int = CloseCode.NORMAL) -> None:
        """Send a close frame; 1005 for one without a code."""
        await trio.lowlevel.checkpoint()
        self._link.hear()
        self._link.end_client(code)

    def vanish(self) -> None:
        """Be gone as with a reset: the server's next read and write find out."""
        self._link.gone = True
        self._link.end_client(CloseCode.ABNORMAL)
        self._link.moved.unpark_all()

    def stall(self) -> None:
        """Take nothing until `resume`."""
        self._link.stalled = True

    def resume(self) -> None:
        """Take bytes again."""
        self._link.stalled = False
        self._link.moved.unpark_all()

    async def _read(self) -> None:
        link = self._link
        while not link.buffer:
            if link.ended:
                raise EOFError
            await link.moved.park()
        data = bytes(link.buffer)
        link.buffer.clear()
        link.moved.unpark_all()
        self._reader.feed(data)
