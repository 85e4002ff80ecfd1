"""Rows of a table as a stream: JSON array, NDJSON or CSV, batch by batch as the client takes them.

A *row source* is a function that opens rows: an async context manager of column names and batches.  What it
opens (a connection, a transaction, a cursor) is held as long as the stream, and no longer.  The next batch is
asked for when the client has taken the last one, so a table of any size costs a batch or two of memory.

The head waits, for `OPEN_SECONDS`, until the source is open: one that cannot be opened is answered 503.  Once
rows are on their way, no status can tell of a failure.  The answer is then cut off: a JSON array stays open,
and the last chunk does not come.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from quart import Response

from ..lifecycle import RequestHead
from ..transport import STREAM_HEADERS
from ..wire import csv, json_array, ndjson
from ..wire.problem import ProblemError
from .heads import preferred_type
from .own import OwnStream, asked_for, current_services
from .responses import StreamBody
from .sources import open_items
from .writers import ByteWriter

SLICE = 250
"""Rows that are encoded and written at once, half a millisecond of work; others run in between."""

OPEN_SECONDS = 5.0
"""For which the head waits for the source.  Opened later than that, a failure of it is a cut."""

Batch = Sequence[Sequence[object]]


@dataclass(frozen=True, slots=True)
class Rows:
    """What a row source has opened: the names of the columns, and the rows in batches, each row with a value
    for each column.  `batches` is closed at the end where it can be.
    """

    columns: Sequence[str]
    batches: AsyncIterable[Batch]


RowSource = Callable[[], AbstractAsyncContextManager[Rows]]


class RowEncoder(Protocol):
    """How a form writes rows."""

    def begin(self) -> bytes:
        """What stands before the first row."""

    def rows(self, rows: Iterable[Sequence[object]]) -> bytes:
        """`rows`, behind those before."""

    def end(self) -> bytes:
        """What stands behind the last row."""


@dataclass(frozen=True, slots=True)
class RowForm:
    """A form that rows can have: its media type, and what makes an encoder for columns."""

    content_type: str
    encoder: Callable[[Sequence[str]], RowEncoder]


JSON_ARRAY = RowForm(json_array.CONTENT_TYPE, json_array.JsonArray)
NDJSON = RowForm(ndjson.CONTENT_TYPE, ndjson.Lines)
CSV = RowForm(csv.CONTENT_TYPE, csv.Csv)
ROW_FORMS = (JSON_ARRAY, NDJSON, CSV)
"""The forms, the one first that is sent to clients which take any."""


def stream_rows(source: RowSource, form: RowForm | None = None) -> Response:
    """An answer of rows, as `source` yields them.

    Args:
        source: opened before the answer's head leaves, and closed with the stream.  Where opening it fails
            the answer is 503 `storage_failed`, or the `ProblemError` that it raises; where it takes more than
            five seconds, the head goes before it.
        form: JSON array, NDJSON or CSV; where it is None, as the request's Accept says.

    Raises:
        ProblemError: `form_unacceptable`, where Accept names none of the forms; `server_draining`.
        RuntimeError: not called by a route of an app of this server.
    """
    _check_source(source)
    head = asked_for("stream_rows")
    chosen = form or form_of(head)

    async def write(output: ByteWriter) -> None:
        await write_rows(output, _or_problem(source), chosen)

    own = OwnStream(
        current_services(), head.without_headers(), "rows", write, ByteWriter, head_after=OPEN_SECONDS
    )
    return Response(StreamBody(own.run), headers=STREAM_HEADERS, content_type=chosen.content_type)


def _check_source(source: object) -> None:
    if hasattr(source, "__aenter__"):
        raise TypeError("stream_rows takes the row source itself: leave out the () behind it")
    if not callable(source) or inspect.isasyncgenfunction(source) or inspect.iscoroutinefunction(source):
        raise TypeError(
            "stream_rows takes a function that returns an async context manager of Rows, such as a generator "
            f"function with @asynccontextmanager, not {source!r}"
        )


def _or_problem(source: RowSource) -> RowSource:
    """`source`, of which it is a `ProblemError` not to open."""

    @asynccontextmanager
    async def open_rows() -> AsyncGenerator[Rows, None]:
        async with AsyncExitStack() as stack:
            try:
                rows = await stack.enter_async_context(source())
            except ProblemError:
                raise
            except Exception as error:
                detail = "The rows cannot be read now; the server's log has the cause."
                raise ProblemError("storage_failed", detail) from error
            yield rows

    return open_rows


async def write_rows(output: ByteWriter, source: RowSource, form: RowForm) -> None:
    """Write all rows of `source` in `form`.  Its end is written after the source has been closed well."""
    async with source() as rows:
        encoder = form.encoder(rows.columns)
        await output.write(encoder.begin())
        async with open_items(rows.batches) as batches:
            async for batch in batches:
                for start in range(0, len(batch), SLICE):
                    await output.write(encoder.rows(batch[start : start + SLICE]))
    await output.write(encoder.end())


def form_of(head: RequestHead) -> RowForm:
    """The form that the request's Accept likes best.

    Raises:
        ProblemError: `form_unacceptable`.
    """
    types = {form.content_type.partition(";")[0]: form for form in ROW_FORMS}
    best = preferred_type(head, list(types))
    if best is None:
        raise ProblemError("form_unacceptable", f"Available here: {', '.join(types)}.")
    return types[best]
