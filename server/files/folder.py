"""The folder that files are in, on the disk.

A file there is whole: it is written under a name of its own (`.upload-…`, which no client can ask for) in the
same directory, forced to the disk, and renamed.  A process that is killed leaves the old file or the new one,
and maybe an `.upload-…`, which the next one removes.

A file that is there is never written to, so that name, size and time say which one it is: no two are given
the same time, to the nanosecond.  Whoever has one open goes on having it, whatever becomes of its name.

Everything that may wait for the disk runs in worker threads.  A call that has begun is waited for, also when
it is cancelled.
"""

from __future__ import annotations

import errno
import heapq
import os
import secrets
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import trio

from .names import is_file_name

FOLDER = "files"
TEMPORARY = ".upload-"
THREADS = 16
"""Calls that may wait for the disk at once."""
CLEANUP_SECONDS = 5.0
"""For which removing an unfinished upload is waited for."""
FLUSH_BYTES = 16 * 1024 * 1024
"""Bytes after which the disk is told to begin: the last `fsync` has little left to wait for."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO})
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

_T = TypeVar("_T")


class StorageError(Exception):
    """The disk fails.  The cause says more."""


class StorageFullError(StorageError):
    """There is no room for the file."""


class ConditionFailedError(Exception):
    """The file is not in the state that the request was for."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as it is at one moment: `size` in bytes, `modified_ns` in nanoseconds of Unix time."""

    name: str
    size: int
    modified_ns: int

    @property
    def etag(self) -> str:
        """The strong entity tag of just this content."""
        return f'"{self.modified_ns:x}-{self.size:x}"'

    @property
    def modified(self) -> int:
        """Unix time in whole seconds, as HTTP has it."""
        return self.modified_ns // 1_000_000_000


Condition = Callable[[StoredFile | None], bool]
"""Whether a write applies to the file as it is, None where there is none."""


class OpenFile:
    """A file opened for reading.  Whoever has it closes it; where it was forgotten, its end does."""

    __slots__ = ("descriptor", "info")

    def __init__(self, descriptor: int, info: StoredFile) -> None:
        self.descriptor = descriptor
        self.info = info

    def close(self) -> None:
        """Close it at once.  Safe to call again."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor != -1:
            os.close(descriptor)

    async def aclose(self) -> None:
        """Close it, in a thread where that frees the disk's space."""
        if self.descriptor != -1 and os.fstat(self.descriptor).st_nlink == 0:
            with trio.move_on_after(CLEANUP_SECONDS, shield=True):
                await trio.to_thread.run_sync(self.close, abandon_on_cancel=True)
        self.close()

    def __del__(self) -> None:
        self.close()


