"""What one connection is told, checked line by line against the truth.

The rule that all others come from: once a client holds an id, everything up to it that the client asked for
has been received, or lies behind a gap that named its topic, or will: what the store has evicted on both
sides of the id is told of whenever the client goes on from there.  So a cut at any place loses nothing
untold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from server.hub import Cursor, Overflow, Selection

from .truth import Entry, Truth, check

Start = Literal["live", "earliest", "rewind", "after", "foreign"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the connection asked for, and the store's head when it did."""

    selection: Selection
    start: Start
    cursor: str = ""
    """What it resumes behind, as it was sent."""
    rewind: int = 0
    head: int = 0


class Follow:
    """One connection's checker.  Raises `SimulationError` at the first line that is wrong."""

    def __init__(self, truth: Truth, asked: Asked) -> None:
        self._truth = truth
        self._asked = asked
        self._server = truth.server
        self._at: int | None = None
        # How many messages of a topic are accounted for, for those of which that is known.
        self._places: dict[str, int] = {}
        self._heard: set[str] = set()
        # Messages dropped of a topic of which it is open where it began.
        self._dropped: dict[str, int] = {}
        # Topics of which an unknown number was left out, until their next message.
        self._left_out: set[str] = set()
        # Where topics were before a gap named a pattern that stands for them.
        self._before_pattern: dict[str, int | None] = {}
        # Entries of which an unknown number was forgotten, topics and all: wherever those messages were.
        self._forgotten: list[str] = []
        # What was published before the connection certainly stood: a topic may begin anywhere in it.
        self._loose_to = 0
        self._began_at = 0
        self._told = asked.start != "foreign"
        # Gaps that are not closed by the id of the last at their place: reason, topic or pattern, number.
        self._told_of: list[tuple[str, str, int | None]] = []
        self._kept_when_asked = 0
        self._bytes_when_asked = 0
        for topic in self._topics():
            kept = truth.kept(topic)
            self._kept_when_asked += len(kept)
            self._bytes_when_asked += sum(entry.message.size for entry in kept)
        self.gaps = 0
        """Gaps in which something was missed."""
        self.messages = 0

    # What comes

    def first(self, text: str) -> None:
        """The id of the first block."""
        asked, truth = self._asked, self._truth
        if asked.start in ("after", "foreign"):
            where = "the first block has another id than the one resumed behind:"
            same = text == asked.cursor or (asked.start == "foreign" and not self._is_ours(text))
            check(same, where, text, "not", asked.cursor)
            if asked.start == "after":
                self._begin(self._parse(text).offset, 0)
            return
        offset = self._parse(text).offset
        check(offset <= truth.head, "the first block is ahead of the store")
        if asked.start == "live" and not any(map(self._is_latest, self._topics())):
            check(offset >= asked.head, "live begins in the past")
            self._begin(offset, 0)
        else:
            self._begin(offset, truth.head)

    def message(self, id: str, topic: str, data: str, seq: int | None) -> None:
        """A message; `data` as it was published."""
        cursor = self._parse(id)
        entry = self._truth.entry(cursor)
        check(self._told, "a message before the gap epoch", id)
        check(entry.topic == topic and topic in self._asked.selection, "of another topic:", id, topic)
        check(entry.message.data == data, "other data than published:", id)
        check(seq is None or seq == entry.message.seq, "wrong seq:", id, seq, entry.message.seq)
        check(self._at is not None and entry.offset > self._at, "twice or out of order:", id, "at", self._at)
        self._close_gaps(self._at or 0)
        self._move(entry.offset - 1)
        if not self._is_latest(topic):
            place = self._place(topic)
            if topic in self._left_out:
                self._left_out.remove(topic)
            elif place is None:
                self._check_begins(entry)
            else:
                missing = self._truth.by_topic[topic][place : entry.index - 1]
                told = all(map(self._is_forgotten, missing))
                check(entry.index > place and told, "lost:", topic, place + 1, "to", entry.index - 1)
        self._places[topic] = entry.index
        self._before_pattern.pop(topic, None)
        self._heard.add(topic)
        self._at = entry.offset
        self.messages += 1

    def gap(self, id: str, reason: str, topics: list[tuple[str, int | None]]) -> None:
        """A gap."""
        if reason == "epoch":
            self._take_epoch(id, topics)
            return
        to = self._parse(id).offset
        check(self._told, "a gap before the gap epoch", reason)
        check(self._at is not None and to >= self._at, "a gap goes back", id, "at", self._at)
        assert self._at is not None
        nothing_missed = not any(missed != 0 for _, missed in topics)
        if nothing_missed:
            # Told live: it has an id of its own, and does not wait for that of a later gap.
            self._close_gaps(self._at)
        self._told_of += [(reason, entry, missed) for entry, missed in topics]
        self.gaps += not nothing_missed
        # Of several gaps at one place, the last has its id; those before stay where the client was.
        if to > self._at or nothing_missed:
            self._close_gaps(to)
            self._move(to)
            self._at = to

    def heartbeat(self, id: str) -> None:
        """A heartbeat that says where the stream stands."""
        to = self._parse(id).offset
        check(self._told and self._at is not None and to >= self._at, "a heartbeat goes back", id)
        self._close_gaps(self._at or 0)
        self._move(to)
        self._at = to

    def finish(self) -> None:
        """The connection has been quiet, and has been told all."""
        check(self._told, "never told of the gap epoch")
        self._close_gaps(self._at or 0)
        self._move(self._truth.head)
        for topic in self._topics():
            newest = self._truth.kept(topic)[-1:]
            if self._is_latest(topic) and newest and newest[0].offset > self._began_at:
                got = self._places.get(topic)
                check(got == newest[0].index, "the newest of", topic, "never came; got", got)

    # What follows from it

    def _take_epoch(self, id: str, topics: list[tuple[str, int | None]]) -> None:
        check(not self._told, "a gap epoch for a cursor of this store")
        entries = {entry for entry, missed in topics if missed is None}
        check(entries == set(self._asked.selection), "epoch names", topics)
        self._told = True
        # With the client's own id where another gap follows, before which it is not to be forgotten.
        to = self._parse(id).offset if self._is_ours(id) else 0
        self._begin(to, self._truth.head)

    def _begin(self, at: int, loose_to: int) -> None:
        self._at = self._began_at = at
        self._loose_to = loose_to
        for topic in self._topics():
            entries = self._truth.by_topic.get(topic, [])
            before = self._truth.count(topic, at)
            if loose_to and before and not self._is_latest(topic):
                check(self._may_skip(entries[before - 1]), "begins too late:", topic, "at", at)

    def _place(self, topic: str) -> int | None:
        """How many messages of `topic` are accounted for, None where that is open."""
        if topic not in self._places and not self._truth.count(topic, self._loose_to):
            self._places[topic] = self._truth.count(topic, self._began_at)
        return self._places.get(topic)

    def _may_skip(self, entry: Entry) -> bool:
        """Whether a topic may begin behind `entry`."""
        if entry.offset > self._loose_to:
            return False
        if self._asked.start == "live":
            return True
        if self._asked.start == "rewind":
            had = self._truth.count(entry.topic, self._loose_to)
            return entry.index <= had - self._asked.rewind or self._truth.is_gone(entry)
        # More than may be replayed is left out without a number: the gap epoch has told.
        left_out = self._asked.start == "foreign" and self._may_be_too_much()
        return left_out or self._truth.is_gone(entry)

    def _check_begins(self, entry: Entry) -> None:
        place = entry.index - 1 - self._dropped.pop(entry.topic, 0)
        check(place >= 0, "more dropped than there were:", entry.topic)
        if place:
            before = self._truth.by_topic[entry.topic][place - 1]
            check(self._may_skip(before), "begins too late:", entry.topic, entry.index)
        if self._asked.start == "rewind":
            had = self._truth.count(entry.topic, self._asked.head)
            check(entry.index > had - self._asked.rewind, "rewinds too far:", entry.topic, entry.index)

    def _move(self, to: int) -> None:
        """Check that all up to `to` is accounted for."""
        assert self._at is not None
        for entry in self._truth.between(self._at, to):
            if entry.topic not in self._asked.selection or self._is_latest(entry.topic):
                continue
            place = self._place(entry.topic)
            accounted = self._may_skip(entry) if place is None else entry.index <= place
            told = entry.topic in self._dropped or entry.topic in self._left_out or self._is_forgotten(entry)
            accounted = accounted or told or self._will_be_told(entry, to)
            check(accounted, "lost:", entry.topic, entry.index, "offset", entry.offset, "; told up to", to)

    def _close_gaps(self, to: int) -> None:
        """Take what gaps have told as accounted for, up to `to`."""
        named = {entry for _, entry, _ in self._told_of}
        for reason, entry, missed in sorted(self._told_of, key=lambda each: each[1].endswith("*")):
            if reason == "evicted" and missed is None and self._server.forgets:
                self._forgotten.append(entry)
            for topic in self._topics_of(entry):
                if entry.endswith("*"):
                    if topic in named:
                        # A pattern stands for what is not named beside it.
                        continue
                    self._before_pattern.setdefault(topic, self._place(topic))
                self._account(topic, reason, missed, to)
        self._told_of.clear()

    def _is_forgotten(self, entry: Entry) -> bool:
        """Whether a gap has told that messages like `entry` were forgotten."""
        told = Selection.of(self._forgotten)
        return bool(self._forgotten) and entry.topic in told and self._truth.is_gone(entry)

    def _will_be_told(self, entry: Entry, at: int) -> bool:
        """Whether the topic has been evicted to beyond `at`, so that a gap comes behind it as well."""
        following = self._truth.by_topic[entry.topic][self._truth.count(entry.topic, at) :][:1]
        return self._truth.is_gone(entry) and any(map(self._truth.is_gone, following))

    def _account(self, topic: str, reason: str, missed: int | None, to: int) -> None:
        """Take `missed` messages of `topic` as told."""
        if self._is_latest(topic):
            check(reason in ("purged", "evicted"), "a topic that is latest has a gap", reason)
        elif reason in ("overflow", "limit"):
            self._account_ahead(topic, reason, missed)
        elif topic in self._left_out:
            # The number left out before is not known, so that only the end is.
            self._left_out.remove(topic)
            self._places[topic] = self._truth.count(topic, to)
        else:
            self._account_to(topic, reason, missed, to)
        self._heard.add(topic)

    def _account_ahead(self, topic: str, reason: str, missed: int | None) -> None:
        """Of a gap that is told before the first that is missing: messages of other topics stand between."""
        place = self._place(topic)
        if missed is None:
            check(reason == "limit", "overflow without a number")
            check(self._may_be_too_much(), "limit, and it all fits:", topic)
            self._left_out.add(topic)
        elif place is None:
            self._dropped[topic] = self._dropped.get(topic, 0) + missed
        else:
            self._take_missed(topic, reason, place, place + missed)

    def _account_to(self, topic: str, reason: str, missed: int | None, to: int) -> None:
        """Of a gap whose id is behind all that is missing."""
        end, place = self._truth.count(topic, to), self._place(topic)
        if missed is None:
            check(topic not in self._heard or self._server.forgets, "the number is known:", topic, reason)
            begin = end if place is None else place
        else:
            begin = end - missed
            # What a pattern has told of without a number may be told again with the topic's own.
            earlier = self._before_pattern.pop(topic, place)
            check(
                place in (None, begin) or earlier in (None, begin),
                reason,
                topic,
                "missed",
                missed,
                "and are",
                end - (place or 0),
            )
            dropped = self._dropped.pop(topic, 0)
            if place is None and begin > dropped:
                before = self._truth.by_topic[topic][begin - dropped - 1]
                check(self._may_skip(before), "lost before a gap:", topic, begin)
        self._take_missed(topic, reason, begin, end)

    def _take_missed(self, topic: str, reason: str, begin: int, end: int) -> None:
        for entry in self._truth.by_topic.get(topic, [])[begin:end]:
            self._check_missed(entry, reason)
        self._places[topic] = end

    def _check_missed(self, entry: Entry, reason: str) -> None:
        """Check that `entry` is missed for a reason that there is."""
        where = f"{entry.topic} {entry.index} (offset {entry.offset})"
        match reason:
            case "evicted" | "purged":
                check(self._truth.is_gone(entry), reason, "and is kept:", where)
            case "overflow":
                rules = self._server.rules_of(entry.topic)
                check(rules.overflow is Overflow.DROP_OLDEST, "overflow, and the topic drops nothing:", where)
            case "limit":
                self._check_limit(where)
            case _:
                check(False, "a gap for no reason:", reason)

    def _check_limit(self, where: str) -> None:
        check(self._may_be_too_much(), "limit, and it all fits:", where)

    def _may_be_too_much(self) -> bool:
        """Whether there was more than may be replayed."""
        replay = self._server.replay
        # At most: what was published since may be more than what was replayed.
        later = list(self._truth.between(self._asked.head, self._truth.head))
        count = self._kept_when_asked + len(later)
        size = self._bytes_when_asked + sum(entry.message.size for entry in later)
        return count > replay.messages or size > replay.size

    def _topics(self) -> list[str]:
        return [topic for topic in self._truth.by_topic if topic in self._asked.selection]

    def _topics_of(self, entry: str) -> list[str]:
        """The topics that `entry` of a gap stands for."""
        if entry.endswith("*"):
            check(entry in set(self._asked.selection), "a gap names", entry)
            return [topic for topic in self._topics() if topic.startswith(entry[:-1])]
        check(entry in self._asked.selection, "a gap names", entry)
        return [entry]

    def _is_latest(self, topic: str) -> bool:
        return self._server.rules_of(topic).overflow is Overflow.LATEST

    def _is_ours(self, text: str) -> bool:
        cursor = Cursor.parse(text)
        return cursor is not None and cursor.epoch == self._truth.epoch and cursor.offset <= self._truth.head

    def _parse(self, text: str) -> Cursor:
        cursor = Cursor.parse(text)
        if cursor is None or cursor.epoch != self._truth.epoch:
            check(False, "an id of another store:", text)
        assert cursor is not None
        return cursor
