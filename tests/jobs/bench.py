"""Jobs and datasets without HTTP: a hub, a directory, and bodies from memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import trio

from server.jobs import (
    READERS,
    DatasetLimits,
    DatasetUnknownError,
    ImportServices,
    Job,
    JobLimits,
    Upload,
    import_rows,
    open_imports,
)
from tests.support.hubs import open_hub

NDJSON = "application/x-ndjson"


def lines(count: int, word: str) -> bytes:
    """`count` rows that all say `word`."""
    return b"".join(b'{"n":%d,"word":"%s"}\n' % (number, word.encode()) for number in range(count))


@asynccontextmanager
async def open_bench(
    directory: Path, jobs: JobLimits | None = None, datasets: DatasetLimits | None = None
) -> AsyncIterator[ImportServices]:
    """The services, running, with what is in `directory`."""
    hub = open_hub()
    with open_imports(directory, hub, jobs or JobLimits(), datasets or DatasetLimits(), 2**30) as imports:
        async with trio.open_nursery() as nursery:
            await nursery.start(imports.run)
            yield imports
            nursery.cancel_scope.cancel()


async def import_pieces(
    imports: ImportServices, name: str, pieces: Iterable[bytes], media_type: str = NDJSON
) -> Job:
    """Import a body that comes whole, and wait for the end."""
    upload = Upload()
    job = await imports.jobs.start(
        name, None, import_rows(imports.datasets, name, READERS[media_type], upload)
    )
    try:
        for piece in pieces:
            if not await upload.feed(piece):
                break
        else:
            upload.complete()
        await job.wait_ended()
    finally:
        upload.fail("body_incomplete", "The connection ended within the body.")
    return job


async def words_of(imports: ImportServices, name: str) -> set[str] | None:
    """Which words the rows say, None where there is no such dataset."""
    try:
        return {str(row[1]) for row in await rows_of(imports, name)}
    except DatasetUnknownError:
        return None


async def rows_of(
    imports: ImportServices, name: str, after: int = 0, limit: int | None = None
) -> list[Sequence[object]]:
    """The rows of a dataset."""
    async with imports.datasets.rows(name, after, limit)() as rows:
        return [row async for batch in rows.batches for row in batch]


def files_in(directory: Path) -> list[str]:
    """The files of rows."""
    return sorted(path.name for path in (directory / "datasets").iterdir())


def files_of_datasets(directory: Path) -> list[str]:
    """The files of rows that the catalog names."""
    connection = apsw.Connection(str(directory / "datasets.sqlite"))
    try:
        return sorted(file for (file,) in connection.execute("SELECT file FROM datasets"))
    finally:
        connection.close()
