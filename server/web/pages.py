"""Pages and the browser's modules: the files of server/browser, read once at the start.

The modules learn from `/client/rooms.json` where rooms are served, since that can be another port.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

import msgspec
from quart import Blueprint, Response, request

from ..wire.problem import ProblemError

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    content_type: str
    etag: str


def pages_blueprint(rooms_url: str | None) -> Blueprint:
    """The routes `/`, `/chat` and `/client/…`.

    `rooms_url` is where rooms are served (`ws://host:port`), None where that is the origin of the page.
    """
    blueprint = Blueprint("pages", __name__)
    assets = dict(_read_assets())
    assets["rooms.json"] = _asset(msgspec.json.encode({"url": rooms_url}), "application/json")
    policy = _content_security_policy(rooms_url)

    @blueprint.get("/")
    async def index() -> Response:
        return await _answer(assets["index.html"], policy)

    @blueprint.get("/chat")
    async def chat() -> Response:
        return await _answer(assets["chat.html"], policy)

    @blueprint.get("/client/<name>")
    async def client(name: str) -> Response:
        asset = assets.get(name)
        if asset is None or name.endswith(".html"):
            raise ProblemError("path_unknown", "There is nothing at this path.")
        return await _answer(asset, policy)

    return blueprint


def _read_assets() -> list[tuple[str, _Asset]]:
    found = []
    for entry in files("server.browser").iterdir():
        content_type = _TYPES.get("." + entry.name.rpartition(".")[2])
        if content_type is not None:
            found.append((entry.name, _asset(entry.read_bytes(), content_type)))
    return found


def _asset(body: bytes, content_type: str) -> _Asset:
    return _Asset(body, content_type, hashlib.sha256(body).hexdigest()[:16])


def _content_security_policy(rooms_url: str | None) -> str:
    # 'self' covers WebSockets of the same origin (Content Security Policy Level 3, section 6.7.2.8).
    connect = "'self'" if rooms_url is None else f"'self' {rooms_url}"
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"connect-src {connect}",
            "img-src 'self' data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


async def _answer(asset: _Asset, policy: str) -> Response:
    response = Response(asset.body, content_type=asset.content_type)
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Content-Security-Policy"] = policy
    response.headers["Referrer-Policy"] = "no-referrer"
    response.set_etag(asset.etag)
    await response.make_conditional(request)
    return response
