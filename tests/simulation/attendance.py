"""Who was in a room when, as the clients know it: what the others may be told of it.

A member leaves at once when its last connection closes for good, and when its grace is over where that broke
(docs/reference/rooms.md, Presence).  A client cannot always know when the server took note of its end; such
an absence allows more.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import trio

from server.rooms import LEAVE_GRACE

from .truth import check

_CLOCK = 0.1
"""Seconds by which two who look at the same thing may differ; comings and goings are told together."""
_WITH_GRACE = frozenset({1001, 1005, 1006, 1012, 4413})
_SILENCE = 20.0
"""Seconds of silence beyond which they are taken off the grace."""
_GHOST_SECONDS = 35.0
"""Within which a member is gone that has vanished."""


@dataclass(slots=True)
class Absence:
    """The others may be told of it from `earliest` to `latest`."""

    earliest: float = -inf
    latest: float = inf
    tried: float | None = None
    """When the member has last tried to come back."""
    until: float | None = None

    def allows(self, now: float, *, prompt: bool) -> bool:
        """Whether somebody may be told of it `now`, in time where it is `prompt`."""
        was_back = self.until is not None and self.until < self.earliest - _CLOCK
        is_late = prompt and now > self.latest + _CLOCK and self.tried == self.until
        return now >= self.earliest - _CLOCK and not was_back and not is_late

    def is_over(self, now: float) -> bool:
        """Whether it was over a while ago."""
        return self.until is not None and self.until < now - _CLOCK


def closed(code: int, silent: float) -> Absence:
    """After a connection, the member's only one, that closes now with `code`, `silent` seconds after the last
    that came from it.
    """
    grace = max(0.0, LEAVE_GRACE - max(0.0, silent - _SILENCE)) if code in _WITH_GRACE else 0.0
    leaves = trio.current_time() + grace
    return Absence(leaves, leaves)


def vanished() -> Absence:
    """After a connection, the member's only one, from which nothing comes from now on."""
    now = trio.current_time()
    return Absence(now, now + _GHOST_SECONDS)


class Attendance:
    """The members of one room."""

    def __init__(self) -> None:
        self._absences: dict[str, list[Absence]] = {}
        # Who is there, and whether it takes everything at once, so that it has not been given up.
        self._standing: dict[str, bool] = {}

    def try_to_come(self, member: str) -> None:
        """`member`, who was there before, asks to be let in: it may be, and be gone before it knows."""
        for absence in self._absences[member][-1:]:
            if absence.tried is not None:
                absence.latest = inf
            absence.tried = trio.current_time()

    def come(self, member: str, *, prompt: bool) -> None:
        """`member` was let in."""
        for absence in self._absences.setdefault(member, [])[-1:]:
            absence.until = absence.tried
        self._standing[member] = prompt

    def go(self, member: str, absence: Absence) -> None:
        """A connection of `member` has ended."""
        self._standing.pop(member, None)
        self._absences[member].append(absence)

    def check_left(self, member: str, *, prompt: bool) -> None:
        """Somebody is told that `member` has left; `prompt` says whether it takes everything at once."""
        now = trio.current_time()
        absences = self._absences.get(member)
        # Else it was cut before it knew who it was, or given up while it read slowly.
        if absences is not None and self._standing.get(member, True):
            of_now = [each for each in absences if not (prompt and each.is_over(now))]
            allowed = any(each.allows(now, prompt=prompt) for each in of_now)
            check(allowed, "told at", now, "that one has left:", member, *absences)
