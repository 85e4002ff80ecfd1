"""How a connection to a room ends: the close code for each reason (docs/reference/rooms.md has what a client
does about it).
"""

from __future__ import annotations

from typing import NamedTuple

from ..lifecycle import CloseReason
from ..wire.websocket import CloseCode


class Goodbye(NamedTuple):
    """A close frame: its code, and a stable word as its reason."""

    code: CloseCode
    words: str


_GOODBYES: dict[CloseReason, Goodbye] = {
    CloseReason.COMPLETED: Goodbye(CloseCode.NORMAL, "completed"),
    CloseReason.SLOW_CONSUMER: Goodbye(CloseCode.TOO_SLOW, "slow_consumer"),
    CloseReason.HEARTBEAT_MISSED: Goodbye(CloseCode.HEARTBEAT_MISSED, "heartbeat_missed"),
    CloseReason.SERVER_DRAINING: Goodbye(CloseCode.SERVICE_RESTART, "server_draining"),
    CloseReason.EXPIRED: Goodbye(CloseCode.CREDENTIALS_EXPIRED, "expired"),
    CloseReason.LIMIT: Goodbye(CloseCode.POLICY, "limit"),
    CloseReason.ADMIN: Goodbye(CloseCode.FORBIDDEN, "admin"),
    CloseReason.FAILED: Goodbye(CloseCode.INTERNAL_ERROR, "server_failed"),
}

WITHOUT_CLOSING = frozenset({CloseReason.SLOW_CONSUMER, CloseReason.CLIENT_DISCONNECTED, CloseReason.LIMIT})
"""Ends that a `closing` frame cannot announce, or that the client brought about: the close code says it all.
"""


def goodbye_for(reason: CloseReason) -> Goodbye:
    """The close frame for `reason`, where nothing more is known."""
    return _GOODBYES.get(reason, Goodbye(CloseCode.NORMAL, reason.value))
