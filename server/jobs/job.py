"""A job: something that takes long, in a task of its own, with a state that can be looked at and a topic that
tells of its progress.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import msgspec
import trio

from ..lifecycle import CloseReason, OpenStream
from ..wire.times import rfc3339

JOB_TOPIC_PREFIX = "jobs/"


class JobState(StrEnum):
    """How a job stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Fault(msgspec.Struct, frozen=True):
    """Why a job has failed: a code of the table of problems, a sentence, and the line of the input."""

    code: str
    message: str
    line: int | None = None


class JobError(Exception):
    """Ends a job as failed, for the reason in `fault`."""

    def __init__(self, code: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.fault = Fault(code, message, line)


class JobRecord(msgspec.Struct):
    """What is kept of a job.  `current` and `total` are bytes; times are Unix time."""

    id: str
    dataset: str
    started: float
    total: int | None = None
    state: JobState = JobState.RUNNING
    current: int = 0
    rows: int = 0
    fault: Fault | None = None
    ended: float | None = None

    @property
    def percent(self) -> float | None:
        """How much of the total, to a tenth and rounded down; None where the total is not known."""
        if self.state is JobState.DONE:
            return 100.0
        if self.total is None:
            return None
        return self.current * 1000 // self.total / 10 if self.total else 0.0

    def progress(self) -> dict[str, object]:
        """What an event of progress says."""
        return {"current": self.current, "total": self.total, "percent": self.percent, "rows": self.rows}

    def outcome(self) -> tuple[str, dict[str, object]]:
        """The last event: its name and data."""
        if self.state is JobState.DONE:
            return "done", {"complete": True, **self.progress(), "dataset": self.dataset}
        assert self.fault is not None
        return "error", {**_shown_fault(self.fault), "state": self.state.value}

    def shown(self) -> dict[str, object]:
        """What a client is shown."""
        return {
            "id": self.id,
            "dataset": self.dataset,
            "state": self.state.value,
            **self.progress(),
            "error": None if self.fault is None else _shown_fault(self.fault),
            "started": rfc3339(self.started),
            "ended": None if self.ended is None else rfc3339(self.ended),
        }


def _shown_fault(fault: Fault) -> dict[str, object]:
    shown: dict[str, object] = {"code": fault.code, "message": fault.message}
    return shown if fault.line is None else shown | {"line": fault.line}


class Job:
    """A job of this process, or one that an earlier process has left a record of."""

    def __init__(self, record: JobRecord, ended_at: float | None = None) -> None:
        """`ended_at`, on Trio's clock, is for one that has ended."""
        self.record = record
        self.ended_at = ended_at
        self.scope = trio.CancelScope()
        self.committed = False
        """Whether its work has taken effect, so that it is done whatever comes."""
        self.digest: bytes | None = None
        """Of its input, where somebody wants to compare it."""
        self.told_at = float("-inf")
        self._ended = trio.Event()
        self._watching: set[OpenStream] = set()
        if ended_at is not None:
            self._ended.set()

    @property
    def id(self) -> str:
        """Its name among jobs."""
        return self.record.id

    @property
    def topic(self) -> str:
        """The topic that tells of it."""
        return JOB_TOPIC_PREFIX + self.record.id

    @property
    def ended(self) -> bool:
        """Whether it has, with all that it did undone where it was not done."""
        return self._ended.is_set()

    async def wait_ended(self) -> None:
        """Wait for its end."""
        await self._ended.wait()

    def end(self) -> None:
        """Say that it has ended, to those who wait and to the streams that watch."""
        self.ended_at = trio.current_time()
        self._ended.set()
        for stream in self._watching:
            stream.end(CloseReason.COMPLETED)

    @contextmanager
    def watched_by(self, stream: OpenStream) -> Iterator[None]:
        """Let `stream` end, at a message boundary, when the job has ended."""
        self._watching.add(stream)
        try:
            if self.ended:
                stream.end(CloseReason.COMPLETED)
            yield
        finally:
            self._watching.discard(stream)
