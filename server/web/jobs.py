"""Jobs over HTTP: look at them, follow them, cancel them."""

from __future__ import annotations

from itertools import islice

from quart import Blueprint, Response, request

from ..hub import Live
from ..jobs import (
    ImportServices,
    Job,
    JobState,
    StoreError,
    StoreFullError,
    ended_job_events,
    last_event_id,
    running_job_events,
)
from ..lifecycle import CloseReason
from ..streams import EventServices, head_of
from ..transport import STREAM_HEADERS
from ..wire import sse
from ..wire.problem import Problem, ProblemError
from .answers import event_stream, json_response, problem_response, refuse_events, refused_response
from .requests import DEFAULT_PAGE, MAX_PAGE, check_accepts_events, check_name, query_of, whole_number


def jobs_blueprint(imports: ImportServices, services: EventServices) -> Blueprint:
    """The routes of `/jobs`."""
    blueprint = Blueprint("jobs", __name__)
    jobs = imports.jobs
    install_storage_errors(blueprint)

    def known(id: str) -> Job:
        job = jobs.get(check_name(id))
        if job is None:
            raise ProblemError("job_unknown", "There is no job of this id, or it ended too long ago.")
        return job

    @blueprint.get("/jobs")
    async def look_at_all() -> Response:
        query = query_of(head_of(request), frozenset({"limit", "after", "state", "dataset"}))
        limit = whole_number(query, "limit", DEFAULT_PAGE, least=1, most=MAX_PAGE)
        state, dataset, after = query.get("state"), query.get("dataset"), query.get("after")
        if state is not None and state not in list(JobState):
            raise ProblemError("query_invalid", f"state is {' or '.join(JobState)}.")
        newest_first = jobs.newest_first()
        if after is not None and not any(job.id == after for job in newest_first):
            raise ProblemError("query_invalid", "after is the id of a job that is known here.")
        matching = (
            job
            for job in newest_first
            if state in (None, job.record.state) and dataset in (None, job.record.dataset)
        )
        found = list(islice(matching, limit + 1))
        shown = [job.record.shown() for job in found[:limit]]
        return json_response({"jobs": shown, "next": found[limit - 1].id if len(found) > limit else None})

    @blueprint.get("/jobs/<id>")
    async def look(id: str) -> Response:
        query_of(head_of(request), frozenset())
        return json_response(known(id).record.shown())

    @blueprint.get("/jobs/<id>/events")
    async def follow(id: str) -> Response:
        head = head_of(request)
        query = query_of(head, frozenset({"last_event_id"}))
        job = known(id)
        check_accepts_events(head)
        if (head.header("last-event-id") or query.get("last_event_id")) == last_event_id(job):
            return Response(b"", 204)
        if job.ended:
            body = ended_job_events(job, services.gate.retry_ms())
            return Response(body, headers=STREAM_HEADERS, content_type=sse.CONTENT_TYPE)
        if services.gate.draining:
            detail = "The server is shutting down."
            refusal = refuse_events(
                head, "server_draining", detail, CloseReason.SERVER_DRAINING, services.gate
            )
            return refused_response(refusal)
        # Only the newest counts: wherever a client resumes, that is what it gets.
        stream = running_job_events(services, head.without_headers(), job, Live())
        return event_stream(stream.run)

    @blueprint.post("/jobs/<id>/cancel")
    async def cancel(id: str) -> Response:
        query_of(head_of(request), frozenset())
        job = known(id)
        await jobs.cancel(job)
        return json_response(job.record.shown())

    @blueprint.delete("/jobs/<id>")
    async def forget(id: str) -> Response:
        query_of(head_of(request), frozenset())
        await jobs.forget(known(id))
        return Response(b"", 204)

    return blueprint


def install_storage_errors(blueprint: Blueprint) -> None:
    """Answer what the store of datasets and jobs raises."""

    @blueprint.errorhandler(StoreError)
    async def say_storage_failed(error: StoreError) -> Response:
        if isinstance(error, StoreFullError):
            return problem_response(Problem("storage_full", "The disk is full."))
        detail = "The store of datasets and jobs fails; the server's log has the cause."
        return problem_response(Problem("storage_failed", detail))
