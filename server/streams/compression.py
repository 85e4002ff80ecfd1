"""Compressed streams: a content coding between a stream and its connection.

A compressed stream shares nothing with the others: what its connection sends depends on all that it sent
before.  So nothing can be offered to the kernel ready-made (`try_send` takes nothing, and everything comes
through the subscription's channel), and its encoder is memory for as long as it is open.  In return, whatever
is waiting is compressed together and flushed once for each write.

Compressing happens in the loop that serves everybody, in pieces of `PIECE_BYTES`, with a checkpoint behind
each: a thread would cost more than it saves.
"""

from __future__ import annotations

import trio

from ..transport import ByteStream, Framing, RunStream, Sent
from ..wire.content_coding import Coding, Encoder
from .forms import framed

PIECE_BYTES = 64 * 1024
"""Most that is compressed at once: half a millisecond to two with gzip."""


class CompressedStream:
    """`stream` behind `encoder`.  One task writes to it.

    What is given to it is not framed; what leaves it is, as `stream` wants it: chunks are outside of the
    coding.
    """

    __slots__ = ("_broken", "_encoder", "_stream", "bytes_sent", "framing")

    def __init__(self, stream: ByteStream, encoder: Encoder) -> None:
        self._stream = stream
        self._encoder = encoder
        self._broken = False
        self.framing = Framing.IDENTITY
        self.bytes_sent = stream.bytes_sent
        """Bytes that left for the connection, encoded and framed."""

    def try_send(self, frame: bytes) -> Sent:  # noqa: ARG002 - of the protocol
        """Take nothing: whatever is sent is encoded in its turn."""
        return Sent.BUSY

    async def send_all(self, data: bytes) -> None:
        """Encode, flush and write `data`.

        A cancelled call breaks the stream: the encoder has then counted on bytes which never left.

        Raises:
            trio.BrokenResourceError: the connection broke, now or before.
        """
        if not data:
            # Nothing to flush; but a head may be waiting.
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
        try:
            await self._stream.send_all(data)
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
