"""Uploads: a body, as it arrives, becomes a file, or nothing."""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass

from ..lifecycle import CloseReason, OpenStream, Registry, RequestHead
from ..transport import BodyReadError
from ..wire.problem import ProblemError
from .ends import finish, let_run
from .folder import Condition, Folder, StoredFile, Upload

WRITE_BYTES = 256 * 1024
"""Bytes that are gathered before a thread writes them.  An upload holds no more in memory, and a piece."""


class TooLargeError(Exception):
    """The body is larger than a file may be."""


class UploadEndedError(Exception):
    """The server has ended the upload."""


@dataclass(frozen=True, slots=True)
class UploadServices:
    """What uploads need of the server; `max_size` is in bytes."""

    folder: Folder
    registry: Registry
    max_size: int


async def receive_upload(
    services: UploadServices,
    head: RequestHead,
    name: str,
    body: AsyncIterable[bytes],
    condition: Condition,
) -> tuple[StoredFile, StoredFile | None]:
    """Make `body` the file `name`, in place of the one that may be there.  Returns it, and that one.

    The body is read as fast as the disk takes it.  However it ends but well, nothing is left of it, and the
    file is as it was.

    Raises:
        TooLargeError: it is larger than a file may be.
        ConditionFailedError: `condition` is against it, now that it is whole.
        StorageError: the disk fails; StorageFullError where there is no room.
        BodyReadError, ProblemError: the rest of the body will not come.
        UploadEndedError: the server has ended it.
    """
    with services.registry.open_stream("file", head.without_headers()) as opened, opened.hold("upload"):
        let_run(opened)
        async with services.folder.upload() as upload:
            try:
                await _write_all(upload, body, services.max_size)
            except (BodyReadError, ProblemError) as unread:
                _give_reason(opened, unread.problem.code)
                raise
            except TooLargeError:
                opened.reason = opened.reason or CloseReason.LIMIT
                raise
            finally:
                opened.bytes_sent = upload.size
            stored = await upload.commit(name, condition)
        finish(opened)
        return stored
    raise UploadEndedError


async def _write_all(upload: Upload, body: AsyncIterable[bytes], max_size: int) -> None:
    # One buffer for all of it: new ones of this size would be new pages each time.
    buffer = bytearray(WRITE_BYTES)
    with memoryview(buffer) as view:
        filled = 0
        async for piece in body:
            if upload.size + filled + len(piece) > max_size:
                raise TooLargeError
            for start in range(0, len(piece), WRITE_BYTES):
                part = piece[start : start + WRITE_BYTES]
                if filled + len(part) > WRITE_BYTES:
                    await upload.write(view[:filled])
                    filled = 0
                view[filled : filled + len(part)] = part
                filled += len(part)
        if filled:
            await upload.write(view[:filled])


def _give_reason(opened: OpenStream, code: str) -> None:
    reason = CloseReason.LIMIT if code == "body_slow" else CloseReason.CLIENT_DISCONNECTED
    opened.reason = opened.reason or reason
