"""Datasets over HTTP: import, list, look at, read as rows, delete."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import trio
from quart import Blueprint, Request, Response, request

from ..jobs import (
    READERS,
    Dataset,
    DatasetUnknownError,
    ImportServices,
    Job,
    JobExistsError,
    JobsFullError,
    JobState,
    ReadersFullError,
    ReadRows,
    Upload,
    import_rows,
)
from ..streams import EventServices, PulledBody, PulledRequest, Rows, head_of, stream_rows
from ..transport import BodyReadError, DrainGate
from ..wire.problem import ProblemError
from ..wire.times import rfc3339
from .answers import Answer, json_answer, json_response
from .idempotency import IdempotencyKeys, KeyedRequest, KeyScope, key_of
from .jobs import install_storage_errors
from .requests import DEFAULT_PAGE, MAX_PAGE, check_name, content_type_of, query_of, whole_number

END_SECONDS = 5.0
"""How long an answer waits for its job to end, once the body is in."""
DISCARDED = 16 * 1024 * 1024
"""Bytes of a body that are read off when its job has ended first, so that the client gets its answer."""
MOST_ROWS = 999_999_999


def datasets_blueprint(imports: ImportServices, services: EventServices, keys: IdempotencyKeys) -> Blueprint:
    """The routes of `/datasets`."""
    blueprint = Blueprint("datasets", __name__)
    datasets = imports.datasets
    install_storage_errors(blueprint)

    async def known(name: str) -> Dataset:
        try:
            return await datasets.look(check_name(name))
        except DatasetUnknownError:
            raise _unknown() from None

    @blueprint.get("/datasets")
    async def look_at_all() -> Response:
        query = query_of(head_of(request), frozenset({"limit", "after"}))
        limit = whole_number(query, "limit", DEFAULT_PAGE, least=1, most=MAX_PAGE)
        found = await datasets.list(query.get("after", ""), limit + 1)
        shown = [_summary(dataset) for dataset in found[:limit]]
        return json_response(
            {"datasets": shown, "next": shown[-1]["dataset"] if len(found) > limit else None}
        )

    @blueprint.get("/datasets/<dataset>")
    async def look(dataset: str) -> Response:
        query_of(head_of(request), frozenset())
        found = await known(dataset)
        return json_response(_summary(found) | {"columns": found.table.columns})

    @blueprint.delete("/datasets/<dataset>")
    async def delete(dataset: str) -> Response:
        query_of(head_of(request), frozenset())
        try:
            await datasets.delete(check_name(dataset))
        except DatasetUnknownError:
            raise _unknown() from None
        return Response(b"", 204)

    @blueprint.get("/datasets/<dataset>/rows")
    async def rows(dataset: str) -> Response:
        query = query_of(head_of(request), frozenset({"limit", "after"}))
        after = whole_number(query, "after", 0, least=0, most=MOST_ROWS)
        limit = whole_number(query, "limit", MOST_ROWS, least=1, most=MOST_ROWS) if "limit" in query else None
        await known(dataset)
        if datasets.full:
            raise _readers_full()

        @asynccontextmanager
        async def open_rows() -> AsyncGenerator[Rows, None]:
            try:
                async with datasets.rows(dataset, after, limit)() as rows:
                    yield rows
            except DatasetUnknownError:
                # Deleted since it was looked at.
                raise _unknown() from None
            except ReadersFullError:
                raise _readers_full() from None

        return stream_rows(open_rows)

    @blueprint.post("/datasets/<dataset>")
    async def import_body(dataset: str) -> Response:
        check_name(dataset)
        head = head_of(request)
        wanted = query_of(head, frozenset({"job"})).get("job")
        if wanted is not None:
            check_name(wanted)
        media_type, charset = content_type_of(head)
        if media_type not in READERS or charset not in ("utf-8", "utf8", "us-ascii"):
            raise ProblemError("type_unsupported", f"Send {' or '.join(READERS)}, in UTF-8, as Content-Type.")
        if services.gate.draining:
            raise ProblemError("server_draining", "The server is shutting down.", Retry_After="5")
        length = request.content_length
        if (length or 0) > imports.max_upload:
            raise _too_large(imports.max_upload)
        key = key_of(head)
        digest: bytes | None = None

        async def perform() -> Answer:
            nonlocal digest
            upload = Upload(digested=key is not None)
            job = await _start(imports, dataset, length, READERS[media_type], upload, wanted)
            await _receive(job, upload, _body(request), imports.max_upload, services.gate)
            digest = job.digest = upload.digest
            shown = {"job": job.id, **job.record.shown()}
            del shown["id"]
            answer = json_answer(shown, 202, Location=f"/jobs/{job.id}")
            if job.record.state in (JobState.FAILED, JobState.CANCELLED):
                raise _NoEffectError(answer)
            return answer

        keyed = _keyed(request, key, f"{media_type}\n{wanted}\n{length}")
        try:
            answer = await keys.answer(keyed, perform)
        except _NoEffectError as ended:
            # Whoever sends it again wants it done.
            answer = ended.answer
        else:
            if key is not None and digest is None:
                job = imports.jobs.get(dict(answer.headers)["Location"].rpartition("/")[2])
                await _check_same_body(job, _body(request), imports.max_upload)
        return answer.response()

    return blueprint


class _NoEffectError(Exception):
    """The import has an answer, and no effect."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("the import has ended without effect")
        self.answer = answer


