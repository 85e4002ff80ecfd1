"""Who may do what."""

from .origins import (
    OriginRules,
    check_host,
    check_origin,
    cors_headers,
    is_origin_allowed,
    is_preflight,
    preflight_headers,
)

__all__ = [
    "OriginRules",
    "check_host",
    "check_origin",
    "cors_headers",
    "is_origin_allowed",
    "is_preflight",
    "preflight_headers",
]
