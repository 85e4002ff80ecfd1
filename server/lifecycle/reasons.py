"""Close reasons: the one table of why a stream ends.

The same word stands in `event: closing`, in metrics, in logs and in `/stats`.  Whoever ends a stream names
the reason first and cancels then; the first one wins.
"""

from __future__ import annotations

from enum import StrEnum


class CloseReason(StrEnum):
    """Why a stream ended."""

    COMPLETED = "completed"
    """It came to its natural end."""
    CLIENT_DISCONNECTED = "client_disconnected"
    """The client went away; also where nobody named a reason."""
    CLIENT_STOPPED = "client_stopped"
    """The client asked for the end."""
    SLOW_CONSUMER = "slow_consumer"
    """The client fell behind its capacity, or took no byte within the write deadline."""
    HEARTBEAT_MISSED = "heartbeat_missed"
    """The client did not answer a heartbeat."""
    EXPIRED = "expired"
    """The credentials ran out."""
    SERVER_DRAINING = "server_draining"
    """The server is shutting down."""
    LIMIT = "limit"
    """A limit of size, number or time was reached."""
    ADMIN = "admin"
    """An operator closed it."""
    FAILED = "failed"
    """Something raised."""
    ABANDONED = "abandoned"
    """Nobody came back for it in time."""


_FINAL = frozenset({CloseReason.COMPLETED, CloseReason.CLIENT_STOPPED, CloseReason.ADMIN})


def reconnects(reason: CloseReason) -> bool:
    """Whether a client does well to come back after a stream that ended with `reason`."""
    return reason not in _FINAL