async def _start(
    imports: ImportServices, dataset: str, length: int | None, read: ReadRows, upload: Upload, id: str | None
) -> Job:
    try:
        work = import_rows(imports.datasets, dataset, read, upload)
        return await imports.jobs.start(dataset, length, work, id)
    except JobsFullError:
        detail = "As many imports are running as this server allows."
        raise ProblemError("jobs_full", detail, Retry_After="5") from None
    except JobExistsError:
        raise ProblemError("job_exists", "There is a job of this id. Choose another one, or none.") from None


async def _receive(job: Job, upload: Upload, body: PulledBody, most: int, gate: DrainGate) -> None:
    """Hand the body over to the job, and wait a little for its end.

    Raises:
        ProblemError, BodyReadError: the body is too large, or does not come whole; the job has failed.
    """
    left = most
    broken: ProblemError | BodyReadError | None = None
    try:
        async for piece in body:
            left -= len(piece)
            if left < 0:
                raise _too_large(most)
            if not await upload.feed(piece):
                await _discard(body, job)
                break
        else:
            upload.complete()
        with trio.move_on_after(END_SECONDS):
            await job.wait_ended()
    except (ProblemError, BodyReadError) as error:
        upload.fail(error.problem.code, error.problem.detail)
        broken = error
    finally:
        if gate.draining:
            upload.fail("server_draining", "The server was shut down before the body was in.")
        else:
            upload.fail("body_incomplete", "The connection ended within the body.")
    if broken is not None:
        # What it did is undone when the client is told.
        await job.wait_ended()
        raise broken


async def _discard(body: PulledBody, job: Job) -> None:
    """Read off the rest of a body whose job has ended, unless it is long: then the client is told to stop."""
    await job.wait_ended()
    left = DISCARDED
    async for piece in body:
        left -= len(piece)
        if left < 0:
            fault = job.record.fault
            assert fault is not None
            raise ProblemError(fault.code, f"{fault.message} The rest of the body has not been read.")


def _keyed(request: Request, key: str | None, head: str) -> KeyedRequest | None:
    """`request` as one with `key`, by its head alone: the body is compared when it has been read."""
    if key is None:
        return None
    fingerprint = hashlib.blake2b(head.encode(), digest_size=32).digest()
    return KeyedRequest(KeyScope(request.method, request.path, "", key), fingerprint)


async def _check_same_body(job: Job | None, body: PulledBody, most: int) -> None:
    """Read the body of a request whose key is known, and compare it with the one that the job had.

    Raises:
        ProblemError: `idempotency_key_reused`, `body_too_large`.
    """
    digest = hashlib.blake2b(digest_size=32)
    async for piece in body:
        most -= len(piece)
        if most < 0:
            raise ProblemError("body_too_large", "The body is larger than the one that came with this key.")
        digest.update(piece)
    if job is not None and job.digest is not None and job.digest != digest.digest():
        detail = "This key came with another body before. A new request takes a new key."
        raise ProblemError("idempotency_key_reused", detail)


def _body(request: Request) -> PulledBody:
    return cast("PulledRequest", request).body


def _too_large(most: int) -> ProblemError:
    return ProblemError("body_too_large", f"The body of an import may have {most} bytes.")


def _readers_full() -> ProblemError:
    detail = "As many streams of rows are open as this server allows."
    return ProblemError("readers_full", detail, Retry_After="5")


def _unknown() -> ProblemError:
    return ProblemError("dataset_unknown", "There is no dataset of this name.")


def _summary(dataset: Dataset) -> dict[str, object]:
    table = dataset.table
    return {
        "dataset": dataset.name,
        "rows": table.rows,
        "bytes": table.size,
        "imported": rfc3339(dataset.imported),
    }
