"""Ordered writes: whatever the kernel takes and whoever writes, frames leave whole, once and in order."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from server.transport import OrderedStream, Sent
from server.transport.sockets import TcpStream
from tests.support.cancel import cancel_at_each_step
from tests.support.streams import StalledStream

FRAME = re.compile(rb"<(\d+):x*>")


def frame(number: int, size: int) -> bytes:
    return b"<%d:%s>" % (number, b"x" * size)


def frames_in(data: bytes) -> list[int]:
    """The numbers of the frames in `data`, which holds nothing else."""
    assert FRAME.sub(b"", data) == b"", f"torn: {data!r}"
    return [int(number) for number in FRAME.findall(data)]


class ScriptedSocket(socket.socket):
    """A real socket whose `send` takes, call by call, what `script` says: at most so many bytes, none where
    it says 0, an OSError.  At the script's end it takes what the kernel does.
    """

    script: Iterator[int | OSError] = iter(())

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:  # type: ignore[override]
        step = next(self.script, len(data))
        if isinstance(step, OSError):
            raise step
        if step == 0:
            raise BlockingIOError
        return super().send(data[:step], flags)


@contextmanager
def socket_pair(
    script: Iterable[int | OSError] = (), buffer: int = 65536
) -> Iterator[tuple[TcpStream, socket.socket]]:
    """A stream of ours on a socket that follows `script`, and its peer, which does not block."""
    near, far = socket.socketpair()
    with far, ScriptedSocket(near.family, near.type, near.proto, near.detach()) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        sock.script = iter(script)
        far.setblocking(False)
        yield TcpStream(sock, write_deadline=30), far


def received(far: socket.socket) -> bytes:
    """What has arrived by now."""
    pieces = []
    try:
        while piece := far.recv(65536):
            pieces.append(piece)
    except (BlockingIOError, ConnectionResetError):
        pass
    return b"".join(pieces)


Verb = Literal["try", "send", "hold", "pause"]


@dataclass
class Offers:
    """Several writers' offers to one stream, and what the stream said to each."""

    stream: OrderedStream
    accepted: list[int] = field(default_factory=list)
    """By `try_send` and `send_all`, in the order of the calls."""
    refused: set[int] = field(default_factory=set)
    held: dict[int, int] = field(default_factory=dict)
    """Frames given to `hold`, and how many had been accepted before."""
    count: int = 0

    async def write(self, verbs: list[tuple[Verb, int]]) -> None:
        for verb, size in verbs:
            number = self.count
            self.count += 1
            data = frame(number, size)
            if verb == "pause":
                await trio.lowlevel.checkpoint()
            elif verb == "hold":
                self.held[number] = len(self.accepted)
                self.stream.hold(data)
            elif verb == "send":
                self.accepted.append(number)
                await self.stream.send_all(data)
            else:
                sent = self.stream.try_send(data)
                assert sent is not Sent.GONE
                (self.refused.add if sent is Sent.BUSY else self.accepted.append)(number)


verbs = st.tuples(st.sampled_from(["try", "try", "send", "hold", "pause"]), st.integers(0, 6000))


@settings(max_examples=80, deadline=None)
@given(
    script=st.lists(st.integers(0, 3000), max_size=60),
    writers=st.lists(st.lists(verbs, max_size=12), min_size=1, max_size=3),
    reads=st.lists(st.integers(1, 5000), min_size=1, max_size=10),
)
async def test_frames_arrive_whole_once_and_in_order(
    script: list[int], writers: list[list[tuple[Verb, int]]], reads: list[int]
) -> None:
    arrived = bytearray()
    with socket_pair(script, buffer=1) as (tcp, far):
        stream = OrderedStream(tcp)
        offers = Offers(stream)

        async def read() -> None:
            peer = TcpStream(far, 30)
            turn = 0
            while data := await peer.receive_some(reads[turn % len(reads)]):
                arrived.extend(data)
                turn += 1

        async with trio.open_nursery() as reading:
            reading.start_soon(read)
            async with trio.open_nursery() as writing:
                for verbs in writers:
                    writing.start_soon(offers.write, verbs)
            await stream.send_all(b"")
            await tcp.send_eof()

    order = frames_in(bytes(arrived))
    assert sorted(order) == sorted([*offers.accepted, *offers.held])
    assert not offers.refused.intersection(order)
    assert [number for number in order if number not in offers.held] == offers.accepted
    assert stream.bytes_sent == len(arrived)
    for number, before in offers.held.items():
        position = order.index(number)
        assert not set(offers.accepted[before:]).intersection(order[:position]), "overtook what was held"


