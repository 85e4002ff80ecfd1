"""One connection of a room's member, frame by frame, and what the member keeps between its connections."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec
import trio
from wsproto.utilities import LocalProtocolError

from server.hub import Cursor, Overflow, Selection
from server.rooms import ROOM_TOPIC_PREFIX
from tests.support.frames import Binary, Close, Text
from tests.support.websocket_peer import WebSocketPeer

from .follow import Asked, Follow, Start
from .script import Stay
from .stage import Life
from .truth import Entry, Truth, check

_CODES = frozenset({1000, 1001, 1012, 4408, 4413})
"""What a connection of a well-behaved member can be closed with."""


@dataclass
class Session:
    """What a client keeps of a room between its connections."""

    secret: str = ""
    member: str = ""
    cursor: str = ""
    epoch: str = ""
    """Of the store that knows the session."""
    unacknowledged: dict[str, str] = field(default_factory=dict)
    """Data by ref: what is sent again on the next connection."""
    acknowledged: dict[str, str] = field(default_factory=dict)
    """Ids by ref."""
    data: dict[str, str] = field(default_factory=dict)
    """Of everything it has said, by ref."""
    sent: Counter[str] = field(default_factory=Counter)
    """How many times each ref was sent to the store that knows the session."""
    begin: int | None = None
    """Offset from which on all messages are counted; None where an unknown number was missed."""
    counted: int = 0
    """Messages heard or told of as missed, since then."""

    def begin_anew(self, secret: str, member: str, epoch: str) -> None:
        """The server knows it no more: it is another session."""
        self.secret, self.member, self.epoch = secret, member, epoch
        self.acknowledged.clear()
        self.sent.clear()
        self.begin = None


class Talk:
    """One connection."""

    def __init__(self, peer: WebSocketPeer, life: Life, stay: Stay, session: Session, asked: int) -> None:
        self.peer = peer
        self.life = life
        self.stay = stay
        self.session = session
        self.follow: Follow | None = None
        self.members: dict[str, Any] = {}
        """The states of those that are there, by member."""
        self.welcomed = trio.Event()
        self._topic = ROOM_TOPIC_PREFIX + stay.room_name
        self._attendance = life.attendances[stay.room_name]
        self._asked = asked
        # Of what was sent on this connection: the store's head then.
        self._sent: dict[str, int] = {}
        self._acks: Counter[str] = Counter()
        self._own: set[str] = set()
        self._signals: set[str] = set()
        self._clashes: set[str] = set()

    # Saying

    async def act(self, number: int, random: Random) -> None:
        """Say again what was not acknowledged, and then do what there is to do."""
        await self.welcomed.wait()
        try:
            for ref in list(self.session.unacknowledged):
                await self._say(ref)
            for place, (pause, deed) in enumerate(self.stay.does):
                await trio.sleep(pause)
                await self._do(deed, f"{number}.{place}", random)
        except (trio.BrokenResourceError, LocalProtocolError):
            # Gone, or closing: the one that listens finds out.
            return

    async def _do(self, deed: str, ref: str, random: Random) -> None:
        session = self.session
        match deed:
            case "say":
                session.data[ref] = session.unacknowledged[ref] = json.dumps(
                    {"n": ref}, separators=(",", ":")
                )
                await self._say(ref)
            case "again" if session.acknowledged:
                await self._say(random.choice(list(session.acknowledged)))
            case "clash" if session.acknowledged:
                known = random.choice(list(session.acknowledged))
                self._clashes.add(known)
                await self._send(type="message", data={"n": "another"}, ref=known)
            case "signal":
                await self._send(type="signal", data={"n": ref, "to": None})
            case "whisper":
                to = random.choice(list(self.members))
                await self._send(type="signal", data={"n": ref, "to": to}, to=to)
            case "state":
                await self._send(type="presence", state={"n": ref})

    async def _say(self, ref: str) -> None:
        session = self.session
        self._sent.setdefault(ref, self.life.truth.head)
        session.sent[ref] += 1
        await self._send(type="message", data=json.loads(session.data[ref]), ref=ref)

    async def _send(self, **frame: object) -> None:
        packed = self.stay.packed
        await self.peer.send(msgspec.msgpack.encode(frame) if packed else json.dumps(frame))

    # Hearing

    async def listen(self) -> None:
        """Read until the server ends it.

        Raises:
            EOFError, trio.BrokenResourceError: it ended otherwise than with a close frame.
        """
        while True:
            match await self.peer.receive():
                case Text(text) if not self.stay.packed:
                    self._take(json.loads(text))
                case Binary(data) if self.stay.packed:
                    self._take(msgspec.msgpack.decode(data))
                case Text() | Binary() as other:
                    check(False, "a frame in the wrong form:", other)
                case Close(code, reason):
                    full = code == 1013 and self.life.truth.server.forgets
                    check(code in _CODES or full, "closed with", code, reason)
                    return

    def _take(self, frame: dict[str, Any]) -> None:
        kind = frame.pop("type")
        if not self.welcomed.is_set():
            check(kind == "welcome", "no welcome first:", kind, frame)
            self._take_welcome(frame)
            return
        takes: dict[str, Callable[[dict[str, Any]], None]] = {
            "message": self._take_message,
            "ack": self._take_ack,
            "gap": self._take_gap,
            "joined": self._take_joined,
            "left": self._take_left,
            "presence": self._take_presence,
            "signal": self._take_signal,
            "error": self._take_error,
            "closing": lambda _: None,
        }
        check(kind in takes, "told", kind, frame)
        takes[kind](frame)

    def _take_welcome(self, frame: dict[str, Any]) -> None:
        session, truth = self.session, self.life.truth
        known = session.epoch == truth.epoch
        check(frame["resumed"] == known, "resumed:", frame, "and that is", known)
        if known:
            same = (session.member, session.secret) == (frame["member"], frame["session"])
            check(same, "resumed as another one:", frame)
        else:
            session.begin_anew(frame["session"], frame["member"], truth.epoch)
        self.follow = self._follow(truth)
        self.follow.first(frame["cursor"])
        session.cursor = frame["cursor"]
        if self._asks == "live":
            session.begin, session.counted = self._offset(frame["cursor"]), 0
        self.members = {each["member"]: each["state"] for each in frame["members"]}
        check(session.member in self.members, "not a member itself")
        check(frame["member_count"] == len(frame["members"]), "counted wrongly:", frame)
        self._attendance.come(session.member, prompt=self.stay.is_prompt)
        self.welcomed.set()

    def _follow(self, truth: Truth) -> Follow:
        cursor = Cursor.parse(self.session.cursor)
        self._asks: Start = "live"
        if self.session.cursor:
            ours = cursor is not None and cursor.epoch == truth.epoch
            self._asks = "after" if ours else "foreign"
        asked = Asked(Selection((self._topic,)), self._asks, self.session.cursor, head=self._asked)
        return Follow(truth, asked)

    def _take_message(self, frame: dict[str, Any]) -> None:
        assert self.follow is not None
        session = self.session
        data = json.dumps(frame["data"], separators=(",", ":"))
        self.follow.message(frame["id"], self._topic, data, None)
        session.cursor = frame["id"]
        session.counted += 1
        introduced = frame["from"] in self.members or not self._is_live
        check(introduced or frame["from"] is None, "from one who is not there:", frame)
        if frame["from"] is None:
            check("ref" not in frame, "a ref from the server side:", frame)
            return
        ref = frame["data"]["n"]
        check(frame.get("ref") == ref, "another one's ref:", frame)
        if frame["from"] == session.member:
            self._own.add(ref)
            # What was sent before may have come to the room then, and be acknowledged as a duplicate.
            only_here = session.sent[ref] == 1 and ref in self._sent
            check(self._acks[ref] > 0 or not only_here, "a message before its ack:", frame)

    @property
    def _is_live(self) -> bool:
        """Whether nothing was replayed: who has said that may have left since."""
        rules = self.life.truth.server.rules_of(self._topic)
        return self._asks == "live" and rules.overflow is not Overflow.LATEST

    def _take_ack(self, frame: dict[str, Any]) -> None:
        session, ref, known = self.session, frame["ref"], frame["id"]
        check(ref in self._sent, "an ack of what was not sent:", frame)
        entry = self._entry(known)
        origin = entry.message.origin
        said = (entry.topic, entry.message.data, origin and origin.ref, origin and origin.sender)
        check(
            said == (self._topic, session.data[ref], ref, session.member), "an ack of another:", frame, said
        )
        earlier = session.acknowledged.get(ref, known)
        check(earlier == known, "acknowledged with", earlier, "and with", known)
        if frame["duplicate"]:
            check(session.sent[ref] > 1, "a duplicate of nothing:", frame)
        else:
            check(ref not in session.acknowledged, "acknowledged twice as new:", frame)
            check(entry.offset > self._sent[ref], "acknowledged as new, and was there:", frame)
            check(ref not in self._own, "an ack behind its message:", frame)
        self._acks[ref] += 1
        session.acknowledged[ref] = known
        session.unacknowledged.pop(ref, None)

    def _take_gap(self, frame: dict[str, Any]) -> None:
        assert self.follow is not None
        session = self.session
        missed = frame["missed"]
        self.follow.gap(frame["cursor"], frame["reason"], [(self._topic, missed)])
        session.cursor = frame["cursor"]
        if missed is None:
            session.begin = None
        else:
            session.counted += missed

    def _take_joined(self, frame: dict[str, Any]) -> None:
        check(frame["member"] not in self.members, "joined twice:", frame)
        self.members[frame["member"]] = frame["state"]

    def _take_left(self, frame: dict[str, Any]) -> None:
        member = frame["member"]
        check(member in self.members, "left, and was not there:", frame)
        check(member != self.session.member, "told to have left itself")
        del self.members[member]
        if not self.life.ending:
            self._attendance.check_left(member, prompt=self.stay.is_prompt)

    def _take_presence(self, frame: dict[str, Any]) -> None:
        member = frame["member"]
        check(member in self.members, "the state of one who is not there:", frame)
        check(member != self.session.member, "told its own state:", frame)
        self.members[member] = frame["state"]

    def _take_signal(self, frame: dict[str, Any]) -> None:
        sender, data = frame["from"], frame["data"]
        check(sender in self.members, "a signal of one who is not there:", frame)
        if data["to"] is None:
            check(sender != self.session.member, "its own signal:", frame)
        else:
            check(data["to"] == self.session.member, "a signal to another:", frame)
        check(data["n"] not in self._signals, "a signal twice:", frame)
        self._signals.add(data["n"])

    def _take_error(self, frame: dict[str, Any]) -> None:
        clash = frame["code"] == "ref_conflict" and frame["ref"] in self._clashes
        check(clash, "told of an error:", frame)

    # At the end

    def check_settled(self) -> None:
        """It has been quiet: all has been told."""
        check(self.follow is not None, "no welcome came")
        assert self.follow is not None
        self.follow.finish()
        session, truth = self.session, self.life.truth
        check(not session.unacknowledged, "never acknowledged:", *session.unacknowledged)
        for ref, known in session.acknowledged.items():
            check(self._entry(known).message.data == session.data[ref], "acknowledged, and another:", ref)
        latest = truth.server.rules_of(self._topic).overflow is Overflow.LATEST
        if session.begin is not None and not latest:
            there = truth.count(self._topic, truth.head) - truth.count(self._topic, session.begin)
            check(session.counted == there, "heard of", session.counted, "and there are", there)
        self._check_members()

    def _check_members(self) -> None:
        room = self.life.application.rooms.rooms.room(self.stay.room_name)
        assert room is not None
        there = {member: json.loads(bytes(room.info(member).state)) for member in room.members}
        check(self.members == there, "knows of", self.members, "and there are", there)

    def _entry(self, text: str) -> Entry:
        cursor = Cursor.parse(text)
        check(cursor is not None, "no id:", text)
        assert cursor is not None
        return self.life.truth.entry(cursor)

    def _offset(self, text: str) -> int:
        cursor = Cursor.parse(text)
        assert cursor is not None
        return cursor.offset


def check_said_once(truth: Truth) -> None:
    """No member has said anything twice, in any room of this store."""
    said = Counter(
        (entry.topic, entry.message.origin.sender, entry.message.origin.ref)
        for entry in truth.entries
        if entry.message.origin is not None
    )
    twice = [each for each, times in said.items() if times > 1]
    check(not twice, "said twice:", *twice)
    others = [entry for entry in truth.entries if entry.message.data == '{"n":"another"}']
    check(not others, "other data under a known ref was said:", *others)
