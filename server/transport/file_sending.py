"""Files on connections: from the disk to the socket without a copy where that can be, else piece by piece.

Two things may make a sender wait: the peer, and the disk.  Both are waited for without holding up the other
connections.  Before a window of the file is sent, its first and last byte are asked for on the condition that
they are in memory (`RWF_NOWAIT`); where they are not, a thread brings the window in.  Then `sendfile` hands
the socket pages that are there.

A file that ends early (somebody else has cut it) is an error, and never a short answer that looks whole.
"""

from __future__ import annotations

import errno
import os

import trio

from .sockets import TcpStream
from .writes import ByteStream, OrderedStream

WINDOW = 512 * 1024
"""Bytes that are looked for, and at most sent, before others get their turn."""
PIECE = 64 * 1024
"""Bytes that are read at once where the socket cannot be given the file itself."""

_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)


async def send_file(stream: ByteStream, descriptor: int, start: int, count: int) -> None:
    """Write `count` bytes of an open file, from `start` on, after all that was sent before.

    A cancelled call breaks the stream.  The descriptor stays the caller's, who must not close it before the
    call is over.

    Raises:
        WriteDeadlineError: the peer took no byte within the write deadline.
        trio.BrokenResourceError: the connection broke, or the file ends early.
        OSError: the file cannot be read.
    """
    if isinstance(stream, OrderedStream) and isinstance(stream.stream, TcpStream):
        await _send_by_kernel(stream, stream.stream, descriptor, start, count)
        return
    while count:
        piece = await _read(descriptor, start, min(count, PIECE))
        await stream.send_all(piece)
        start += len(piece)
        count -= len(piece)


async def _send_by_kernel(
    stream: OrderedStream, socket: TcpStream, descriptor: int, start: int, count: int
) -> None:
    socket.expect_file()
    end = start + count
    there = start
    while start < end:
        if start >= there:
            there = min(start + WINDOW, end)
            await _bring_in(descriptor, start, there - start)
        sent = await stream.send_file_part(descriptor, start, there - start)
        if not sent:
            raise trio.BrokenResourceError("the file ended early")
        start += sent


async def _read(descriptor: int, start: int, count: int) -> bytes:
    piece = bytearray(count)
    if _read_nowait(descriptor, piece, start) != count:
        piece_of_disk = await trio.to_thread.run_sync(os.pread, descriptor, count, start)
        if not piece_of_disk:
            raise trio.BrokenResourceError("the file ended early")
        return piece_of_disk
    return bytes(piece)


async def _bring_in(descriptor: int, start: int, count: int) -> None:
    """Have the bytes of the window in memory, as far as can be told from its first and last one."""
    byte = bytearray(1)
    if _read_nowait(descriptor, byte, start) == 1 and _read_nowait(descriptor, byte, start + count - 1) == 1:
        return
    await trio.to_thread.run_sync(_read_ahead, descriptor, start, count)


def _read_ahead(descriptor: int, start: int, count: int) -> None:
    os.posix_fadvise(descriptor, start, count, os.POSIX_FADV_WILLNEED)
    for place in (start, start + count - 1):
        if not os.pread(descriptor, 1, place):
            raise trio.BrokenResourceError("the file ended early")


def _read_nowait(descriptor: int, buffer: bytearray, start: int) -> int:
    """Bytes read into `buffer` without waiting for the disk; 0 where that cannot be said of this file."""
    if not _NOWAIT:
        return 0
    try:
        return os.preadv(descriptor, [buffer], start, _NOWAIT)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):
            return 0
        raise
