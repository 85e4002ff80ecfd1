"""The page and the browser's modules: types, policy, conditional requests, no way out of their folder,
and where they find rooms."""

from __future__ import annotations

import json

import pytest
from quart_trio import QuartTrio
from trio.testing import MockClock

from server.web import pages_blueprint
from tests.support.asgi import open_asgi
from tests.support.http_peer import open_world


@pytest.mark.parametrize(
    ("target", "type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/chat", "text/html; charset=utf-8"),
        ("/client/sluiceway.js", "text/javascript; charset=utf-8"),
        ("/client/page.css", "text/css; charset=utf-8"),
        ("/client/icon.svg", "image/svg+xml"),
    ],
)
async def test_files_have_their_type_a_policy_and_an_etag(
    autojump_clock: MockClock, target: str, type: str
) -> None:
    async with open_world() as world:
        answer = await world.request("GET", target)
        assert (answer.status, answer.headers["content-type"]) == (200, type)
        assert answer.headers["cache-control"] == "no-cache"
        policy = answer.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)
        assert "unsafe" not in " ".join(policy)
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = await world.request("GET", target, if_none_match=answer.headers["etag"])
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == answer.headers["etag"]
        other = await world.request("GET", target, if_none_match='"other"')
        assert other.body == answer.body


@pytest.mark.parametrize(
    "name",
    [
        "nothing.js",
        "__init__.py",
        "index.html",
        "chat.html",
        "",
        "..%2fapplication.py",
        "..%2f..%2fpyproject.toml",
        "%2e%2e/application.py",
        "../application.py",
        "..%5capplication.py",
        "%2fetc%2fpasswd",
        "page.js%00",
        "page.js%00.css",
        "PAGE.JS",
    ],
)
async def test_there_is_no_other_file(autojump_clock: MockClock, name: str) -> None:
    async with open_world() as world:
        # An encoded slash is refused everywhere, before any route is looked for.
        expected = (400, "name_invalid") if "%2f" in name else (404, "path_unknown")
        assert (await world.request("GET", f"/client/{name}")).problem == expected


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
