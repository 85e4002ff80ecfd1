"""Rows of PostgreSQL, read with a server-side cursor, so that the result stays with the database.

Needs psycopg, which the extra `postgres` brings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import trio

from .rows import RowSource
from .threads import INTERRUPT_SECONDS, BlockingRows, rows_from_thread

if TYPE_CHECKING:
    from psycopg.abc import Query

BATCH_ROWS = 500


def postgres_rows(
    conninfo: str,
    query: Query,
    parameters: Sequence[object] | Mapping[str, object] | None = None,
    *,
    batch_rows: int = BATCH_ROWS,
    limiter: trio.CapacityLimiter | None = None,
) -> RowSource:
    """The rows of `query` on a connection of the stream's own, in a read-only transaction.

    Both end with the stream; a query that is being worked on when the client goes away is cancelled.

    Args:
        conninfo: where the database is: psycopg's connection string or URI.
        query: with placeholders for `parameters`, as psycopg has them.
        parameters: never put into the query's text.
        batch_rows: rows that are fetched at once, and kept in memory twice at most.
        limiter: see `rows_from_thread`.

    Raises:
        RuntimeError: psycopg is not installed.
    """
    try:
        import psycopg  # noqa: PLC0415 - of an extra
    except ImportError as error:
        raise RuntimeError("rows of PostgreSQL need psycopg: pip install 'sluiceway[postgres]'") from error

    @contextmanager
    def open_rows() -> Iterator[BlockingRows]:
        with psycopg.connect(conninfo) as connection:
            connection.read_only = True
            with connection.cursor(name="sluiceway_rows") as cursor:
                cursor.execute(query, parameters)
                columns = tuple(column.name for column in cursor.description or ())
                batches = iter(partial(cursor.fetchmany, batch_rows), [])
                yield BlockingRows(
                    columns, batches, partial(connection.cancel_safe, timeout=INTERRUPT_SECONDS)
                )

    return rows_from_thread(open_rows, limiter=limiter)
