"""The data directory: what outlives the process is in it, and one process at a time has it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = "lock"


@contextmanager
def open_data_directory(directory: str) -> Iterator[Path]:
    """`directory`, made where it is missing, for this user alone, and held until the block is left.

    The lock is the kernel's: it goes with the process, however that ends.

    Raises:
        OSError: it cannot be made or written to, or another process has it.
    """
    path = Path(directory)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"the data directory {directory} is in use by another process") from None
        yield path
    finally:
        os.close(descriptor)
