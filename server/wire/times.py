"""Times for display: RFC 3339, UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(unix_time: float | None = None) -> str:
    """`unix_time`, or now, with milliseconds: ``2026-11-21T12:00:00.000Z``."""
    moment = datetime.now(UTC) if unix_time is None else datetime.fromtimestamp(unix_time, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
