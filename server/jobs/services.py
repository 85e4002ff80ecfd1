"""What jobs, imports and datasets need of the server, opened together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw
import msgspec
import trio

from ..hub import Hub
from .catalog import Catalog, open_catalog
from .datasets import DatasetLimits, Datasets
from .jobs import JobLimits, Jobs

FOLDER = "datasets"


@dataclass(frozen=True, slots=True)
class ImportServices:
    """Jobs and datasets.  `run` must be running for either to be of use."""

    jobs: Jobs
    datasets: Datasets
    max_upload: int
    """Bytes that the body of an import may have."""

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run jobs, and remove what is no longer used, until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.jobs.run)
            nursery.start_soon(self.datasets.run)
            task_status.started()


@contextmanager
def open_imports(
    directory: Path, hub: Hub, jobs: JobLimits, datasets: DatasetLimits, max_upload: int
) -> Iterator[ImportServices]:
    """The services, with what is kept in `directory`.  `run` must have ended when the block is left.

    Files that an earlier process left unfinished are removed, and jobs that it left running have failed.

    Raises:
        OSError: the directory cannot be used.
    """
    folder = directory / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    with open_catalog(directory) as catalog:
        try:
            used = catalog.files()
            catalog.end_jobs()
            known = catalog.jobs()
        except (apsw.Error, msgspec.MsgspecError) as error:
            raise OSError(f"the catalog in {directory} cannot be read: {error}") from error
        for path in folder.iterdir():
            if path.name not in used:
                path.unlink()
        shared = Catalog(catalog)
        yield ImportServices(Jobs(hub, shared, jobs, known), Datasets(shared, folder, datasets), max_upload)
