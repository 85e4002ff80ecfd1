"""Reading a request head, and deciding what becomes of it before anything else sees it.

Hypercorn's read loop ends the whole server on a number of heads (stack notes in
docs/explanation/transport.md).  So every head of every connection is read here, with h11, bounded in size and
time, and only what is fit goes further.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import h11

from ..lifecycle import RequestHead
from ..wire.problem import Problem

MAX_HEAD = 16 * 1024
"""Bytes a request line and headers may have together."""

_REFUSED_STATUS = {
    400: Problem("request_malformed", "The request is not well-formed HTTP/1.1."),
    431: Problem("head_too_large", f"Request line and headers may have {MAX_HEAD} bytes together."),
}


class RefusedError(Exception):
    """The request is answered with `problem`, and the connection closed."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class PrefaceError(Exception):
    """The client speaks HTTP/2; there is no answer that it would understand."""


def refused_by_h11(error: h11.RemoteProtocolError) -> RefusedError:
    """The answer to what h11 could not parse."""
    return RefusedError(_REFUSED_STATUS.get(error.error_status_hint, _REFUSED_STATUS[400]))


def request_head(request: h11.Request, peer: str, local: str, secure: bool) -> RequestHead:
    """The head as the layers above look at it.

    Raises:
        PrefaceError: it is the preface of HTTP/2.
        RefusedError: h11 parsed it, and it can still not be served.
    """
    if request.method == b"PRI":
        raise PrefaceError
    headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers)
    method = request.method.decode("ascii")
    path, query = _split_target(request.target.decode("ascii"), method)
    head = RequestHead(method, path, query, headers, peer, local, secure)
    _check_length(head)
    return head


def _check_length(head: RequestHead) -> None:
    # RFC 9112, section 6.1: both together is how requests are smuggled.
    if head.header("transfer-encoding") is not None and head.header("content-length") is not None:
        raise RefusedError(
            Problem("request_malformed", "Content-Length and Transfer-Encoding exclude each other.")
        )


def _split_target(target: str, method: str) -> tuple[str, str]:
    """Path and query of a request target in origin form, absolute form or, for OPTIONS, `*` (RFC 9112,
    section 3.2).
    """
    if target.startswith("/"):
        path, _, query = target.partition("?")
        return path, query
    if target == "*" and method == "OPTIONS":
        return target, ""
    try:
        parts = urlsplit(target)
        parts.port  # noqa: B018 - the property raises for a port that is none
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RefusedError(Problem("request_malformed", "The request target is neither a path nor a URL."))
    return parts.path or "/", parts.query


def is_websocket_upgrade(head: RequestHead) -> bool:
    """Whether the client asks for a WebSocket (RFC 6455, section 4.2.1)."""
    return (
        head.method == "GET"
        and head.header_has_token("upgrade", "websocket")
        and head.header_has_token("connection", "upgrade")
    )
