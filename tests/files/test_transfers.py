"""Uploads and downloads as streams: one reason each, and nothing left wherever they are cancelled."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from server.files import (
    Download,
    Folder,
    Part,
    StoredFile,
    TooLargeError,
    UploadEndedError,
    UploadServices,
    open_folder,
    receive_upload,
)
from server.lifecycle import CloseReason, Registry, RequestHead, WriteDeadlineError
from server.transport import BodyReadError, OrderedStream
from server.transport.sockets import TcpStream
from server.wire.byte_ranges import Span
from server.wire.problem import Problem
from tests.support.cancel import cancel_at_each_step

HEAD = RequestHead("PUT", "/files/a", "", ())
PIECE = os.urandom(60_000)
PIECES = 12
DATA = PIECE * PIECES


class Bench:
    """A folder, the streams that are open, and how the ended ones ended."""

    def __init__(self, folder: Folder, path: Path) -> None:
        self.ended: list[CloseReason] = []
        self.registry = Registry(lambda _, reason: self.ended.append(reason))
        self.folder = folder
        self.path = path
        self.services = UploadServices(folder, self.registry, len(DATA))

    async def upload(self, body: AsyncGenerator[bytes, None]) -> tuple[StoredFile, StoredFile | None]:
        async with aclosing(body):
            return await receive_upload(self.services, HEAD, "a", body, lambda current: True)

    async def download(self, stream: OrderedStream, start: int = 0, stop: int = len(DATA)) -> None:
        file = await self.folder.open("a")
        assert file is not None
        await Download(self.registry, HEAD, file, [Part(b"", Span(start, stop))]).run(stream)

    def content(self) -> bytes | None:
        """Of the file, which must be alone in its folder."""
        names = [each.name for each in self.path.iterdir()]
        assert names in ([], ["a"])
        assert self.registry.streams == {}
        assert self.registry.leaked == 0
        return (self.path / "a").read_bytes() if names else None


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with open_folder(tmp_path) as folder:
        yield Bench(folder, tmp_path / "files")


async def body(*, end: Exception | None = None, pieces: int = PIECES) -> AsyncGenerator[bytes, None]:
    for _ in range(pieces):
        await trio.lowlevel.checkpoint()
        yield PIECE
    if end is not None:
        raise end


async def test_a_whole_body_is_the_file(bench: Bench) -> None:
    stored, before = await bench.upload(body())
    assert (stored.size, before) == (len(DATA), None)
    assert bench.content() == DATA
    assert bench.ended == [CloseReason.COMPLETED]
    assert (await bench.upload(body(pieces=1)))[1] == stored
    assert bench.content() == PIECE


async def test_one_huge_piece_is_written_in_parts(bench: Bench) -> None:
    async def whole() -> AsyncGenerator[bytes, None]:
        yield DATA

    await bench.upload(whole())
    assert bench.content() == DATA


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("body_incomplete", CloseReason.CLIENT_DISCONNECTED),
        ("request_malformed", CloseReason.CLIENT_DISCONNECTED),
        ("body_slow", CloseReason.LIMIT),
    ],
)
async def test_a_body_that_does_not_come_leaves_nothing(code: str, reason: CloseReason, bench: Bench) -> None:
    await bench.upload(body(pieces=1))
    with pytest.raises(BodyReadError):
        await bench.upload(body(end=BodyReadError(Problem(code, ""))))
    assert bench.content() == PIECE
    assert bench.ended == [CloseReason.COMPLETED, reason]


async def test_a_byte_too_many_is_too_many(bench: Bench) -> None:
    with pytest.raises(TooLargeError):
        await bench.upload(body(pieces=PIECES + 1))
    assert bench.content() is None
    assert bench.ended == [CloseReason.LIMIT]


async def test_the_body_is_read_as_fast_as_the_disk_takes_it(bench: Bench) -> None:
    """Nothing is read ahead of what has been written, but for one buffer."""
    ahead = 0
    most = 0

    async def counted() -> AsyncGenerator[bytes, None]:
        nonlocal ahead, most
        for _ in range(PIECES):
            ahead += len(PIECE)
            written = sum(each.stat().st_size for each in bench.path.glob(".upload-*"))
            most = max(most, ahead - written)
            yield PIECE

    await bench.upload(counted())
    assert most <= 256 * 1024 + len(PIECE)


async def test_an_upload_that_is_ended_from_outside_says_so(bench: Bench) -> None:
    async def endless() -> AsyncGenerator[bytes, None]:
        while True:
            [stream] = bench.registry.streams.values()
            stream.close(CloseReason.ADMIN)
            await trio.lowlevel.checkpoint()
            yield PIECE

    with pytest.raises(UploadEndedError):
        await bench.upload(endless())
    assert bench.content() is None
    assert bench.ended == [CloseReason.ADMIN]


async def test_a_drain_lets_an_upload_come_to_its_end(bench: Bench) -> None:
    async def drained() -> AsyncGenerator[bytes, None]:
        [stream] = bench.registry.streams.values()
        stream.end(CloseReason.SERVER_DRAINING)
        yield PIECE

    await bench.upload(drained())
    assert bench.content() == PIECE
    assert bench.ended == [CloseReason.COMPLETED]


async def test_cancelled_anywhere_an_upload_is_whole_or_not_at_all(bench: Bench) -> None:
    found: set[bytes | None] = set()

    async def upload() -> None:
        await bench.upload(body())

    def check(step: int) -> None:
        found.add(bench.content())
        (bench.path / "a").unlink(missing_ok=True)

    assert await cancel_at_each_step(upload, after=check) > 30
    assert found == {None, DATA}
    assert set(bench.ended) == {CloseReason.COMPLETED, CloseReason.CLIENT_DISCONNECTED}


async def read_all(far: socket.socket) -> bytes:
    received = bytearray()
    while True:
        await trio.lowlevel.wait_readable(far)
        piece = far.recv(65536)
        if not piece:
            return bytes(received)
        received += piece


def sockets() -> tuple[OrderedStream, socket.socket, socket.socket]:
    near, far = socket.socketpair()
    far.setblocking(False)
    return OrderedStream(TcpStream(near, 30.0)), near, far


async def test_cancelled_anywhere_a_download_leaves_nothing(bench: Bench) -> None:
    await bench.upload(body())
    bench.ended.clear()

    async def download() -> None:
        stream, near, far = sockets()
        with near, far:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read_all, far)
                await bench.download(stream)
                near.shutdown(socket.SHUT_WR)

    def check(step: int) -> None:
        assert bench.content() == DATA

    assert await cancel_at_each_step(download, after=check, limit=5000) > 10
    assert set(bench.ended) == {CloseReason.COMPLETED, CloseReason.CLIENT_DISCONNECTED}


async def test_a_reader_that_stalls_is_a_slow_consumer(bench: Bench, mock_clock: MockClock) -> None:
    (bench.path / "a").write_bytes(bytes(500_000))
    stream, near, far = sockets()

    async def let_time_fly() -> None:
        # From when no thread works any more: the clock does not wait for threads.
        while not stream.bytes_sent:
            await trio.lowlevel.checkpoint()
        mock_clock.autojump_threshold = 0

    with near, far:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(let_time_fly)
            with pytest.raises(WriteDeadlineError):
                await bench.download(stream, 0, 500_000)
    assert bench.ended == [CloseReason.SLOW_CONSUMER]
    assert bench.registry.streams == {}


async def test_a_file_that_is_cut_under_a_download_is_no_whole_answer(bench: Bench) -> None:
    await bench.upload(body())
    stream, near, far = sockets()
    with near, far:
        file = await bench.folder.open("a")
        assert file is not None
        os.truncate(bench.path / "a", 100)
        with pytest.raises(trio.BrokenResourceError):
            await Download(bench.registry, HEAD, file, [Part(b"", Span(0, len(DATA)))]).run(stream)
    assert file.descriptor == -1
