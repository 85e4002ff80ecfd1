"""The page and the browser's modules: types, policy, conditional requests, and no way out of their folder."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from tests.support.http_peer import open_world


@pytest.mark.parametrize(
    ("target", "type"),
    [
        ("/", "text/html; charset=utf-8"),
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
        assert (await world.request("GET", f"/client/{name}")).problem == (404, "path_unknown")
