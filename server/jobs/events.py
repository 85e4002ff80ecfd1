"""The event stream of a job: its progress, which is a topic, and how it ended, which is its record.

The last event is made by each stream for itself, so that it is the same, with the same id, for who watched
the end, for who comes later, and after a restart.
"""

from __future__ import annotations

import random

from ..hub import Selection, Start
from ..lifecycle import CloseReason, RequestHead
from ..streams import FIRST_RETRY_MS, EventServices, EventStream, closing_event
from ..wire import json_text, sse
from .job import Job


def running_job_events(services: EventServices, head: RequestHead, job: Job, start: Start) -> EventStream:
    """What a job that runs tells, up to its last event."""
    return EventStream(
        services,
        head,
        Selection((job.topic,)),
        start,
        kind="job",
        until=job.watched_by,
        last=lambda: _last_event(job),
    )


def ended_job_events(job: Job, retry_ms: int) -> bytes:
    """The whole body for who comes after the end."""
    first = sse.encode_event(retry=random.randint(*FIRST_RETRY_MS))
    return first + _last_event(job) + closing_event(CloseReason.COMPLETED, retry_ms)


def last_event_id(job: Job) -> str:
    """The id of the last event of `job`.  Who has it has had everything."""
    return f"{job.id}:ended"


def _last_event(job: Job) -> bytes:
    event, data = job.record.outcome()
    return sse.encode_event(id=last_event_id(job), event=event, data=json_text.encode(data))
