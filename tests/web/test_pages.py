"""Where the page's modules find rooms, and what its policy lets them reach."""

from __future__ import annotations

import json

import pytest
from quart_trio import QuartTrio

from server.web import pages_blueprint
from tests.support.asgi import open_asgi


@pytest.mark.parametrize(
    ("rooms_url", "connect"),
    [(None, "connect-src 'self';"), ("ws://127.0.0.1:8001", "connect-src 'self' ws://127.0.0.1:8001;")],
)
async def test_the_policy_lets_the_page_reach_rooms_where_they_are(
    rooms_url: str | None, connect: str
) -> None:
    app = QuartTrio("pages")
    app.register_blueprint(pages_blueprint(rooms_url))
    async with open_asgi(app) as peer:
        found = await peer.request("GET", "/client/rooms.json")
        page = await peer.request("GET", "/")
    assert json.loads(found.body) == {"url": rooms_url}
    assert connect in (page.header("content-security-policy") or "")
