"""Origins and hosts: which browsers' pages may act here, and under which names this server may be asked for.

Two attacks stand behind it.  A foreign page may post to a server on its visitor's machine (the `Origin`
check), and may give its own name this machine's address, to pass for the same origin (DNS rebinding; the
`Host` check).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import urlsplit

from ..lifecycle import RequestHead
from ..wire.problem import Problem

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_ALLOWED_METHODS = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
_ALLOWED_HEADERS = (
    "Content-Type, Last-Event-ID, Authorization, Idempotency-Key, Prefer, If-Match, If-None-Match, If-Range, "
    "Range, X-Run-Id"
)
_ALLOWED_PREFIXES = ("x-stainless-", "openai-")
"""How headers begin that OpenAI's clients add to every request."""
_EXPOSED_HEADERS = "Location, Retry-After"
_PREFLIGHT_SECONDS = "600"


@dataclass(slots=True)
class OriginRules:
    """What is allowed.

    `binds` are this process's own addresses (host, port), which may be added to as they become known;
    `allow_origins` may hold `*`; `allow_hosts` are names that clients may use for a server on a loopback
    address.
    """

    binds: set[tuple[str, int]] = field(default_factory=set)
    allow_origins: frozenset[str] = frozenset()
    allow_hosts: frozenset[str] = frozenset()


def check_host(head: RequestHead, rules: OriginRules) -> Problem | None:
    """Refuse a foreign `Host` on a loopback address (421)."""
    if not _is_loopback(head.local) or any(host in ("", "0.0.0.0", "::") for host, _ in rules.binds):
        return None
    host, _ = _split_host(head.header("host") or "")
    if not host or _is_loopback(host) or host in rules.allow_hosts:
        return None
    return Problem("host_foreign", "This server does not answer under that name. See --allow-host.")


def check_origin(head: RequestHead, rules: OriginRules) -> Problem | None:
    """Refuse an unsafe method from a foreign origin (403).  A request without `Origin` is no browser's."""
    if head.method in SAFE_METHODS or is_origin_allowed(head, rules):
        return None
    return Problem("origin_foreign", "Pages of that origin may not do this. See --allow-origin.")


def is_origin_allowed(head: RequestHead, rules: OriginRules) -> bool:
    """Whether the request's `Origin` is its own host, a bind of this process, allowed by a setting, or
    absent.
    """
    origin = head.header("origin")
    if origin is None:
        return True
    if _is_listed(origin, rules):
        return True
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return False
    if host is None or port is None:
        # `null` among them: sandboxed frames and files.
        return False
    own_host, own_port = _split_host(head.header("host") or "")
    if (host, port) == (own_host, own_port or _DEFAULT_PORTS.get(parts.scheme)):
        return True
    return (host, port) in rules.binds


def cors_headers(head: RequestHead, rules: OriginRules) -> dict[str, str]:
    """What lets a page of a listed origin read the answer; empty for all others."""
    origin = head.header("origin")
    if origin is None:
        return {}
    if not _is_listed(origin, rules):
        return {"Vary": "Origin"} if rules.allow_origins else {}
    headers = {
        "Access-Control-Allow-Origin": "*" if "*" in rules.allow_origins else origin,
        "Access-Control-Expose-Headers": _EXPOSED_HEADERS,
    }
    if "*" not in rules.allow_origins:
        headers["Vary"] = "Origin"
    return headers


def is_preflight(head: RequestHead) -> bool:
    """Whether a browser asks beforehand what it may do (Fetch Standard, section 4.8)."""
    return (
        head.method == "OPTIONS"
        and head.header("origin") is not None
        and head.header("access-control-request-method") is not None
    )


def preflight_headers(head: RequestHead, rules: OriginRules) -> dict[str, str] | None:
    """The answer to a preflight, None where its origin is not listed."""
    headers = cors_headers(head, rules)
    if "Access-Control-Allow-Origin" not in headers:
        return None
    return headers | {
        "Access-Control-Allow-Methods": _ALLOWED_METHODS,
        "Access-Control-Allow-Headers": ", ".join([_ALLOWED_HEADERS, *_asked_headers(head)]),
        "Access-Control-Max-Age": _PREFLIGHT_SECONDS,
    }


def _asked_headers(head: RequestHead) -> list[str]:
    """Those of the headers that the browser asks for which only clients of other ecosystems send."""
    asked = head.header("access-control-request-headers") or ""
    names = {name.strip().lower() for name in asked.split(",")}
    return sorted(name for name in names if name.startswith(_ALLOWED_PREFIXES) and name.isascii())


def _is_listed(origin: str, rules: OriginRules) -> bool:
    return "*" in rules.allow_origins or origin.lower() in rules.allow_origins


def _split_host(value: str) -> tuple[str, int | None]:
    """Host and port of a `Host` header; an empty host where it is none."""
    try:
        parts = urlsplit(f"//{value}")
        return parts.hostname or "", parts.port
    except ValueError:
        return "invalid", None


@lru_cache(maxsize=256)  # asked twice a request, and nearly always the same
def _is_loopback(host: str) -> bool:
    if host.rstrip(".") == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
