"""What is piped is closed, in the same task, whatever happened: what `aclosing` promises.

Those in which the source is left at a `yield` fail without it.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from server.streams import ByteWriter, TextWriter, stream_bytes, stream_text
from server.streams.sources import open_items
from tests.streams.own_routes import ask, get, open_own, slow_connection


class Source:
    """An async generator, and in which task it was closed."""

    def __init__(self, fails: bool = False, waits: bool = False) -> None:
        self.asked = 0
        self.closed_in: list[str] = []
        self._fails = fails
        self._waits = waits

    async def items(self) -> AsyncIterator[str]:
        try:
            while True:
                self.asked += 1
                yield "item"
                if self._fails:
                    raise ValueError("in mid-iteration")
                if self._waits:
                    await trio.sleep_forever()
        finally:
            self.closed_in.append(trio.lowlevel.current_task().name)


def piping(source: Callable[[], Any], names: list[str]) -> Callable[[TextWriter], Any]:
    async def write(text: TextWriter) -> None:
        names.append(trio.lowlevel.current_task().name)
        await text.pipe(source())

    return write


async def test_a_source_that_fails_in_the_middle_is_closed_in_its_task(autojump_clock: MockClock) -> None:
    source, names = Source(fails=True), list[str]()
    async with open_own(lambda: stream_text(piping(source.items, names))) as world:
        assert (await get(world))[2:] == (b"item", False)
        assert source.closed_in == names


async def test_a_source_whose_client_is_gone_is_closed_in_its_task(autojump_clock: MockClock) -> None:
    source, names = Source(waits=True), list[str]()
    async with open_own(lambda: stream_text(piping(source.items, names))) as world:
        peer = world.connect()
        await peer._ask("GET", "/own", b"", {})
        await trio.sleep(1)
        await peer.aclose()
        await world.wait_no_stream()
        assert source.closed_in == names


@pytest.mark.parametrize("how", ["gone", "slow"])
async def test_a_source_that_is_left_at_a_yield_is_closed_in_its_task(
    autojump_clock: MockClock, how: str
) -> None:
    """The writer raises while the generator is at its yield: nothing but a close reaches it there."""
    source, names = Source(), list[str]()
    async with open_own(lambda: stream_text(piping(source.items, names))) as world:
        _, client = slow_connection(world, room=400, write_deadline=10)
        await ask(client)
        await trio.sleep(1)
        assert source.closed_in == []
        if how == "gone":
            client.reset()
        else:
            await trio.sleep(10)
        await world.wait_no_stream()
        assert source.closed_in == names


async def test_a_source_is_asked_for_no_more_than_the_client_takes(autojump_clock: MockClock) -> None:
    source = Source()
    async with open_own(lambda: stream_text(lambda text: text.pipe(source.items()))) as world:
        _, client = slow_connection(world, room=600)
        await ask(client)
        await trio.sleep(10)
        # The head, and then nine bytes for each: a chunk of four.
        assert source.asked < 60
        client.reset()


async def test_a_source_whose_items_cannot_be_written_is_closed(autojump_clock: MockClock) -> None:
    source, names = Source(), list[str]()

    async def write(out: ByteWriter) -> None:
        names.append(trio.lowlevel.current_task().name)
        await out.pipe(source.items())

    async with open_own(lambda: stream_bytes(write)) as world:
        assert (await get(world))[2:] == (b"", False)
        assert source.closed_in == names


async def test_the_iterator_of_an_iterable_is_closed(autojump_clock: MockClock) -> None:
    source, names = Source(fails=True), list[str]()

    class Iterable:
        def __aiter__(self) -> AsyncIterator[str]:
            return source.items()

    async with open_own(lambda: stream_text(piping(Iterable, names))) as world:
        await get(world)
        assert source.closed_in == names


async def test_an_iterator_without_aclose_is_read_to_its_end() -> None:
    class Iterator:
        left = 3

        def __aiter__(self) -> Iterator:
            return self

        async def __anext__(self) -> int:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return self.left

    async with open_items(Iterator()) as items:
        assert [item async for item in items] == [2, 1, 0]


async def test_a_receive_channel_is_closed_so_that_its_sender_learns_of_it(autojump_clock: MockClock) -> None:
    told: list[type[BaseException]] = []

    async def produce(send: trio.MemorySendChannel[str]) -> None:
        with send:
            try:
                while True:
                    await send.send("item")
            except trio.BrokenResourceError as error:
                told.append(type(error))

    send, receive = trio.open_memory_channel[str](0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(produce, send)
        async with open_own(lambda: stream_text(lambda text: text.pipe(receive))) as world:
            _, client = slow_connection(world, room=400)
            await ask(client)
            await trio.sleep(1)
            client.reset()
            await world.wait_no_stream()
    assert told == [trio.BrokenResourceError]


@pytest.mark.parametrize("opened_by", ["Python", "Trio"])
async def test_a_file_is_sent_and_closed(tmp_path: Path, opened_by: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 1000)
    files: list[Any] = []

    async def write(out: ByteWriter) -> None:
        file: Any = await trio.open_file(path, "rb")
        files.append(file.wrapped)
        await out.pipe(file if opened_by == "Trio" else file.wrapped)

    async with open_own(lambda: stream_bytes(write)) as world:
        _, _, body, whole = await get(world)
        assert (body, whole) == (path.read_bytes(), True)
        assert files[0].closed


async def test_a_file_whose_client_is_gone_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text\n" * 1_000_000)
    files: list[Any] = []

    async def write(text: TextWriter) -> None:
        files.append(path.open())
        await text.pipe(files[0])

    async with open_own(lambda: stream_text(write)) as world:
        _, client = slow_connection(world, room=1000)
        await ask(client)
        while await client.receive_some(100_000) and client.received < 200_000:
            pass
        client.reset()
        with trio.fail_after(10):
            while world.application.registry.streams:
                await trio.sleep(0.01)
        assert files[0].closed


async def test_a_file_in_memory_is_read_in_blocks() -> None:
    file = io.BytesIO(b"x" * 100_000)
    async with open_items(file) as blocks:
        assert [len(block) async for block in blocks] == [65_536, 34_464]
    assert file.closed
