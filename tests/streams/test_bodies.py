"""Request bodies that are pulled: what one costs while it comes."""

from __future__ import annotations

import tracemalloc

from server.streams import PulledBody
from server.transport import AsgiMessage


async def test_a_body_that_comes_in_tiny_pieces_costs_what_it_holds() -> None:
    pieces = 50_000

    async def receive() -> AsgiMessage:
        nonlocal pieces
        pieces -= 1
        return {"type": "http.request", "body": b"%02d" % (pieces % 100), "more_body": pieces > 0}

    body = PulledBody(None, None)
    body.receive = receive
    tracemalloc.start()
    try:
        read = await body.read_all(None)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(read) == 100_000
    # A list of the pieces would be 25 times as much.
    assert most < 4 * len(read)
