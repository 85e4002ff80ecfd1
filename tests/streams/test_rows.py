"""Rows as streams: at the client's pace, open no longer than the stream, and never a part for the whole."""

from __future__ import annotations

import csv
import json
import sqlite3
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from quart import Response
from trio.testing import MockClock

from server.lifecycle import CloseReason
from server.streams import (
    CSV,
    JSON_ARRAY,
    NDJSON,
    BlockingRows,
    RowForm,
    Rows,
    RowSource,
    rows_from_thread,
    stream_rows,
)
from server.wire.problem import ProblemError
from tests.streams.own_routes import ask, closed, get, open_own, slow_connection
from tests.support.cancel import cancel_at_each_step


class Table:
    """A table of `count` rows, read in batches; what is open of it, and how far it has been read."""

    def __init__(self, count: int, *, fails_at: int | None = None, batch: int = 100) -> None:
        self.count = count
        self.fails_at = fails_at
        self.opens = True
        self.batch = batch
        self.opened = self.closed = self.read = 0
        self.closed_at = 0.0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Rows]:
        self.opened += 1
        try:
            await trio.lowlevel.checkpoint()
            if not self.opens:
                raise OSError("no database")
            yield Rows(("n", "text"), self._batches())
        finally:
            self.closed += 1
            self.closed_at = trio.current_time()

    async def _batches(self) -> AsyncIterator[list[tuple[int, str]]]:
        for start in range(0, self.count, self.batch):
            await trio.lowlevel.checkpoint()
            if self.fails_at is not None and start >= self.fails_at:
                raise RuntimeError("the database is gone")
            batch = [(number, "x" * 100) for number in range(start, min(start + self.batch, self.count))]
            self.read += len(batch)
            yield batch


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("text/csv", "text/csv; charset=utf-8; header=present"),
        ("text/csv;q=0.5, application/json;q=0.4", "text/csv; charset=utf-8; header=present"),
        ("text/*", "text/csv; charset=utf-8; header=present"),
        ("text/csv; charset=utf-8; header=present", "text/csv; charset=utf-8; header=present"),
        ("application/json;charset=UTF-8, text/csv;q=0.5", "application/json"),
        ("application/json;q=0, */*;q=0.1", "application/x-ndjson"),
        (",", "application/json"),
    ],
)
async def test_the_form_is_the_one_that_accept_likes(
    autojump_clock: MockClock, accept: str | None, content_type: str
) -> None:
    table = Table(250)
    async with open_own(lambda: stream_rows(table.open)) as world:
        status, headers, body, whole = await get(world, **({} if accept is None else {"accept": accept}))
        assert (status, headers["content-type"], whole) == (200, content_type, True)
        assert "Accept" in headers["vary"]
        match content_type.partition(";")[0]:
            case "application/json":
                numbers = [row["n"] for row in json.loads(body)]
            case "application/x-ndjson":
                numbers = [json.loads(line)["n"] for line in body.splitlines()]
            case _:
                numbers = [int(row["n"]) for row in csv.DictReader(body.decode().splitlines())]
        assert numbers == list(range(250))
        assert closed(world, "rows") == {CloseReason.COMPLETED: 1}
        assert (table.opened, table.closed) == (1, 1)


async def test_a_form_that_is_not_there_is_refused(autojump_clock: MockClock) -> None:
    async with open_own(lambda: stream_rows(Table(1).open)) as world:
        answer = await world.request("GET", "/own", accept="image/png")
        assert answer.problem == (406, "form_unacceptable")


async def test_a_table_without_rows(autojump_clock: MockClock) -> None:
    async with open_own(lambda: stream_rows(Table(0).open, JSON_ARRAY)) as world:
        assert (await get(world))[2:] == (b"[]\n", True)


@pytest.mark.parametrize("form", [JSON_ARRAY, NDJSON, CSV])
async def test_an_error_in_the_middle_cuts_the_connection(autojump_clock: MockClock, form: RowForm) -> None:
    table = Table(1000, fails_at=500)
    async with open_own(lambda: stream_rows(table.open, form)) as world:
        _, _, body, whole = await get(world)
        assert len(body) > 50_000
        assert not whole
        with pytest.raises(json.JSONDecodeError):
            json.loads(body)
        assert closed(world, "rows") == {CloseReason.FAILED: 1}
        assert table.closed == 1


async def test_a_source_that_does_not_close_well_has_not_been_sent_whole(autojump_clock: MockClock) -> None:
    @asynccontextmanager
    async def source() -> AsyncIterator[Rows]:
        async def batches() -> AsyncIterator[list[tuple[int]]]:
            yield [(1,)]

        yield Rows(("n",), batches())
        raise RuntimeError("the transaction was rolled back")

    async with open_own(lambda: stream_rows(source)) as world:
        assert (await get(world))[2:] == (b'[\n{"n":1}', False)


