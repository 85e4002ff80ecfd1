"""Files on connections: the kernel's way and ours send the same bytes, and what is cut never looks whole.

The sockets are local ones, through which bytes pass within the call, so that virtual time goes with them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from server.lifecycle import WriteDeadlineError
from server.transport import OrderedStream, Sent, send_file
from server.transport.file_sending import WINDOW
from server.transport.sockets import TcpStream
from tests.support.cancel import cancel_at_each_step

DEADLINE = 30.0
DATA = os.urandom(WINDOW * 2 + 12_345)


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """An open file of DATA."""
    path = tmp_path / "data"
    path.write_bytes(DATA)
    number = os.open(path, os.O_RDONLY)
    yield number
    os.close(number)


@contextmanager
def pair() -> Iterator[tuple[OrderedStream, socket.socket]]:
    """A stream of ours, and its peer, which does not block."""
    near, far = socket.socketpair()
    far.setblocking(False)
    with near, far:
        yield OrderedStream(TcpStream(near, DEADLINE)), far


async def read_until(far: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        await trio.lowlevel.wait_readable(far)
        received += far.recv(65536)
    return bytes(received)


@pytest.mark.parametrize(
    ("start", "count"), [(0, len(DATA)), (1, 10), (WINDOW - 1, 2), (len(DATA) - 1, 1), (5, 0), (7, WINDOW)]
)
async def test_the_kernel_sends_just_that_part(descriptor: int, start: int, count: int) -> None:
    with pair() as (stream, far):
        stream.hold(b"head,")
        async with trio.open_nursery() as nursery:
            received: list[bytes] = []

            async def read() -> None:
                received.append(await read_until(far, 5 + count + 5))

            nursery.start_soon(read)
            await send_file(stream, descriptor, start, count)
            await stream.send_all(b",tail")
        assert received == [b"head," + DATA[start : start + count] + b",tail"]
        assert stream.bytes_sent == 10 + count


async def test_where_the_kernel_cannot_it_goes_piece_by_piece(descriptor: int) -> None:
    near, far = memory_stream_pair()
    stream = OrderedStream(near)
    stream.hold(b"head,")
    await send_file(stream, descriptor, 3, len(DATA) - 5)
    assert await far.receive_some(10_000_000) == b"head," + DATA[3:-2]


@contextmanager
def socket_stream() -> Iterator[OrderedStream]:
    with pair() as (stream, _):
        yield stream


@contextmanager
def memory_stream() -> Iterator[OrderedStream]:
    yield OrderedStream(memory_stream_pair()[0])


@pytest.mark.parametrize("open_stream", [socket_stream, memory_stream])
async def test_a_file_that_ends_early_is_an_error(open_stream: Callable[..., object], tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_bytes(b"short")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with open_stream() as stream, pytest.raises(trio.BrokenResourceError, match="ended early"):  # type: ignore[attr-defined]
            await send_file(stream, descriptor, 0, 6)
    finally:
        os.close(descriptor)


async def let_time_fly(clock: MockClock, stream: OrderedStream) -> None:
    """From when no thread works any more: the clock does not wait for threads."""
    while not stream.bytes_sent:
        await trio.lowlevel.checkpoint()
    clock.autojump_threshold = 0


async def test_who_takes_nothing_is_gone_at_the_deadline(descriptor: int, mock_clock: MockClock) -> None:
    with pair() as (stream, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(let_time_fly, mock_clock, stream)
            with pytest.raises(WriteDeadlineError, match="no byte for 30"):
                await send_file(stream, descriptor, 0, WINDOW)
        assert DEADLINE <= trio.current_time() <= DEADLINE * 1.25
        assert stream.broken
        assert 0 < stream.bytes_sent < WINDOW
        with pytest.raises(trio.BrokenResourceError):
            await send_file(stream, descriptor, 0, 1)


async def test_who_takes_a_little_now_and_then_is_not(descriptor: int, mock_clock: MockClock) -> None:
    """As little as does not make the kernel want more."""
    with pair() as (stream, far):
        received = bytearray()

        async def read_slowly() -> None:
            while len(received) < 400_000:
                await trio.sleep(DEADLINE - 1)
                received.extend(far.recv(66_000))
            received.extend(await read_until(far, WINDOW - len(received)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(let_time_fly, mock_clock, stream)
            nursery.start_soon(read_slowly)
            await send_file(stream, descriptor, 0, WINDOW)
        assert received == DATA[:WINDOW]
        assert trio.current_time() > 3 * DEADLINE


async def test_a_peer_that_leaves_breaks_it(descriptor: int) -> None:
    with pair() as (stream, far):
        async with trio.open_nursery() as nursery:

            async def leave() -> None:
                await read_until(far, 100_000)
                far.close()

            nursery.start_soon(leave)
            with pytest.raises(trio.BrokenResourceError):
                await send_file(stream, descriptor, 0, len(DATA))


async def test_nobody_gets_between_the_parts_of_a_file(descriptor: int) -> None:
    with pair() as (stream, far):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_file, stream, descriptor, 0, len(DATA))
            await trio.testing.wait_all_tasks_blocked()
            assert stream.try_send(b"between") is Sent.BUSY
            received = await read_until(far, len(DATA))
        assert received == DATA
        assert stream.try_send(b"after") is Sent.SENT


async def test_others_have_their_turn_while_a_fast_reader_takes_a_file(descriptor: int) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    near, far = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10 * len(DATA))
    with near, far:
        stream = OrderedStream(TcpStream(near, DEADLINE))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            nursery.start_soon(trio.to_thread.run_sync, lambda: far.recv(10 * len(DATA), socket.MSG_WAITALL))
            for _ in range(8):
                await send_file(stream, descriptor, 0, len(DATA))
            nursery.cancel_scope.cancel()
            far.shutdown(socket.SHUT_RDWR)
        assert turns >= 8 * len(DATA) // WINDOW


async def test_cancelled_anywhere_what_was_sent_is_known_to_the_byte(descriptor: int) -> None:
    async def send() -> None:
        received = bytearray()

        async def read(far: socket.socket) -> None:
            while len(received) < len(DATA):
                await trio.lowlevel.wait_readable(far)
                received.extend(far.recv(65536))

        with pair() as (stream, far):
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read, far)
                    await send_file(stream, descriptor, 0, len(DATA))
            finally:
                while len(received) < stream.bytes_sent:
                    received.extend(far.recv(65536))
                assert received == DATA[: stream.bytes_sent]

    assert await cancel_at_each_step(send, limit=5000) > 5
