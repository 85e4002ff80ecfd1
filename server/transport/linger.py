"""Closing a connection in a way that the peer gets to read the last answer."""

from __future__ import annotations

from contextlib import suppress

import trio

from .writes import OrderedStream

LINGER_BYTES = 16 * 1024 * 1024
"""More than the kernels of both sides hold by default (4 MiB to be sent, 6 MiB received): a client that stops
when it sees its answer is never reset.
"""
LINGER_SECONDS = 2.0
_CHUNK = 64 * 1024


async def linger(stream: OrderedStream) -> None:
    """Close in a way that the peer gets to read the answer: half-close, then discard what still comes, within
    bounds.

    A socket closed with unread bytes resets the connection, and the reset overtakes the answer.
    """
    below = stream.stream
    with trio.move_on_after(LINGER_SECONDS):
        if isinstance(below, trio.SSLStream):
            # close_notify, without which a client cannot tell the end from a cut (RFC 8446, section 6.1).
            secure = below
            below = secure.transport_stream
            # Broken where the client goes on sending in place of its own; ours has left by then.
            with suppress(trio.BrokenResourceError):
                await secure.unwrap()
        if isinstance(below, trio.abc.HalfCloseableStream):
            await below.send_eof()
        discarded = 0
        while discarded < LINGER_BYTES:
            data = await below.receive_some(_CHUNK)
            if not data:
                return
            discarded += len(data)
