"""The head of the request under way, for routes and for what they call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from quart import Request
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from ..lifecycle import RequestHead


def head_of(request: Request) -> RequestHead:
    """The head of the request under way: the server's own, or one made from the ASGI scope where there is
    none.
    """
    scope = cast("dict[str, Any]", request.scope)
    head = scope.get("sluiceway.head")
    if head is None:
        head = scope["sluiceway.head"] = _head_of_scope(scope)
    return cast("RequestHead", head)


def preferred_type(head: RequestHead, offered: Sequence[str]) -> str | None:
    """Which of the media types `offered`, the preferred first, the request's Accept likes best; None where it
    takes none of them (RFC 9110, section 12.5.1).

    Parameters other than `q` are passed over: clients that say `application/json; charset=utf-8` mean the
    type.
    """
    named = parse_accept_header(", ".join(head.header_values("accept")))
    types = MIMEAccept([(value.partition(";")[0].strip(), quality) for value, quality in named])
    return types.best_match(offered) if types else offered[0]


def _head_of_scope(scope: dict[str, Any]) -> RequestHead:
    return RequestHead(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
        peer=(scope.get("client") or ("",))[0],
        local=(scope.get("server") or ("",))[0],
        secure=scope["scheme"] == "https",
    )
