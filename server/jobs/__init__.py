"""Jobs and what they make: imports, and the datasets that can be read as a stream of rows."""

from .catalog import Dataset, DatasetsFullError, StoreError, StoreFullError
from .datasets import DatasetLimits, Datasets, DatasetUnknownError, ReadersFullError
from .events import ended_job_events, last_event_id, running_job_events
from .imports import READERS, ReadRows, Upload, import_rows
from .job import JOB_TOPIC_PREFIX, Fault, Job, JobError, JobRecord, JobState
from .jobs import JobExistsError, JobLimits, Jobs, JobsFullError
from .services import ImportServices, open_imports

__all__ = [
    "JOB_TOPIC_PREFIX",
    "READERS",
    "Dataset",
    "DatasetLimits",
    "DatasetUnknownError",
    "Datasets",
    "DatasetsFullError",
    "Fault",
    "ImportServices",
    "Job",
    "JobError",
    "JobExistsError",
    "JobLimits",
    "JobRecord",
    "JobState",
    "Jobs",
    "JobsFullError",
    "ReadRows",
    "ReadersFullError",
    "StoreError",
    "StoreFullError",
    "Upload",
    "ended_job_events",
    "import_rows",
    "last_event_id",
    "open_imports",
    "running_job_events",
]
