"""A TCP socket as a Trio stream, with a write deadline and a send that never waits.

Trio's own SocketStream sends with no limit of time, and hides the socket.  This one is over the accepted
standard-library socket itself: its bound `send` is what fan-out calls, at a tenth of the cost of an awaited
send.  It is a stream like any other to the layers above (TLS, Hypercorn), with one thing more: a peer that
takes no byte for `write_deadline` seconds is gone.  Who may write when is decided above, in `writes`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import sys
import termios
from collections.abc import Callable
from contextlib import suppress

import trio

from ..lifecycle import WriteDeadlineError

KEEPALIVE_IDLE = 15
"""Seconds of silence after which the kernel probes the peer."""
USER_TIMEOUT = 30_000
"""Milliseconds that sent bytes may stay unacknowledged before the kernel gives the connection up."""
NOTSENT_LOWAT = 16 * 1024
"""Bytes not yet sent above which the kernel takes no more, so that a stalled reader is noticed early and
costs little.
"""
FILE_NOTSENT_LOWAT = 4 * 1024 * 1024
"""The same where `sendfile` gives the kernel pages that it has anyway: they cost nothing, and every wait less
is time won.
"""
LOOKS = 8
"""Times within a write deadline at which the kernel is asked whether the peer took anything."""

_CLOSED = frozenset({errno.EBADF, errno.ENOTSOCK})


def tune(sock: socket.socket) -> None:
    """Set what every accepted socket needs.

    Options that the socket or platform does not have are left out.
    """
    options = [
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", KEEPALIVE_IDLE),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 5),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", USER_TIMEOUT),
        (socket.IPPROTO_TCP, "TCP_NOTSENT_LOWAT", NOTSENT_LOWAT),
    ]
    for level, name, value in options:
        option = getattr(socket, name, None)
        if option is None:
            continue
        try:
            sock.setsockopt(level, option, value)
        except OSError:
            # A peer that is gone already gives EINVAL on some kernels; the first read will say so.
            return


class TcpStream(trio.abc.HalfCloseableStream):
    """A connected, non-blocking socket.  Owns it: closing the stream closes the socket.

    Reads and writes may each be done by one task at a time.  A cancelled `send_all` leaves an unknown part
    sent.
    """

    __slots__ = ("_sock", "_write_deadline", "refused_at", "send_nowait")

    def __init__(self, sock: socket.socket, write_deadline: float) -> None:
        """`write_deadline` is in seconds: how long the peer may take no byte while some are refused."""
        sock.setblocking(False)
        self._sock = sock
        self._write_deadline = write_deadline
        self.refused_at: float | None = None
        """Trio's clock when the peer began to take none of what `send_all` writes; None while it does."""
        self.send_nowait: Callable[[bytes | memoryview], int] = sock.send
        """The socket's own `send`: bytes taken; BlockingIOError where none can be, another OSError when the
        peer is gone.
        """

    def fileno(self) -> int:
        """The descriptor, -1 once closed."""
        return self._sock.fileno()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Up to `max_bytes` bytes (64 KiB by default), b"" at the peer's EOF.

        Raises:
            trio.BrokenResourceError: the connection broke.
            trio.ClosedResourceError: this side has closed it.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                data = self._sock.recv(max_bytes or 65536)
            except BlockingIOError:
                # Waited for below: in here, the error and its traceback would be kept for as long.
                pass
            except OSError as error:
                raise _translated(error) from error
            else:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return data
            await self._wait(trio.lowlevel.wait_readable)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data`.

        Raises:
            WriteDeadlineError: the peer took no byte for the write deadline, counted from the first refused
            byte and anew
                from each byte taken.
            trio.BrokenResourceError: the connection broke.
            trio.ClosedResourceError: this side has closed it.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if not data and self._sock.fileno() == -1:
            raise trio.ClosedResourceError("this socket was already closed")
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                sent += await self._send_part(view[sent:])
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _send_part(self, part: memoryview) -> int:
        try:
            while True:
                try:
                    return self.send_nowait(part)
                except BlockingIOError:
                    if self.refused_at is None:
                        self.refused_at = trio.current_time()
                except OSError as error:
                    raise _translated(error) from error
                with trio.move_on_at(self.refused_at + self._write_deadline) as scope:
                    await self._wait(trio.lowlevel.wait_writable)
                if scope.cancelled_caught:
                    raise WriteDeadlineError(f"the peer took no byte for {self._write_deadline} seconds")
        finally:
            self.refused_at = None

    def expect_file(self) -> None:
        """Let the kernel take as much of a file as the send buffer has room for."""
        with suppress(AttributeError, OSError):
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, FILE_NOTSENT_LOWAT)

    async def send_file_part(self, descriptor: int, start: int, count: int) -> int:
        """Give the kernel bytes of an open file, from `start` on and at most `count`.  Returns how many it
        took, 0 where the file ends at `start`.

        The write deadline begins anew with each byte that the peer acknowledges, also while the kernel wants
        no more.

        Raises:
            WriteDeadlineError: the peer took no byte for the write deadline.
            trio.BrokenResourceError: the connection broke.
            trio.ClosedResourceError: this side has closed it.
            OSError: the file cannot be read.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                sent = os.sendfile(self._sock.fileno(), descriptor, start, count)
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno == errno.EIO:
                    raise
                raise _translated(error) from error
            else:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return sent
            await self._wait_until_taken()

    async def _wait_until_taken(self) -> None:
        """Wait until the kernel takes bytes again, for as long as the peer goes on taking them."""
        waiting = self._unacknowledged()
        deadline = trio.current_time() + self._write_deadline
        while True:
            with trio.move_on_after(self._write_deadline / LOOKS):
                await self._wait(trio.lowlevel.wait_writable)
                return
            left = self._unacknowledged()
            if left < waiting:
                deadline = trio.current_time() + self._write_deadline
            elif trio.current_time() >= deadline:
                raise WriteDeadlineError(f"the peer took no byte for {self._write_deadline} seconds")
            waiting = left

    def _unacknowledged(self) -> int:
        """Bytes that the kernel holds for the peer (SIOCOUTQ); 0 where it does not say."""
        if self._sock.fileno() == -1:
            return 0
        try:
            answer = fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:
            return 0
        return int.from_bytes(answer, sys.byteorder)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the kernel takes bytes again."""
        await self._wait(trio.lowlevel.wait_writable)

    async def send_eof(self) -> None:
        """Say that no more bytes come (SHUT_WR).  Safe to call again."""
        await trio.lowlevel.checkpoint()
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise _translated(error) from error

    async def aclose(self) -> None:
        """Close the socket.  Whoever waits on it is woken with ClosedResourceError."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close the socket at once.  Safe to call again."""
        if self._sock.fileno() == -1:
            return
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()

    def reset(self) -> None:
        """Close the socket so that the peer sees a reset, and what it has not been sent is lost."""
        if self._sock.fileno() != -1:
            # Some systems refuse that of a connection which the peer has reset: then there is nothing to do.
            with suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    async def _wait(self, wait: Callable[[socket.socket], object]) -> None:
        if self._sock.fileno() == -1:
            raise trio.ClosedResourceError("this socket was already closed")
        await wait(self._sock)  # type: ignore[misc]


def _translated(error: OSError) -> trio.BrokenResourceError | trio.ClosedResourceError:
    if error.errno in _CLOSED:
        return trio.ClosedResourceError("this socket was already closed")
    return trio.BrokenResourceError(f"the connection broke: {error}")
