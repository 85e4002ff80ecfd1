"""The data directory: what outlives the process is in it, and one process at a time has it.

What needs a directory, and is not asked to outlive the process, has a temporary one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = "lock"
_TEMPORARY = "sluiceway-data-"


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


@contextmanager
def open_temporary_directory() -> Iterator[Path]:
    """A directory of this process, for this user alone, removed with all that is in it when the block is
    left.

    It is where the system keeps temporary files (`TMPDIR`).  Those that processes left there which were
    killed are removed first: what is locked belongs to one that lives.

    Raises:
        OSError: it cannot be made.
    """
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{_TEMPORARY}*"):
        _remove_if_abandoned(left)
    path = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=parent))
    # Named only when it is held, so that nobody takes it for one that was left.
    descriptor = os.open(path / "new", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        (path / "new").rename(path / _LOCK)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _remove_if_abandoned(path: Path) -> None:
    try:
        if path.stat(follow_symlinks=False).st_uid != os.getuid():
            return
        descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)
