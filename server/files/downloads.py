"""Downloads: an open file, or parts of it, as the body of an answer.

The answer's head says which file it is, so the file is opened before it, by the route, and from then on is
this object's to close.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import trio

from ..lifecycle import Registry, RequestHead
from ..transport import ByteStream, send_file
from ..wire.byte_ranges import Span
from .ends import finish, let_run
from .folder import OpenFile


class Part(NamedTuple):
    """Bytes of the file, and what stands before them."""

    before: bytes
    span: Span


class Download:
    """One answer: `parts` of `file`, and `tail` behind them."""

    def __init__(
        self, registry: Registry, head: RequestHead, file: OpenFile, parts: Sequence[Part], tail: bytes = b""
    ) -> None:
        self._registry = registry
        self._head = head.without_headers()
        self._file = file
        self._parts = parts
        self._tail = tail

    @property
    def length(self) -> int:
        """Bytes of the whole body."""
        return sum(len(part.before) + part.span.length for part in self._parts) + len(self._tail)

    async def run(self, stream: ByteStream) -> None:
        """Write the body.  Returning means that it is complete.

        Raises:
            trio.BrokenResourceError: the client is gone, or was too slow, or the file has been cut short; the
                answer is to be cut off.
            OSError: the file cannot be read.
        """
        with self._registry.open_stream("file", self._head) as opened, opened.hold("file"):
            let_run(opened)
            try:
                await self._send(stream)
            finally:
                opened.bytes_sent = stream.bytes_sent
                await self._file.aclose()
            finish(opened)
        if opened.scope.cancelled_caught:
            raise trio.BrokenResourceError(f"the download was ended: {opened.reason}")

    async def _send(self, stream: ByteStream) -> None:
        for before, span in self._parts:
            if before:
                await stream.send_all(before)
            await send_file(stream, self._file.descriptor, span.start, span.length)
        if self._tail:
            await stream.send_all(self._tail)
