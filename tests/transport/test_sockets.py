"""A socket as a stream: what it reads is never lost, and who takes nothing is found out in time.

The sockets here are local ones, through which bytes pass within the call.  So virtual time goes with them:
when every task waits, nothing is on its way.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.lifecycle import WriteDeadlineError
from server.transport.sockets import TcpStream
from tests.support.cancel import cancel_at_each_step

DEADLINE = 30.0


@pytest.fixture
def pair() -> Iterator[tuple[TcpStream, socket.socket]]:
    """A stream of ours, and its peer, which does not block."""
    near, far = socket.socketpair()
    far.setblocking(False)
    with near, far:
        yield TcpStream(near, DEADLINE), far


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """A connection over the loopback interface, which can be reset."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    return near, far


def reset(sock: socket.socket) -> None:
    """Leave with RST, not FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_all(sock: socket.socket) -> bytes:
    pieces = []
    try:
        while piece := sock.recv(65536):
            pieces.append(piece)
    except BlockingIOError:
        pass
    return b"".join(pieces)


async def test_who_takes_no_byte_is_gone_at_the_deadline(
    pair: tuple[TcpStream, socket.socket], autojump_clock: MockClock
) -> None:
    stream, _ = pair
    await trio.sleep(100)
    started = trio.current_time()
    with pytest.raises(WriteDeadlineError, match="no byte for 30"):
        await stream.send_all(bytes(10_000_000))
    assert trio.current_time() - started == DEADLINE


async def test_the_deadline_starts_anew_with_each_byte_taken(
    pair: tuple[TcpStream, socket.socket], autojump_clock: MockClock
) -> None:
    stream, far = pair
    received = bytearray()
    data = bytes(range(256)) * 8000

    async def read_now_and_then() -> None:
        while len(received) < len(data):
            await trio.sleep(DEADLINE - 1)
            received.extend(read_all(far))

    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_now_and_then)
        await stream.send_all(data)
    assert bytes(received) == data
    assert trio.current_time() - started > 2 * DEADLINE


async def test_the_deadline_counts_from_the_last_byte_taken(
    pair: tuple[TcpStream, socket.socket], autojump_clock: MockClock
) -> None:
    stream, far = pair
    started = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def read_once() -> None:
            await trio.sleep(20)
            read_all(far)

        nursery.start_soon(read_once)
        with pytest.raises(WriteDeadlineError):
            await stream.send_all(bytes(10_000_000))
    assert trio.current_time() - started == 20 + DEADLINE


async def test_a_peer_that_ends_is_an_eof(pair: tuple[TcpStream, socket.socket]) -> None:
    stream, far = pair
    far.send(b"last")
    far.shutdown(socket.SHUT_WR)
    assert await stream.receive_some() == b"last"
    assert await stream.receive_some() == b""
    assert await stream.receive_some() == b""


async def test_the_peer_reads_our_end_and_may_still_talk(pair: tuple[TcpStream, socket.socket]) -> None:
    stream, far = pair
    await stream.send_eof()
    await stream.send_eof()
    assert far.recv(1) == b""
    far.send(b"more")
    assert await stream.receive_some() == b"more"


async def test_a_reset_is_broken_for_reader_and_writer() -> None:
    near, far = tcp_pair()
    with near:
        stream = TcpStream(near, DEADLINE)
        reset(far)
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"x")


async def test_a_reset_wakes_up_a_writer_that_waits() -> None:
    near, far = tcp_pair()
    with near:
        stream = TcpStream(near, DEADLINE)
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.send_all(bytes(50_000_000))

            nursery.start_soon(send)
            await wait_all_tasks_blocked(0.01)
            reset(far)


async def test_closing_wakes_up_who_reads_and_who_writes(pair: tuple[TcpStream, socket.socket]) -> None:
    stream, _ = pair

    async def read() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()

    async def write() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(bytes(10_000_000))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        await stream.aclose()


async def test_nothing_can_be_done_with_a_closed_stream(pair: tuple[TcpStream, socket.socket]) -> None:
    stream, _ = pair
    await stream.aclose()
    await stream.aclose()
    assert stream.fileno() == -1
    for data in (b"", b"x"):
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(data)
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_eof()
    with pytest.raises(trio.ClosedResourceError):
        await stream.wait_send_all_might_not_block()


async def test_a_cancelled_read_loses_nothing(
    pair: tuple[TcpStream, socket.socket], autojump_clock: MockClock
) -> None:
    stream, far = pair
    sent = bytearray()
    received = bytearray()

    async def read() -> None:
        data = b"%d," % len(sent)
        far.send(data)
        sent.extend(data)
        while len(received) < len(sent):
            received.extend(await stream.receive_some(2))

    await cancel_at_each_step(read)
    assert received == sent


async def test_a_read_that_waits_can_be_cancelled(
    pair: tuple[TcpStream, socket.socket], autojump_clock: MockClock
) -> None:
    stream, far = pair
    with trio.move_on_after(5):
        await stream.receive_some()
    assert trio.current_time() == pytest.approx(5)
    far.send(b"later")
    assert await stream.receive_some() == b"later"
