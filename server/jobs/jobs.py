"""Jobs: the service that runs them, keeps what became of them, and tells of their progress.

Each job is a task in the service's nursery with a cancel scope of its own.  What it does is all or nothing:
its last step is one transaction that also says that it is done (`Running.commit`), and until then whatever
ends it undoes it.  Its topic `jobs/<id>` tells how far it is; how it ended is told by
its record (`events`).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
import trio

from ..hub import Draft, Hub
from ..wire import json_text
from .catalog import Catalog, DatasetsFullError, StoreError, StoreFullError
from .job import Fault, Job, JobError, JobRecord, JobState

CLEANUP_SECONDS = 5.0
"""How long it may take to keep how a cancelled or failed job ended."""
TELL_SECONDS = 0.1
"""Between two events of progress."""

_log = logging.getLogger("sluiceway.jobs")


class JobsFullError(Exception):
    """As many jobs run as may at once."""


class JobExistsError(Exception):
    """There is a job of that id already."""


@dataclass(frozen=True, slots=True)
class JobLimits:
    """How many jobs may run at once, how many are kept, and for how long those that have ended (seconds)."""

    running: int = 4
    kept: int = 1000
    seconds: float = 86_400.0


class Running:
    """A job as its own work sees it."""

    def __init__(self, jobs: Jobs, job: Job) -> None:
        self._jobs = jobs
        self.job = job

    async def advance(self, size: int) -> None:
        """Say that `size` bytes more of the input have been taken."""
        self.job.record.current += size
        await self._jobs.tell(self.job)

    async def commit(self, keep: Callable[[JobRecord], Awaitable[object]]) -> None:
        """Let `keep` put the result in place together with the record it is given, in one transaction.

        From here on the job cannot be cancelled: it is done when this returns.

        Raises:
            Exception: whatever `keep` raises; the job is then not done.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        record = self.job.record
        done = msgspec.structs.replace(record, state=JobState.DONE, ended=time.time())
        with trio.CancelScope(shield=True):
            await keep(done)
        # No checkpoint between what is kept and this.
        self.job.record = done
        self.job.committed = True


Work = Callable[[Running], Awaitable[None]]
"""What a job does.  It commits once, as its last step; where it raises, or is cancelled, nothing is left."""


