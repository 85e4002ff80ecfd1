"""Compressed streams: a content coding between a stream and its connection.

A compressed stream shares nothing with the others: what its connection sends depends on all that it sent
before, and its encoder is memory for as long as it is open.  It is flushed once for each write: whatever is
waiting is compressed together, and can be decoded as soon as it has arrived.

What has been encoded has to be sent, or nothing after it can be decoded.  So a small frame that is offered
without waiting (`try_send`) is always taken: what the connection does not take of it is kept as the *rest*,
and leaves before anything else.  A large one is not, since the hub's loop would compress it for one
subscriber after the other: it goes through the channel, in pieces with a checkpoint behind each.  All of it
happens in the loop that serves everybody; a thread would cost more than it saves.
"""

from __future__ import annotations

import trio

from ..transport import ByteStream, Framing, RunStream, Sent
from ..wire.content_coding import Coding, Encoder
from .forms import framed

PIECE_BYTES = 64 * 1024
"""Most that is compressed at once in the stream's own task: half a millisecond to two with gzip."""
WRITE_THROUGH_BYTES = 4 * 1024
"""Most that is compressed at once in the hub's loop: a tenth of a millisecond at most."""


class CompressedStream:
    """`stream` behind `encoder`.  One task writes to it; between its writes, the hub's loop may.

    What is given to it is not framed; what leaves it is, as `stream` wants it: chunks are outside of the
    coding.
    """

    __slots__ = ("_broken", "_encoder", "_rest", "_stream", "bytes_sent", "framing")

    def __init__(self, stream: ByteStream, encoder: Encoder) -> None:
        self._stream = stream
        self._encoder = encoder
        # While a write is under way, too: where it is cancelled, it stays so.
        self._broken = False
        self._rest = b""
        self.framing = Framing.IDENTITY
        self.bytes_sent = stream.bytes_sent
        """Bytes that left for the connection, encoded and framed."""

    def try_send(self, frame: bytes) -> Sent:
        """Encode a small frame and offer it; what the connection does not take is the rest (`KEPT`)."""
        if self._broken or self._rest or len(frame) > WRITE_THROUGH_BYTES:
            return Sent.BUSY
        encoded = framed(self._encoder.encode(frame), self._stream.framing)
        sent = self._stream.try_send(encoded)
        self.bytes_sent = self._stream.bytes_sent
        if sent is not Sent.BUSY:
            return sent
        self._rest = encoded
        return Sent.KEPT

    async def send_all(self, data: bytes) -> None:
        """Write the rest, where there is one, then `data`, encoded and flushed.

        A cancelled call breaks the stream: the encoder has then counted on bytes which never left.

        Raises:
            trio.BrokenResourceError: the connection broke, now or before.
        """
        if not data:
            # Nothing to flush; but a rest may be waiting, or a head below.
            await self._write(b"")
        for start in range(0, len(data), PIECE_BYTES):
            piece = data[start : start + PIECE_BYTES]
            self._check()
            await self._write(framed(self._encoder.encode(piece), self._stream.framing))

    async def finish(self) -> None:
        """Write the end of the coding, behind which nothing can be sent."""
        self._check()
        await self._write(framed(self._encoder.finish(), self._stream.framing))
        self._broken = True

    def _check(self) -> None:
        if self._broken:
            raise trio.BrokenResourceError(
                "an earlier write of this compressed stream failed or was cancelled"
            )

    async def _write(self, data: bytes) -> None:
        self._check()
        self._broken = True
        rest, self._rest = self._rest, b""
        try:
            await self._stream.send_all(rest + data)
            self._broken = False
        finally:
            self.bytes_sent = self._stream.bytes_sent


def compressed(run: RunStream, coding: Coding) -> RunStream:
    """`run` on a stream that encodes as `coding` says.

    Where `run` returns, the end of the coding is written; where it raises, the answer is cut off within it,
    and cannot be taken for a whole one.
    """

    async def run_compressed(stream: ByteStream) -> None:
        encoded = CompressedStream(stream, coding.encoder())
        await run(encoded)
        await encoded.finish()

    return run_compressed