async def test_while_somebody_sends_the_stream_is_busy_and_not_gone() -> None:
    below = StalledStream(room=0)
    stream = OrderedStream(below)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, frame(0, 10))
        await below.stalled.wait()
        assert stream.try_send(frame(1, 1)) is Sent.BUSY
        nursery.cancel_scope.cancel()


async def test_a_second_sender_waits_for_its_turn() -> None:
    with socket_pair([1, 0, 1, 0, 1]) as (tcp, far):
        stream = OrderedStream(tcp)
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(stream.send_all, frame(number, 3))
        assert sorted(frames_in(received(far))) == [0, 1, 2]


async def test_what_was_kept_leaves_with_an_empty_send() -> None:
    with socket_pair([4]) as (tcp, far):
        stream = OrderedStream(tcp)
        assert stream.try_send(frame(0, 5)) is Sent.KEPT
        assert stream.try_send(frame(1, 5)) is Sent.BUSY
        await stream.send_all(b"")
        assert stream.try_send(frame(2, 5)) is Sent.SENT
        assert frames_in(received(far)) == [0, 2]


async def test_a_sender_that_is_cancelled_in_the_queue_breaks_nothing() -> None:
    with socket_pair() as (tcp, far):
        stream = OrderedStream(tcp)
        async with trio.open_nursery() as nursery:
            # More than the kernel takes, so that the second one queues.
            nursery.start_soon(stream.send_all, frame(0, 1_000_000))
            await wait_all_tasks_blocked()
            with trio.move_on_after(0):
                await stream.send_all(frame(1, 1))
            arrived = b""
            while not arrived.endswith(b">"):
                await trio.lowlevel.wait_readable(far)
                arrived += received(far)
        assert stream.try_send(frame(2, 1)) is Sent.SENT
        assert frames_in(arrived + received(far)) == [0, 2]


async def test_tearing_down_is_not_undone_by_a_send_under_way() -> None:
    near, _ = memory_stream_pair()
    stream = OrderedStream(near)

    async def tear_down() -> None:
        stream.mark_broken()

    near.send_stream.send_all_hook = tear_down
    await stream.send_all(frame(0, 1))
    assert stream.try_send(frame(1, 1)) is Sent.GONE


@pytest.mark.parametrize(
    "number",
    [
        errno.EPIPE,
        errno.ECONNRESET,
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.EBADF,
        errno.ENOBUFS,
        errno.EINVAL,
    ],
    ids=errno.errorcode.get,
)
async def test_every_error_of_the_socket_means_gone_for_ever(number: int) -> None:
    with socket_pair([OSError(number, "scripted")]) as (tcp, far):
        stream = OrderedStream(tcp)
        assert stream.try_send(frame(0, 1)) is Sent.GONE
        assert stream.try_send(frame(1, 1)) is Sent.GONE
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(frame(2, 1))
        assert received(far) == b""


async def test_gone_is_gone_for_that_stream_alone() -> None:
    with socket_pair([OSError(errno.EPIPE, "scripted")]) as (tcp, _), socket_pair() as (other_tcp, far):
        assert OrderedStream(tcp).try_send(b"x") is Sent.GONE
        assert OrderedStream(other_tcp).try_send(frame(7, 1)) is Sent.SENT
        assert frames_in(received(far)) == [7]


async def test_a_closed_stream_never_writes_to_the_next_owner_of_its_descriptor() -> None:
    near, far = socket.socketpair()
    tcp = TcpStream(near, 30)
    stream = OrderedStream(tcp)
    number = tcp.fileno()
    tcp.close()
    far.close()
    new_near, new_far = socket.socketpair()
    with new_near, new_far:
        assert new_near.fileno() == number
        new_far.setblocking(False)
        assert stream.try_send(b"secret") is Sent.GONE
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"secret")
        with pytest.raises(BlockingIOError):
            new_far.recv(1)


@pytest.mark.parametrize("script", [[3, 0, 2, 0, 0, 4], [0, 1], []])
async def test_a_send_cut_off_anywhere_breaks_the_stream(script: list[int]) -> None:
    first, second = frame(0, 9), frame(1, 9)
    done: list[bytes] = []

    async def send_two() -> None:
        done.clear()
        with socket_pair(script) as (tcp, far):
            stream = OrderedStream(tcp)
            assert stream.try_send(first[:0]) is not Sent.GONE

            async def send(data: bytes) -> None:
                await stream.send_all(data)
                done.append(data)

            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send, first)
                    nursery.start_soon(send, second)
            finally:
                arrived = received(far)
                whole = FRAME.sub(b"", arrived) == b""
                after = stream.try_send(frame(2, 1))
                assert after is Sent.GONE or whole
                assert all(data in arrived for data in done)
                if after is Sent.SENT:
                    assert received(far) == frame(2, 1)

    await cancel_at_each_step(send_two)