class Jobs:
    """The jobs of this process, and the records of earlier ones."""

    def __init__(self, hub: Hub, catalog: Catalog, limits: JobLimits, known: Sequence[JobRecord]) -> None:
        """`known` are the records of earlier processes, oldest first, all of them of jobs that have ended."""
        self._hub = hub
        self._catalog = catalog
        self._limits = limits
        self._nursery: trio.Nursery | None = None
        # In the order in which they began.
        self._jobs: dict[str, Job] = {}
        now, wall = trio.current_time(), time.time()
        for record in known:
            self._jobs[record.id] = Job(record, now - max(0.0, wall - (record.ended or wall)))
        # Forgotten, and still to be taken out of the catalog.
        self._gone: list[str] = []

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run jobs until cancelled, which cancels them."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    # Looking

    @property
    def running(self) -> int:
        """How many run."""
        return sum(not job.ended for job in self._jobs.values())

    def get(self, id: str) -> Job | None:
        """The job of that id."""
        self._forget_expired()
        return self._jobs.get(id)

    def newest_first(self) -> Iterator[Job]:
        """All jobs."""
        self._forget_expired()
        return reversed(self._jobs.values())

    # Running

    def admit(self, id: str | None) -> None:
        """Make sure that one more job, of that id, can begin.

        Raises:
            JobsFullError, JobExistsError: it cannot.
        """
        if self._nursery is None or self.running >= self._limits.running:
            raise JobsFullError
        if id is not None and self.get(id) is not None:
            raise JobExistsError

    async def start(self, dataset: str, total: int | None, work: Work, id: str | None = None) -> Job:
        """Begin a job that does `work`, whose input has `total` bytes.  Its id is random where none is given.

        Raises:
            JobsFullError, JobExistsError: it cannot begin.
            StoreError: nor can it be kept.
        """
        self.admit(id)
        record = JobRecord(id or secrets.token_hex(16), dataset, time.time(), total)
        job = self._jobs[record.id] = Job(record)
        gone = self._make_room(record.id)
        try:
            await self._catalog.save_job(record, gone)
            if self._nursery is None:
                # The server has stopped meanwhile.  For the next process the job was interrupted.
                raise JobsFullError
        except BaseException:
            del self._jobs[record.id]
            # Taken out of the catalog with the next one.  Where they already are, that does nothing.
            self._gone += gone
            raise
        self._nursery.start_soon(self._run, job, work)
        return job

    async def cancel(self, job: Job) -> None:
        """Cancel `job`, and wait until what it did is undone; nothing where it has ended, or is just done."""
        job.scope.cancel()
        await job.wait_ended()

    async def forget(self, job: Job) -> None:
        """Cancel `job`, and keep nothing of it.

        Raises:
            StoreError: its record is kept all the same.
        """
        await self.cancel(job)
        # Another call may have forgotten it meanwhile, and a new job have its id.
        if self._jobs.get(job.id) is not job:
            return
        await self._catalog.forget_job(job.id)
        if self._jobs.get(job.id) is job:
            del self._jobs[job.id]
            self._hub.purge(job.topic)

    def _make_room(self, id: str) -> list[str]:
        """Forget the oldest that have ended, where there are too many for one of `id`.

        Returns all that are no longer kept.  Of those whose id a job has again that is only `id`: its record
        is to be written.
        """
        self._forget_expired()
        ended = [job.id for job in self._jobs.values() if job.ended]
        self._forget(ended[: max(0, len(self._jobs) - self._limits.kept)])
        gone = [old for old in self._gone if old == id or old not in self._jobs]
        self._gone = []
        return gone

    def _forget_expired(self) -> None:
        oldest = trio.current_time() - self._limits.seconds
        self._forget(
            [job.id for job in self._jobs.values() if job.ended_at is not None and job.ended_at < oldest]
        )

    def _forget(self, ids: Sequence[str]) -> None:
        for gone in ids:
            del self._jobs[gone]
        self._gone += ids

    async def _run(self, job: Job, work: Work) -> None:
        with self._hub.keep(job.topic):
            try:
                with job.scope:
                    await self.tell(job)
                    await work(Running(self, job))
                if not job.committed and job.record.fault is None:
                    self._fail(job, Fault("job_cancelled", "The job was cancelled."), JobState.CANCELLED)
            except Exception as error:  # noqa: BLE001 - the guard: a job that fails is no end of the server
                self._fail(job, _fault_of(error, job))
            finally:
                # A cancellation that is not the job's own: the server stops.
                if not job.committed and job.record.fault is None:
                    self._fail(job, Fault("server_draining", "The server was shut down."))
                with trio.move_on_after(CLEANUP_SECONDS, shield=True):
                    await self._keep_end(job)
                job.end()

    def _fail(self, job: Job, fault: Fault, state: JobState = JobState.FAILED) -> None:
        if not job.committed:
            job.record.state, job.record.fault, job.record.ended = state, fault, time.time()

    async def _keep_end(self, job: Job) -> None:
        """Keep how the job ended, where its commit has not."""
        if job.committed:
            return
        try:
            await self._catalog.save_job(job.record)
        except StoreError as error:
            # After a restart it will have been interrupted, which is as true.
            _log.error("what became of a job cannot be kept: %s", error)

    async def tell(self, job: Job) -> None:
        """Publish how far `job` is, unless that was said a moment ago."""
        now = trio.current_time()
        if now - job.told_at >= TELL_SECONDS:
            job.told_at = now
            draft = Draft(job.topic, json_text.encode(job.record.progress()), "progress")
            await self._hub.publish([draft])


def _fault_of(error: Exception, job: Job) -> Fault:
    match error:
        case JobError():
            return error.fault
        case DatasetsFullError():
            return Fault("datasets_full", "There are as many datasets as this server keeps.")
        case StoreFullError():
            return Fault("storage_full", "The disk is full.")
        case StoreError():
            _log.error("the store failed a job: %s", error)
            return Fault("storage_failed", "The store of datasets fails; the server's log has the cause.")
        case _:
            _log.error("job %s failed", job.id, exc_info=error)
            return Fault("server_failed", "The server failed. It has been logged.")
