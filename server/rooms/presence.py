"""Presence: who is in a room, as a pure function of what was and what happened.

`step` takes one member's presence and an event and gives the presence after it, and what the others are to be
told.  Members do not depend on each other, so a room is a mapping of them, and an event costs the same in any
room.  Times come in as values; who waits for them, and who is told, is left to `Room` and `Graces`.

A member is present from its first connection on.  It leaves when the last one closes for good, or, where that
one broke, when its grace is over and it has not come back.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from ..wire.websocket import CloseCode

NO_STATE = b"{}"

_WITH_GRACE = frozenset(
    {
        CloseCode.GOING_AWAY,
        CloseCode.NO_STATUS,
        CloseCode.ABNORMAL,
        CloseCode.INTERNAL_ERROR,
        CloseCode.SERVICE_RESTART,
        CloseCode.TRY_LATER,
        CloseCode.CREDENTIALS_EXPIRED,
        CloseCode.TOO_SLOW,
        CloseCode.RATE_LIMITED,
    }
)


@dataclass(frozen=True, slots=True)
class Parting:
    """How a connection has ended: its close code, and for how many seconds longer than is usual nothing had
    been heard from it.
    """

    code: int
    overdue: float = 0.0


def grace_of(parting: Parting, most: float) -> float:
    """Seconds, at most `most`, that a member has to come back unnoticed; 0 for none.

    It has some where its connection broke, and where the server closed it and asked it to come back; but a
    missed heartbeat has been grace enough, and so has a part of one: whatever ends a connection whose network
    is gone without a word, the others see the member as long.
    """
    return max(0.0, most - parting.overdue) if parting.code in _WITH_GRACE else 0.0


class PresenceMode(enum.Enum):
    """What the members of a room are told of each other."""

    FULL = "full"
    """Who comes, goes and changes."""
    COUNT = "count"
    """How many there are, at most once a second."""
    OFF = "off"
    """Nothing."""


@dataclass(frozen=True, slots=True)
class Present:
    """A member that is there.

    `state` is JSON; `leaves_at` is when its grace is over, None while it has connections.
    """

    name: str
    state: bytes
    connections: int
    leaves_at: float | None = None


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection of the member has opened.  Name and state are for one that is not there yet."""

    name: str
    state: bytes = NO_STATE


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A connection of the member has closed; it may come back until `grace_ends`, None for no grace."""

    grace_ends: float | None


@dataclass(frozen=True, slots=True)
class Replaced:
    """The member has replaced its state."""

    state: bytes


@dataclass(frozen=True, slots=True)
class TimePassed:
    """It is `now`."""

    now: float


Event = Connected | Disconnected | Replaced | TimePassed


class Change(enum.Enum):
    """What the others see of a step."""

    JOINED = enum.auto()
    LEFT = enum.auto()
    STATE = enum.auto()


def step(present: Present | None, event: Event) -> tuple[Present | None, Change | None]:
    """The presence of a member after `event`, and what the others are told.  None: it is not there."""
    if present is None:
        if isinstance(event, Connected):
            return Present(event.name, event.state, connections=1), Change.JOINED
        return None, None
    match event:
        case Connected():
            return replace(present, connections=present.connections + 1, leaves_at=None), None
        case Disconnected(grace_ends):
            return _without_a_connection(present, grace_ends)
        case Replaced(state) if state != present.state:
            return replace(present, state=state), Change.STATE
        case TimePassed(now) if present.leaves_at is not None and present.leaves_at <= now:
            return None, Change.LEFT
    return present, None


def _without_a_connection(present: Present, grace_ends: float | None) -> tuple[Present | None, Change | None]:
    left = max(present.connections - 1, 0)
    if left or present.leaves_at is not None:
        return replace(present, connections=left), None
    if grace_ends is None:
        return None, Change.LEFT
    return replace(present, connections=0, leaves_at=grace_ends), None
