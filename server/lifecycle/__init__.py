"""What is open, and why it ended: streams, their scopes and close reasons, the registry.

Used by everything above.
"""

from .data_directory import open_data_directory, open_temporary_directory
from .garbage import rare_full_collections, run_full_collections
from .reasons import CloseReason, reconnects
from .registry import (
    STREAM_KINDS,
    ConnectionKind,
    OpenStream,
    Registry,
    StreamKind,
    WriteDeadlineError,
)
from .request_head import RequestHead

__all__ = [
    "STREAM_KINDS",
    "CloseReason",
    "ConnectionKind",
    "OpenStream",
    "Registry",
    "RequestHead",
    "StreamKind",
    "WriteDeadlineError",
    "open_data_directory",
    "open_temporary_directory",
    "rare_full_collections",
    "reconnects",
    "run_full_collections",
]
