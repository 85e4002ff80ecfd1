"""Awareness: who is at a document, and where they point.  Pure: entries in, what changed out.

The rules are those of y-protocols: of two entries of a client the one with the higher clock holds, and at the
same clock "gone" beats "here".  What has gone is remembered for a while by its clock alone, so that somebody
who is late in passing it on does not bring it back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ...wire.y_protocol import MAX_ENTRIES, MAX_NUMBER, NOTHING, AwarenessEntry

MAX_STATE = 64 * 1024
"""Bytes that one client may show of itself."""
MAX_BYTES = 1024 * 1024
"""What all states of one document together may have."""
MAX_CLIENTS = MAX_ENTRIES
"""As many as one message can tell of: who comes is told of all in one."""
REMEMBERED = 1000
"""Clients that are gone and remembered."""
_OVERHEAD = 200
"""Bytes that an entry is reckoned at beside its state."""


class AwarenessTooLargeError(Exception):
    """A client shows more of itself than it may."""


class AwarenessFullError(Exception):
    """The states of a document together would be larger than allowed, or those of too many."""


class AwarenessStates:
    """Who is here, as far as has been told."""

    __slots__ = ("_gone", "_here", "size")

    def __init__(self) -> None:
        self._here: dict[int, AwarenessEntry] = {}
        self._gone: dict[int, int] = {}
        self.size = 0
        """Bytes that the states are reckoned at."""

    @property
    def entries(self) -> Collection[AwarenessEntry]:
        """Everybody who is here."""
        return self._here.values()

    def apply(self, entries: Iterable[AwarenessEntry]) -> list[AwarenessEntry]:
        """Take `entries` in, and return those that were news, in their order.

        Raises:
            AwarenessTooLargeError, AwarenessFullError: for one of them; those before it have been taken in.
        """
        return [entry for entry in entries if self.take(entry)]

    def contradictions(self, entries: Iterable[AwarenessEntry]) -> list[AwarenessEntry]:
        """What who sent `entries` is to be told: that clients of them are taken for gone.

        A client that comes back begins where it was, with a clock that is not news.  Told that it is gone, it
        raises its clock and speaks up again; somebody who has only passed it on takes it to be gone.
        """
        return [
            AwarenessEntry(entry.client, self._gone[entry.client], NOTHING)
            for entry in entries
            if entry.state != NOTHING and entry.clock <= self._gone.get(entry.client, -1)
        ]

    def remove(self, clients: Iterable[int]) -> list[AwarenessEntry]:
        """`clients` are gone: what is to be told of those that were here."""
        gone = [
            # At the same clock, which the highest one cannot leave, "gone" holds too.
            AwarenessEntry(client, min(self._here[client].clock + 1, MAX_NUMBER), NOTHING)
            for client in clients
            if client in self._here
        ]
        return self.apply(gone)

    def take(self, entry: AwarenessEntry) -> bool:
        """Take one entry in; whether it was news.

        Raises:
            AwarenessTooLargeError: its state is larger than one may be.
            AwarenessFullError: there is no room for it beside the others.
        """
        here = self._here.get(entry.client)
        # One that nobody has told of stands at 0: y-protocols' own rule.
        clock = here.clock if here is not None else self._gone.get(entry.client, 0)
        leaves = entry.state == NOTHING
        if entry.clock < clock or (entry.clock == clock and not leaves):
            return False
        if leaves and here is None:
            return False
        old = _size(here) if here is not None else 0
        new = 0 if leaves else _size(entry)
        if new > MAX_STATE + _OVERHEAD:
            raise AwarenessTooLargeError
        if self.size + new - old > MAX_BYTES or (here is None and len(self._here) >= MAX_CLIENTS):
            raise AwarenessFullError
        self.size += new - old
        self._gone.pop(entry.client, None)
        self._here.pop(entry.client, None)
        if leaves:
            self._gone[entry.client] = entry.clock
            if len(self._gone) > REMEMBERED:
                del self._gone[next(iter(self._gone))]
        else:
            self._here[entry.client] = entry
        return True


def _size(entry: AwarenessEntry) -> int:
    return len(entry.state.encode()) + _OVERHEAD
