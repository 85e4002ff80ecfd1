"""A TCP connection in memory: the server's end is a real `TcpStream`, only the kernel is made up.

So write-through, partly taken frames, the write deadline, resets and the end of a connection are the ones of
production, and all of it in virtual time.  The kernel holds `room` bytes on their way to the client; the
client's end is a Trio stream that can also be cut.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import cast

import trio

from server.transport.sockets import TcpStream

_DESCRIPTOR = 1_000_000
"""What an open socket answers as its number; nothing is ever done with it."""


def memory_tcp(room: int, write_deadline: float) -> tuple[ClientEnd, MemoryTcpStream]:
    """Both ends of a connection; `room` bytes may be on their way to the client."""
    kernel = _Kernel(room)
    return ClientEnd(kernel), MemoryTcpStream(kernel, write_deadline)


class _Kernel:
    """What lies between the two ends."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.to_client = bytearray()
        self.to_server = bytearray()
        self.server_said_eof = False
        self.client_said_eof = False
        self.client_closed = False
        self.reset = False
        self.moved = trio.lowlevel.ParkingLot()
        """Where everybody waits for anything to happen."""

    def wake(self) -> None:
        self.moved.unpark_all()


class _Socket:
    """What `TcpStream` uses of a non-blocking socket."""

    def __init__(self, kernel: _Kernel) -> None:
        self._kernel = kernel
        self._descriptor = _DESCRIPTOR
        self.longest_refusal = 0.0
        self._refused_at: float | None = None

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def fileno(self) -> int:
        return self._descriptor

    def send(self, data: bytes | memoryview) -> int:
        kernel = self._kernel
        self._check()
        if kernel.server_said_eof:
            raise BrokenPipeError(errno.EPIPE, "this side has ended")
        if kernel.client_closed:
            # The first bytes vanish, and are answered with a reset.
            kernel.reset = True
            kernel.wake()
            return len(data)
        taken = min(len(data), kernel.room - len(kernel.to_client))
        if taken <= 0 < len(data):
            if self._refused_at is None:
                self._refused_at = trio.current_time()
            raise BlockingIOError
        self._end_refusal()
        kernel.to_client += data[:taken]
        kernel.wake()
        return taken

    def _end_refusal(self) -> None:
        if self._refused_at is not None:
            self.longest_refusal = max(self.longest_refusal, trio.current_time() - self._refused_at)
            self._refused_at = None

    def recv(self, max_bytes: int) -> bytes:
        kernel = self._kernel
        self._check()
        if kernel.to_server:
            data = bytes(kernel.to_server[:max_bytes])
            del kernel.to_server[:max_bytes]
            return data
        if kernel.client_said_eof:
            return b""
        raise BlockingIOError

    def shutdown(self, how: int) -> None:
        self._check()
        self._kernel.server_said_eof = True
        self._kernel.wake()

    def setsockopt(self, level: int, name: int, value: bytes) -> None:
        assert (level, name) == (socket.SOL_SOCKET, socket.SO_LINGER)
        self._check()
        self._kernel.to_client.clear()
        self._kernel.reset = True
        self._kernel.wake()

    def close(self) -> None:
        if self._descriptor == -1:
            return
        self._descriptor = -1
        self._end_refusal()
        kernel = self._kernel
        if kernel.to_server:
            # Closed over unread bytes: what is under way to the client is lost with the reset.
            kernel.reset = True
            kernel.to_client.clear()
        kernel.server_said_eof = True
        kernel.wake()

    async def wait_readable(self) -> None:
        kernel = self._kernel
        await self._wait(lambda: bool(kernel.to_server) or kernel.client_said_eof)

    async def wait_writable(self) -> None:
        kernel = self._kernel
        await self._wait(lambda: kernel.client_closed or len(kernel.to_client) < kernel.room)

    async def _wait(self, ready: Callable[[], bool]) -> None:
        await trio.lowlevel.checkpoint()
        while not (ready() or self._kernel.reset):
            await self._kernel.moved.park()
            if self._descriptor == -1:
                raise trio.ClosedResourceError("another task closed this socket")

    def _check(self) -> None:
        if self._descriptor == -1:
            raise OSError(errno.EBADF, "this socket was already closed")
        if self._kernel.reset:
            raise ConnectionResetError(errno.ECONNRESET, "reset by the client")


class MemoryTcpStream(TcpStream):
    """The server's end."""

    __slots__ = ("sock",)

    def __init__(self, kernel: _Kernel, write_deadline: float) -> None:
        self.sock = _Socket(kernel)
        super().__init__(cast("socket.socket", self.sock), write_deadline)

    @property
    def longest_refusal(self) -> float:
        """The most seconds from the first byte that the kernel refused to the next that it took, or to the
        end.
        """
        return self.sock.longest_refusal

    def close(self) -> None:
        self.sock.close()

    async def _wait(self, wait: object) -> None:
        if self.sock.fileno() == -1:
            raise trio.ClosedResourceError("this socket was already closed")
        readable = wait is trio.lowlevel.wait_readable
        await (self.sock.wait_readable() if readable else self.sock.wait_writable())


class ClientEnd(trio.abc.HalfCloseableStream):
    """The client's end.  Not reading is how it stalls: bytes then stay in the kernel."""

    def __init__(self, kernel: _Kernel) -> None:
        self._kernel = kernel
        self.received = 0
        """Bytes read."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`; the kernel has room for all.

        Raises:
            trio.BrokenResourceError: the connection was reset or cut.
        """
        await trio.lowlevel.checkpoint()
        kernel = self._kernel
        if kernel.reset or kernel.client_said_eof:
            raise trio.BrokenResourceError("the connection is over")
        kernel.to_server += data
        kernel.wake()

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: there is always room."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has arrived, at most `max_bytes`; b"" where the server has ended its side.

        Raises:
            trio.BrokenResourceError: the connection was reset or cut.
        """
        await trio.lowlevel.checkpoint()
        kernel = self._kernel
        while not kernel.to_client:
            if kernel.reset or kernel.client_closed:
                raise trio.BrokenResourceError("the connection is over")
            if kernel.server_said_eof:
                return b""
            await kernel.moved.park()
        data = bytes(kernel.to_client[:max_bytes])
        del kernel.to_client[: len(data)]
        self.received += len(data)
        kernel.wake()
        return data

    async def send_eof(self) -> None:
        """End the client's side, and go on reading."""
        await trio.lowlevel.checkpoint()
        self._kernel.client_said_eof = True
        self._kernel.wake()

    def reset(self) -> None:
        """Be gone at once; both sides lose what is under way."""
        kernel = self._kernel
        kernel.reset = kernel.client_closed = True
        kernel.to_client.clear()
        kernel.wake()

    def close(self) -> None:
        """Close as a process does that goes away: a FIN, or a reset where something has not been read."""
        if self._kernel.to_client:
            self.reset()
            return
        self._kernel.client_said_eof = self._kernel.client_closed = True
        self._kernel.wake()

    async def aclose(self) -> None:
        """`close`."""
        self.close()
        await trio.lowlevel.checkpoint()
