"""Answers that have no body do not describe one (RFC 9110, section 8.6)."""

from __future__ import annotations

from typing import Any

import pytest
from quart import Response

from tests.support.http_peer import open_world


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("DELETE", "/topics/news", {}),
        ("DELETE", "/datasets/people", {}),
        ("DELETE", "/jobs/import", {}),
        ("GET", "/jobs/import/events", {"last_event_id": "import:ended"}),
        ("DELETE", "/files/a.txt", {}),
        ("GET", "/nothing", {}),
    ],
)
async def test_a_204_says_neither_type_nor_length(method: str, target: str, headers: dict[str, Any]) -> None:
    async with open_world() as world:

        @world.application.app.get("/nothing")
        async def nothing() -> Response:
            return Response(b"", 204)

        await world.publish("news", 1)
        await world.request("POST", "/datasets/people?job=import", b"a\n1\n", content_type="text/csv")
        await world.request("PUT", "/files/a.txt", b"text")
        peer = world.connect()
        answer = await peer.request(method, target, **headers)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers.keys().isdisjoint({"content-length", "content-type", "transfer-encoding"})
        # And the connection goes on.
        assert (await peer.request("GET", "/health/live")).status == 200
        await peer.aclose()
