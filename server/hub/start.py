"""Where a subscription begins."""

from __future__ import annotations

from dataclasses import dataclass

from .cursor import Cursor


@dataclass(frozen=True, slots=True)
class Live:
    """With what is published from now on.  Of a topic that is `latest`, first with the newest there is."""


@dataclass(frozen=True, slots=True)
class Earliest:
    """With everything that is kept."""


@dataclass(frozen=True, slots=True)
class Rewind:
    """With the newest `count` messages of each topic."""

    count: int


@dataclass(frozen=True, slots=True)
class After:
    """With what came behind `cursor`; everything that is kept, after a gap, where this store cannot have
    given it.
    """

    cursor: Cursor


Start = Live | Earliest | Rewind | After