async def test_a_source_that_cannot_be_opened_is_told_with_a_status(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    @asynccontextmanager
    async def source() -> AsyncIterator[Rows]:
        raise OSError("no database")
        yield

    async with open_own(lambda: stream_rows(source)) as world:
        peer = world.connect()
        answer = await peer.request("GET", "/own", accept="text/csv")
        assert answer.problem == (503, "storage_failed")
        assert "no database" not in answer.body.decode()
        assert answer.headers["content-length"] == str(len(answer.body))
        assert answer.headers.keys().isdisjoint({"transfer-encoding", "content-disposition"})
        assert answer.headers["x-content-type-options"] == "nosniff"
        await world.wait_no_stream()
        assert closed(world, "rows") == {CloseReason.FAILED: 1}
    assert "no database" in caplog.text


async def test_a_source_says_itself_what_is_wrong(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    @asynccontextmanager
    async def source() -> AsyncIterator[Rows]:
        raise ProblemError("dataset_unknown", "It is gone.", Retry_After="7")
        yield

    async with open_own(lambda: stream_rows(source)) as world:
        for version in ("1.1", "1.0"):
            peer = world.connect()
            await ask(peer.stream, version=version)
            answer = b""
            while piece := await peer.stream.receive_some():
                answer += piece
            assert answer.startswith(b"HTTP/1.1 404 ")
            assert b"\r\nretry-after: 7\r\n" in answer
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "dataset_unknown"
            await peer.aclose()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_source_that_takes_long_to_open_has_its_head_sent_before(autojump_clock: MockClock) -> None:
    @asynccontextmanager
    async def source() -> AsyncIterator[Rows]:
        await trio.sleep(60)
        raise OSError("no database")
        yield

    async with open_own(lambda: stream_rows(source)) as world:
        peer = world.connect()
        with trio.fail_after(6):
            response = await peer._ask("GET", "/own", b"", {})
        assert response.status_code == 200
        assert await peer.next_http_event() is None
        assert closed(world, "rows") == {CloseReason.FAILED: 1}


async def test_two_columns_of_one_name_are_a_failure(autojump_clock: MockClock) -> None:
    @asynccontextmanager
    async def source() -> AsyncIterator[Rows]:
        async def batches() -> AsyncIterator[list[tuple[int, int]]]:
            yield [(1, 2)]

        yield Rows(("id", "id"), batches())

    async with open_own(lambda: stream_rows(source)) as world:
        assert (await world.request("GET", "/own")).problem == (500, "server_failed")


async def test_a_slow_reader_is_read_ahead_of_by_no_more_than_a_batch(autojump_clock: MockClock) -> None:
    """Ten kilobytes a second of a table of a gigabyte; another reader is not held up."""
    table, other = Table(10_000_000), Table(1000)
    tables = [table, other]
    async with open_own(lambda: stream_rows(tables.pop(0).open, NDJSON)) as world:
        _, client = slow_connection(world, room=16_384)
        await ask(client)
        await client.receive_some(1000)
        tracemalloc.start()
        try:
            for _ in range(100):
                await trio.sleep(1)
                await client.receive_some(10_000)
                assert table.read * 115 < client.received + 50_000
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert client.received > 900_000
        assert most < 1_000_000
        before = trio.current_time()
        assert (await get(world))[3]
        assert trio.current_time() == before
        client.reset()
        await world.wait_no_stream()
        assert (table.opened, table.closed, table.closed_at) == (1, 1, before)


@pytest.mark.time_limit(1_000_000)
@pytest.mark.parametrize(
    ("opens", "fails_at", "steps"), [(True, None, 10), (True, 200, 10), (False, None, 3)]
)
async def test_cancelled_at_any_step_rows_leave_nothing_open(
    autojump_clock: MockClock, opens: bool, fails_at: int | None, steps: int
) -> None:
    table = Table(300, fails_at=fails_at)
    table.opens = opens

    async def one() -> None:
        _, client = slow_connection(world, room=2000)
        async with client:
            await ask(client)
            try:
                while await client.receive_some(3000):
                    await trio.sleep(0.1)
            except trio.BrokenResourceError:
                pass

    async def nothing_left(step: int) -> None:
        await world.wait_no_stream()
        assert table.opened == table.closed

    async with open_own(lambda: stream_rows(table.open)) as world:
        assert await cancel_at_each_step(one, after=nothing_left) > steps
        assert world.application.registry.leaked == 0


def misuses() -> list[tuple[Any, str]]:
    async def generates() -> AsyncIterator[Rows]:
        yield Rows((), None)  # type: ignore[arg-type]

    return [(Table(1).open(), "leave out the"), (generates, "asynccontextmanager"), ("SELECT 1", "SELECT 1")]


@pytest.mark.parametrize("number", range(3))
async def test_what_is_no_row_source_is_refused_with_a_reason(autojump_clock: MockClock, number: int) -> None:
    source, words = misuses()[number]

    def make() -> Response:
        with pytest.raises(TypeError, match=words):
            stream_rows(source)
        return Response("as expected")

    async with open_own(make) as world:
        assert (await get(world))[2] == b"as expected"


# From a thread


class Library:
    """A library that blocks: what its thread opened and closed, and a call of it that can be interrupted."""

    def __init__(self, batches: int, *, fails: bool = False, hangs_at: int | None = None) -> None:
        self.batches = batches
        self.fails = fails
        self.hangs_at = hangs_at
        self.threads: list[threading.Thread] = []
        self.closed = threading.Event()
        self.hanging = threading.Event()
        self.interrupted = threading.Event()

    @contextmanager
    def open(self) -> Iterator[BlockingRows]:
        self.threads.append(threading.current_thread())
        try:
            yield BlockingRows(("n",), self._read(), self.interrupted.set)
        finally:
            self.threads.append(threading.current_thread())
            self.closed.set()

    def _read(self) -> Iterator[list[tuple[int]]]:
        for number in range(self.batches):
            if number == self.hangs_at:
                self.hanging.set()
                assert self.interrupted.wait(20), "nobody interrupts"
                raise InterruptedError
            yield [(number,)]
        if self.fails:
            raise OSError("the database is gone")


async def test_rows_from_a_thread_come_in_order_and_it_ends() -> None:
    library = Library(100)
    async with open_own(lambda: stream_rows(rows_from_thread(library.open), NDJSON)) as world:
        _, _, body, whole = await get(world)
        assert [json.loads(line)["n"] for line in body.splitlines()] == list(range(100))
        assert whole
        assert library.closed.is_set()
        assert library.threads[0] is library.threads[1]
        assert not library.interrupted.is_set()


async def test_an_error_in_the_thread_comes_behind_the_rows_before_it() -> None:
    library = Library(5, fails=True)
    async with open_own(lambda: stream_rows(rows_from_thread(library.open), NDJSON)) as world:
        _, _, body, whole = await get(world)
        assert len(body.splitlines()) == 5
        assert not whole
        assert closed(world, "rows") == {CloseReason.FAILED: 1}


async def test_an_error_at_opening_in_the_thread_is_a_failure() -> None:
    @contextmanager
    def fails() -> Iterator[BlockingRows]:
        raise OSError("no database")
        yield

    async with open_own(lambda: stream_rows(rows_from_thread(fails))) as world:
        assert (await world.request("GET", "/own")).problem == (503, "storage_failed")
        await world.wait_no_stream()
        assert closed(world, "rows") == {CloseReason.FAILED: 1}


async def wait_until(true: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not true():
            await trio.sleep(0.001)


@pytest.mark.parametrize("hangs_at", [None, 0, 3])
async def test_a_thread_whose_client_is_gone_ends(
    hangs_at: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    library = Library(1_000_000, hangs_at=hangs_at)
    async with open_own(lambda: stream_rows(rows_from_thread(library.open), NDJSON)) as world:
        _, client = slow_connection(world, room=1000)
        await ask(client)
        if hangs_at is not None:
            await wait_until(library.hanging.is_set)
        else:
            await wait_until(lambda: len(client._kernel.to_client) > 900)
        client.reset()
        await wait_until(lambda: not world.application.registry.streams)
        assert library.closed.is_set()
        assert library.interrupted.is_set() is (hangs_at is not None)
        assert closed(world, "rows") == {CloseReason.CLIENT_DISCONNECTED: 1}
        assert "failed" not in caplog.text


async def test_streams_beyond_the_limiter_wait_and_can_be_cancelled_there() -> None:
    limiter = trio.CapacityLimiter(1)
    library = Library(3)
    source = rows_from_thread(library.open, limiter=limiter)
    async with open_own(lambda: stream_rows(source, NDJSON)) as world, limiter:
        peer = world.connect()
        await ask(peer.stream)
        await wait_until(lambda: bool(world.application.registry.streams))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert library.threads == []
        await peer.aclose()
        await wait_until(lambda: not world.application.registry.streams)
    assert library.threads == []


def sqlite_rows(path: Path) -> RowSource:
    @contextmanager
    def open_rows() -> Iterator[BlockingRows]:
        connection = sqlite3.connect(path)
        try:
            cursor = connection.execute("SELECT n, text FROM t ORDER BY n")
            columns = [column[0] for column in cursor.description]
            yield BlockingRows(columns, iter(lambda: cursor.fetchmany(500), []), connection.interrupt)
        finally:
            connection.close()

    return rows_from_thread(open_rows)


async def test_any_database_of_pythons_db_api_is_a_source(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE t (n INTEGER, text TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", ((n, "x" * 100) for n in range(20_000)))
    connection.close()
    async with open_own(lambda: stream_rows(sqlite_rows(path))) as world:
        started = time.monotonic()
        _, _, body, whole = await get(world)
        print(f"20,000 rows in {time.monotonic() - started:.2f} s")
        assert whole
        assert [row["n"] for row in json.loads(body)] == list(range(20_000))
