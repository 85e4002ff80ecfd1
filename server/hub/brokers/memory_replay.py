"""Replay from memory: the histories of a selection, merged in the order of ids, a page at a time.

For each topic the reader has a place: up to where it has been told all.  Where a history's floor has passed
that place, messages are gone, and a gap stands in the order where they would have been.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby, takewhile
from operator import attrgetter
from typing import NamedTuple, Protocol

import trio

from ..broker import ReplayLimits
from ..cursor import Cursor
from ..history import History
from ..message import Gap, GapReason, Message
from ..rules import Overflow, RulesOf
from ..selection import Selection
from ..start import After, Earliest, Live, Rewind, Start

PAGE_BYTES = 128 * 1024
"""What a page is reckoned at may come to this, or one message: its reader may be slow, and hold it long."""


@dataclass(slots=True)
class _Place:
    """Up to which offset a topic is accounted for, and the `seq` there, None where it is not known."""

    offset: int
    seq: int | None


class Missing(NamedTuple):
    """Messages of `topic` that are gone, up to `offset`; how many, None where that is not known."""

    offset: int
    reason: GapReason
    topic: str
    missed: int | None


class Histories(Protocol):
    """What a replay has of the store."""

    epoch: str
    forgotten_floor: int
    replay_limits: ReplayLimits

    @property
    def head(self) -> Cursor:
        """Behind the newest message of the store."""

    @property
    def rules_of(self) -> RulesOf:
        """The rules of each topic."""

    def is_ours(self, cursor: Cursor) -> bool:
        """Whether this store can have given `cursor`."""

    def matching(self, selection: Selection) -> Iterator[tuple[str, History]]:
        """The topics of `selection` that have a history, what is too old taken out."""


class MemoryReplay:
    """See `Replay`."""

    __slots__ = (
        "__weakref__",
        "_born",
        "_broker",
        "_missing",
        "_places",
        "_selection",
        "_told",
        "needed",
        "start",
    )

    def __init__(self, broker: Histories, selection: Selection, start: Start) -> None:
        self._broker = broker
        self._selection = selection
        self._places: dict[str, _Place] = {}
        # Known to be missing, and not told yet.
        self._missing: list[Missing] = []
        # A topic that has no place was made, or made again, later: all its messages are behind this.
        self._born = broker.head.offset
        self.start = broker.head
        self.needed = True
        match start:
            case Live():
                self._begin_live()
            case Rewind(count):
                self._begin(lambda history: _place_from_end(history, count))
            case After(cursor) if broker.is_ours(cursor):
                self._begin_after(cursor)
            case After(cursor):
                self._missing += [Missing(0, "epoch", entry, None) for entry in selection]
                self._begin(_place_at_floor)
                # The client keeps its own id until the gap: cut before it, it has to be told again.
                self.start = cursor
            case Earliest():
                self._begin(_place_at_floor)
        if not isinstance(start, Live):
            self._skip_what_is_too_much()
        # The id that was given last, as far as it was one of this store.
        self._told = self.start.offset if broker.is_ours(self.start) else 0

    async def read(self, limit: int) -> list[Message | Gap]:
        """See `Replay.read`."""
        await trio.lowlevel.checkpoint()
        return self._read(limit)

    def forget(self, topic: str, history: History) -> None:
        """Called when `topic`, of which nothing is kept, is forgotten: what was not read yet is missing."""
        if topic not in self._selection:
            return
        place = self._place_of(topic)
        if not self._is_latest(topic) and (gone := _gone(topic, history, place)) is not None:
            self._missing.append(gone)
        # Should it be made again, it is new, and its messages are counted anew.
        del self._places[topic]

    # Where it begins

    def _begin_live(self) -> None:
        self.needed = False
        for topic, history in self._broker.matching(self._selection):
            last = history.last
            if last is not None and self._is_latest(topic):
                self.needed = True
                self._places[topic] = _Place(last.id.offset - 1, None)
                self.start = min(self.start, self._cursor(last.id.offset - 1))
            else:
                self._places[topic] = _Place(self._born, history.seq)

    def _begin(self, place_in: Callable[[History], _Place]) -> None:
        for topic, history in self._broker.matching(self._selection):
            place = place_in(history)
            if history.last is not None and self._is_latest(topic):
                place = _Place(max(place.offset, history.last.id.offset - 1), None)
            self._places[topic] = place
            first = next(iter(history.after(place.offset, 1)), None)
            if first is not None:
                self.start = min(self.start, self._cursor(first.id.offset - 1))

    def _begin_after(self, cursor: Cursor) -> None:
        self.start = cursor
        known = set()
        for topic, history in self._broker.matching(self._selection):
            known.add(topic)
            self._places[topic] = _Place(cursor.offset, history.seq_at(cursor.offset))
        if cursor.offset < self._broker.forgotten_floor:
            # Some that were forgotten may have been among those asked for.
            gone = [entry for entry in self._selection if entry not in known]
            self._missing += [Missing(0, "evicted", entry, None) for entry in gone]

    def _skip_what_is_too_much(self) -> None:
        """Where more is kept than may be replayed, go on with the newest, and say what is left out."""
        limits = self._broker.replay_limits
        matching = {
            topic: history
            for topic, history in self._broker.matching(self._selection)
            if not self._broker.rules_of(topic).whole
        }
        if (
            sum(map(len, matching.values())) <= limits.messages
            and sum(history.size for history in matching.values()) <= limits.size
        ):
            return
        size = 0
        for count, message in enumerate(self._newest_first(matching), 1):
            size += message.size
            if count > limits.messages or size > limits.size:
                self._skip_to(message.id.offset, matching)
                return

    def _newest_first(self, histories: dict[str, History]) -> Iterable[Message]:
        def unread(topic: str, history: History) -> Iterable[Message]:
            place = self._places[topic].offset
            newest = (history.last,) if self._is_latest(topic) and history.last else history.newest_first()
            return takewhile(lambda message: message.id.offset > place, newest)

        streams = [unread(topic, history) for topic, history in histories.items()]
        return heapq.merge(*streams, key=attrgetter("id"), reverse=True)

    def _skip_to(self, offset: int, histories: dict[str, History]) -> None:
        for topic, history in histories.items():
            place = self._places[topic]
            seq = history.seq_at(offset)
            if seq is None or place.offset >= offset or self._is_latest(topic):
                continue
            missed = None if place.seq is None else seq - place.seq
            if missed != 0:
                # Told before all else: a topic that is `latest` may bring an older message than this place.
                self._missing.append(Missing(0, "limit", topic, missed))
            self._places[topic] = _Place(offset, seq)

    # Pages

    def _read(self, limit: int) -> list[Message | Gap]:
        missing = self._missing
        self._missing = []
        found: list[list[Message]] = []
        floors: list[tuple[Missing, History]] = []
        for topic, history in self._broker.matching(self._selection):
            place = self._place_of(topic)
            if self._is_latest(topic):
                last = history.last
                found.append([last] if last is not None and last.id.offset > place.offset else [])
                continue
            if (gone := _gone(topic, history, place)) is not None:
                floors.append((gone, history))
            # One more than is wanted, to see whether this page ends before the live end.
            found.append(history.after(place.offset, limit + 1))
        messages = found[0] if len(found) == 1 else sorted(chain(*found), key=attrgetter("id"))
        fitting = _fitting(messages, limit)
        if fitting < len(messages):
            del messages[fitting:]
            end = messages[-1].id.offset
            floors = [each for each in floors if each[0].offset < end]
            self._missing = [each for each in missing if each.offset >= end]
            missing = [each for each in missing if each.offset < end]
        missing += [gone for gone, _ in floors]
        for gone, history in floors:
            self._places[gone.topic] = _Place(history.floor, history.floor_seq)
        for message in messages:
            place = self._places[message.topic]
            place.offset, place.seq = message.id.offset, message.seq
        return list(self._woven(messages, sorted(missing, key=attrgetter("offset"))))

    def _woven(self, messages: list[Message], missing: list[Missing]) -> Iterable[Message | Gap]:
        """`messages` with gaps before the first message that follows each loss."""
        index = 0
        for message in messages:
            start = index
            while index < len(missing) and missing[index].offset < message.id.offset:
                index += 1
            if index > start:
                yield from self._gaps(message.id.offset - 1, missing[start:index])
            yield message
            self._told = message.id.offset
        if index < len(missing):
            yield from self._gaps(self._broker.head.offset, missing[index:])

    def _gaps(self, offset: int, missing: list[Missing]) -> Iterable[Gap]:
        """A gap for each reason in turn, the last with the id at `offset`.

        No id may stand behind what is told after it: a reader that is cut off between two gaps, and comes
        back with the id of the first, must get the second.
        """
        runs = [list(run) for _, run in groupby(missing, key=attrgetter("reason"))]
        for number, run in enumerate(runs, 1):
            self._told = offset if number == len(runs) else max(self._told, run[-1].offset)
            yield Gap(self._cursor(self._told), run[0].reason, tuple(_summed(run).items()))

    def _place_of(self, topic: str) -> _Place:
        place = self._places.get(topic)
        if place is None:
            place = self._places[topic] = _Place(self._born, 0)
        return place

    def _is_latest(self, topic: str) -> bool:
        return self._broker.rules_of(topic).overflow is Overflow.LATEST

    def _cursor(self, offset: int) -> Cursor:
        return Cursor(self._broker.epoch, offset)


def _fitting(messages: list[Message], limit: int) -> int:
    """How many of `messages` make a page of at most `limit`, and of about a write's worth of bytes."""
    size = 0
    for count, message in enumerate(messages[:limit], 1):
        size += message.size
        if size >= PAGE_BYTES:
            return count
    return min(len(messages), limit)


def _place_at_floor(history: History) -> _Place:
    return _Place(history.floor, history.floor_seq)


def _place_from_end(history: History, count: int) -> _Place:
    first = history.from_end(count)
    if first is None:
        return _Place(history.floor, history.floor_seq)
    return _Place(first.id.offset - 1, first.seq - 1)


def missing_behind(topic: str, history: History, offset: int, seq: int | None) -> Missing | None:
    """What of `topic` is gone behind `offset`, where `seq` was reached, None where that is not known."""
    if history.floor <= offset:
        return None
    reason: GapReason = "purged" if offset < history.purged_to else "evicted"
    missed = None if seq is None else history.floor_seq - seq
    return None if missed == 0 else Missing(history.floor, reason, topic, missed)


def _gone(topic: str, history: History, place: _Place) -> Missing | None:
    return missing_behind(topic, history, place.offset, place.seq)


def _summed(missing: Iterable[Missing]) -> dict[str, int | None]:
    """How many are missing of each topic."""
    missed: dict[str, int | None] = {}
    for each in missing:
        before = missed.get(each.topic, 0)
        missed[each.topic] = None if before is None or each.missed is None else before + each.missed
    return missed