class Folder:
    """The files of one directory, which no other process writes to.

    Raises:
        StorageError: from every method that awaits; StorageFullError where there is no room.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._limiter = trio.CapacityLimiter(THREADS)
        # Held from looking at what there is to changing it.
        self._changing = trio.Lock()
        self._last_stamp = 0

    async def find(self, name: str) -> StoredFile | None:
        """The file of that name."""
        return await self._in_thread(lambda: self._stat(name))

    async def open(self, name: str) -> OpenFile | None:
        """The file of that name, opened."""
        return await self._in_thread(lambda: self._open(name))

    async def page(self, after: str, limit: int) -> tuple[list[StoredFile], str | None]:
        """At most `limit` files by name, from behind `after`, and where the next page is to go on, None at
        the end.
        """
        return await self._in_thread(lambda: self._page(after, limit))

    async def remove(self, name: str, condition: Condition) -> bool:
        """Remove the file of that name.  False where there is none.

        Raises:
            ConditionFailedError: `condition` is against it.
        """

        def remove() -> bool:
            current = self._stat(name)
            if not condition(current):
                raise ConditionFailedError
            if current is not None:
                (self._path / name).unlink()
            return current is not None

        async with self._changing:
            removed = await self._in_thread(remove)
        if removed:
            await self._in_thread(self._sync)
        return removed

    async def check_room(self, size: int) -> None:
        """Look whether `size` bytes more would fit.

        Raises:
            StorageFullError: they would not.
        """

        def free() -> int:
            state = os.statvfs(self._path)
            return state.f_bavail * state.f_frsize

        if await self._in_thread(free) < size:
            raise StorageFullError

    @asynccontextmanager
    async def upload(self) -> AsyncIterator[Upload]:
        """A new file that has no name yet.  Gone after the block unless it was committed."""
        path = self._path / (TEMPORARY + secrets.token_hex(16))
        descriptor = await self._in_thread(
            lambda: os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        )
        upload = Upload(self, path, descriptor)
        try:
            yield upload
        finally:
            with trio.move_on_after(CLEANUP_SECONDS, shield=True):
                # A disk that takes longer goes on by itself.
                await trio.to_thread.run_sync(upload.close, abandon_on_cancel=True)

    async def commit(
        self, upload: Upload, name: str, condition: Condition
    ) -> tuple[StoredFile, StoredFile | None]:
        """Give `upload` its name.  Returns it, and what had the name before."""

        def rename() -> tuple[StoredFile, StoredFile | None]:
            current = self._stat(name)
            if not condition(current):
                raise ConditionFailedError
            stamp = self._stamp()
            os.utime(upload.descriptor, ns=(stamp, stamp))
            upload.path.rename(self._path / name)
            upload.committed = True
            # As the disk has it: some know no nanoseconds.
            return _stored(name, os.fstat(upload.descriptor)), current

        async with self._changing:
            done = await self._in_thread(rename)
        await self._in_thread(self._sync)
        return done

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        try:
            return await trio.to_thread.run_sync(call, limiter=self._limiter)
        except OSError as error:
            kind = StorageFullError if error.errno in _FULL else StorageError
            raise kind(str(error)) from error

    # In threads

    def remove_unfinished(self) -> None:
        """Remove what an earlier process was killed over."""
        for path in self._path.glob(f"{TEMPORARY}*"):
            path.unlink()

    def _stamp(self) -> int:
        # Called with the lock held.
        self._last_stamp = max(time.time_ns(), self._last_stamp + 1)
        return self._last_stamp

    def _stat(self, name: str) -> StoredFile | None:
        try:
            found = (self._path / name).lstat()
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        return _stored(name, found) if stat.S_ISREG(found.st_mode) else None

    def _open(self, name: str) -> OpenFile | None:
        try:
            descriptor = os.open(self._path / name, _OPEN)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            return None
        return OpenFile(descriptor, _stored(name, found))

    def _page(self, after: str, limit: int) -> tuple[list[StoredFile], str | None]:
        with os.scandir(self._path) as entries:
            files = (
                entry.name
                for entry in entries
                if entry.name > after and is_file_name(entry.name) and entry.is_file(follow_symlinks=False)
            )
            names = heapq.nsmallest(limit + 1, files)
        found = [file for name in names[:limit] if (file := self._stat(name)) is not None]
        return found, names[limit - 1] if len(names) > limit else None

    def _sync(self) -> None:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Upload:
    """A file that is being written, by one task."""

    def __init__(self, folder: Folder, path: Path, descriptor: int) -> None:
        self._folder = folder
        self._flushed = 0
        self.path = path
        self.descriptor = descriptor
        self.size = 0
        self.committed = False

    async def write(self, data: memoryview) -> None:
        """Append `data`.

        Raises:
            StorageFullError: there is no room for it.
        """
        await self._folder._in_thread(lambda: self._write(data))

    async def commit(self, name: str, condition: Condition) -> tuple[StoredFile, StoredFile | None]:
        """Force all to the disk, and make it the file `name`, in place of the one that may be there.

        Returns it, and the one that was there.

        Raises:
            ConditionFailedError: `condition` is against it.
        """
        await self._folder._in_thread(lambda: os.fsync(self.descriptor))
        return await self._folder.commit(self, name, condition)

    def close(self) -> None:
        """Let go of the file, which is removed unless it has a name."""
        try:
            if not self.committed:
                # What cannot be removed now is when the next process starts.
                with suppress(OSError):
                    self.path.unlink()
        finally:
            os.close(self.descriptor)

    def _write(self, data: memoryview) -> None:
        written = 0
        while written < len(data):
            written += os.write(self.descriptor, data[written:])
        self.size += len(data)
        if self.size - self._flushed >= FLUSH_BYTES:
            # Said of pages that are to be written, it begins to write them, and does not wait.
            os.posix_fadvise(
                self.descriptor, self._flushed, self.size - self._flushed, os.POSIX_FADV_DONTNEED
            )
            self._flushed = self.size


@contextmanager
def open_folder(directory: Path) -> Iterator[Folder]:
    """The folder `files` in `directory`, made where it is missing, for this user alone.

    Raises:
        OSError: it cannot be made or read.
    """
    path = directory / FOLDER
    path.mkdir(mode=0o700, exist_ok=True)
    folder = Folder(path)
    folder.remove_unfinished()
    yield folder


def _stored(name: str, found: os.stat_result) -> StoredFile:
    return StoredFile(name, found.st_size, found.st_mtime_ns)
