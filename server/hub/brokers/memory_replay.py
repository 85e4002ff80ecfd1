"""Replay from memory: the histories of a selection, merged in the order of ids, a page at a time.

For each topic the reader has a place: up to where it has been told all.  Where a history's floor has passed
that place, messages are gone, and a gap stands in the order where they would have been.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, takewhile
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import trio

from ..cursor import Cursor
from ..history import History
from ..message import Gap, GapReason, Message
from ..rules import Overflow
from ..selection import Selection
from ..start import After, Earliest, Live, Rewind, Start

if TYPE_CHECKING:
    from .memory import MemoryBroker


PAGE_BYTES = 128 * 1024
"""What a page is reckoned at may come to this, or one message: its reader may be slow, and hold it long."""


@dataclass(slots=True)
class _Place:
    """Up to which offset a topic is accounted for, and the `seq` there, None where it is not known."""

    offset: int
    seq: int | None


class _Missing(NamedTuple):
    """Messages of `topic` that are gone, up to `offset`."""

    offset: int
    reason: GapReason
    topic: str
    missed: int | None


class MemoryReplay:
    """See `Replay`."""

    __slots__ = ("_born", "_broker", "_missing", "_places", "_selection", "needed", "start")

    def __init__(self, broker: MemoryBroker, selection: Selection, start: Start) -> None:
        self._broker = broker
        self._selection = selection
        self._places: dict[str, _Place] = {}
        # What was missing already when it began.
        self._missing: list[_Missing] = []
        # A topic that has no place yet was made later: all its messages are behind this.
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
            case After():
                gone = [_Missing(0, "epoch", entry, None) for entry in selection]
                self._missing.extend(gone)
                self._begin(_place_at_floor)
            case Earliest():
                self._begin(_place_at_floor)
        if not isinstance(start, Live):
            self._skip_what_is_too_much()

    async def read(self, limit: int) -> list[Message | Gap]:
        """See `Replay.read`."""
        await trio.lowlevel.checkpoint()
        return self._read(limit)

    def excerpt(self, limit: int) -> tuple[Gap | None, list[Message]]:
        """One page, its gaps put together before it."""
        items = self._read(limit)
        gaps = [item for item in items if isinstance(item, Gap)]
        return (gaps[0] if gaps else None), [item for item in items if isinstance(item, Message)]

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
            place = self._places[topic] = place_in(history)
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
            self._missing += [_Missing(0, "evicted", entry, None) for entry in gone]

    def _skip_what_is_too_much(self) -> None:
        """Where more is kept than may be replayed, go on with the newest, and say what is left out."""
        limits = self._broker.replay_limits
        matching = dict(self._broker.matching(self._selection))
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
                self._missing.append(_Missing(offset, "limit", topic, missed))
            self._places[topic] = _Place(offset, seq)

    # Pages

    def _read(self, limit: int) -> list[Message | Gap]:
        missing = self._missing
        found: list[list[Message]] = []
        floors: list[tuple[_Missing, History]] = []
        for topic, history in self._broker.matching(self._selection):
            place = self._place_of(topic)
            if self._is_latest(topic):
                last = history.last
                found.append([last] if last is not None and last.id.offset > place.offset else [])
                continue
            if history.floor > place.offset and (gone := _gone(topic, history, place)) is not None:
                floors.append((gone, history))
            found.append(history.after(place.offset, limit))
        messages = found[0] if len(found) == 1 else sorted(chain(*found), key=attrgetter("id"))
        fitting = _fitting(messages, limit)
        if fitting < len(messages):
            del messages[fitting:]
            end = messages[-1].id.offset
            floors = [each for each in floors if each[0].offset < end]
        missing += [gone for gone, _ in floors]
        for gone, history in floors:
            self._places[gone.topic] = _Place(history.floor, history.floor_seq)
        for message in messages:
            place = self._places[message.topic]
            place.offset, place.seq = message.id.offset, message.seq
        self._missing = []
        return list(self._woven(messages, sorted(missing, key=attrgetter("offset"))))

    def _woven(self, messages: list[Message], missing: list[_Missing]) -> Iterable[Message | Gap]:
        """`messages` with gaps before the first message that follows each loss."""
        index = 0
        for message in messages:
            start = index
            while index < len(missing) and missing[index].offset < message.id.offset:
                index += 1
            if index > start:
                yield from _gaps(self._cursor(message.id.offset - 1), missing[start:index])
            yield message
        if index < len(missing):
            yield from _gaps(self._broker.head, missing[index:])

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


def _gone(topic: str, history: History, place: _Place) -> _Missing | None:
    """What of `topic` is gone behind `place`, which its floor has passed."""
    reason: GapReason = "purged" if place.offset < history.purged_to else "evicted"
    missed = None if place.seq is None else history.floor_seq - place.seq
    if missed is not None and missed < 0:
        # The topic was forgotten meanwhile, and its count began anew.
        missed = None
    return None if missed == 0 else _Missing(history.floor, reason, topic, missed)


def _gaps(id: Cursor, missing: list[_Missing]) -> Iterable[Gap]:
    """One gap for each reason."""
    for reason in dict.fromkeys(each.reason for each in missing):
        topics = tuple((each.topic, each.missed) for each in missing if each.reason == reason)
        yield Gap(id, reason, topics)
