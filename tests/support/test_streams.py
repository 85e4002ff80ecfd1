"""The badly behaved streams behave badly in the way they say."""

from __future__ import annotations

import errno

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.support.streams import LossyStream, StalledStream, TrickleSocket, random_script


async def test_a_stalled_stream_takes_what_there_is_room_for(autojump_clock: MockClock) -> None:
    stream = StalledStream(room=5)
    await stream.send_all(b"abc")
    with trio.move_on_after(60) as scope:
        await stream.send_all(b"defg")
    assert scope.cancelled_caught
    assert stream.sent == b"abcde"
    assert stream.stalled.is_set()


async def test_a_stalled_stream_receives_nothing_until_told(autojump_clock: MockClock) -> None:
    stream = StalledStream()
    with trio.move_on_after(60) as scope:
        await stream.receive_some(10)
    assert scope.cancelled_caught
    stream.tell_eof()
    assert await stream.receive_some(10) == b""


async def test_closing_a_stalled_stream_wakes_up_sender_and_receiver(autojump_clock: MockClock) -> None:
    stream = StalledStream()

    async def send() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"x")

    async def receive() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        await stream.aclose()


async def test_a_lossy_stream_passes_on_until_it_is_cut(autojump_clock: MockClock) -> None:
    near, far = memory_stream_pair()
    stream = LossyStream(near)
    await stream.send_all(b"before")
    await far.send_all(b"answer")
    assert await stream.receive_some(100) == b"answer"
    stream.cut()
    await stream.send_all(b"after")
    assert await far.receive_some(100) == b"before"
    with trio.move_on_after(1) as scope:
        await far.receive_some(100)
    assert scope.cancelled_caught
    await far.send_eof()
    assert stream.swallowed == 5
    with trio.move_on_after(60) as scope:
        await stream.receive_some(100)
    assert scope.cancelled_caught
    await stream.aclose()


async def test_a_lossy_stream_breaks_as_the_inner_one_does(autojump_clock: MockClock) -> None:
    near, far = memory_stream_pair()
    stream = LossyStream(near)
    await far.aclose()
    assert await stream.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"x")


async def test_a_cut_reaches_a_receiver_that_waits(autojump_clock: MockClock) -> None:
    near, far = memory_stream_pair()
    stream = LossyStream(near)
    with trio.move_on_after(60) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.receive_some)
            await wait_all_tasks_blocked()
            stream.cut()
            await far.send_all(b"never seen")
    assert scope.cancelled_caught


def test_a_trickle_socket_follows_its_script() -> None:
    sock = TrickleSocket([2, 0, 3, BrokenPipeError(errno.EPIPE, "gone")])
    assert sock.send(b"abcd") == 2
    for _ in range(2):
        with pytest.raises(BlockingIOError):
            sock.send(b"cd")
    sock.make_writable()
    assert sock.send(memoryview(b"cd")) == 2
    for _ in range(2):
        with pytest.raises(BrokenPipeError):
            sock.send(b"x")
    assert sock.taken == b"abcd"
    assert sock.calls[:2] == [b"abcd", b"cd"]


def test_a_trickle_socket_without_a_script_takes_all() -> None:
    sock = TrickleSocket()
    assert sock.send(b"abcd") == 4
    sock.block()
    with pytest.raises(BlockingIOError):
        sock.send(b"e")


async def test_a_writer_can_wait_for_a_trickle_socket(autojump_clock: MockClock) -> None:
    sock = TrickleSocket(random_script(seed=1, longest=7))
    rest = message = bytes(range(256)) * 4

    async def drain() -> None:
        while True:
            await trio.sleep(1)
            sock.make_writable()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain)
        while rest:
            try:
                rest = rest[sock.send(rest) :]
            except BlockingIOError:
                await sock.wait_writable()
        nursery.cancel_scope.cancel()
    assert sock.taken == message


async def test_a_failure_wakes_up_the_writer(autojump_clock: MockClock) -> None:
    sock = TrickleSocket([0])
    with pytest.raises(BlockingIOError):
        sock.send(b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sock.wait_writable)
        await wait_all_tasks_blocked()
        sock.fail(ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        sock.send(b"x")
