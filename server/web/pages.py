"""Pages and the browser's modules: the files of server/browser, read once at the start."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from quart import Blueprint, Response, request

from ..wire.problem import ProblemError

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    content_type: str
    etag: str


def pages_blueprint() -> Blueprint:
    """The routes `/` and `/client/…`."""
    blueprint = Blueprint("pages", __name__)
    assets = dict(_read_assets())

    @blueprint.get("/")
    async def index() -> Response:
        return await _answer(assets["index.html"])

    @blueprint.get("/client/<name>")
    async def client(name: str) -> Response:
        asset = assets.get(name)
        if asset is None or name.endswith(".html"):
            raise ProblemError("path_unknown", "There is nothing at this path.")
        return await _answer(asset)

    return blueprint


def _read_assets() -> list[tuple[str, _Asset]]:
    found = []
    for entry in files("server.browser").iterdir():
        content_type = _TYPES.get("." + entry.name.rpartition(".")[2])
        if content_type is not None:
            body = entry.read_bytes()
            found.append((entry.name, _Asset(body, content_type, hashlib.sha256(body).hexdigest()[:16])))
    return found


async def _answer(asset: _Asset) -> Response:
    response = Response(asset.body, content_type=asset.content_type)
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.set_etag(asset.etag)
    await response.make_conditional(request)
    return response
