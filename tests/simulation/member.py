"""Members of rooms: they come by WebSocket, talk, listen in their own way, are cut, and come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import trio
from wsproto.utilities import LocalProtocolError

from server.hub import Overflow
from server.rooms import ROOM_TOPIC_PREFIX
from tests.support.memory_socket import ClientEnd
from tests.support.websocket_peer import HandshakeError, WebSocketPeer

from .attendance import Absence, Attendance, closed, vanished
from .script import Reader, Stay
from .stage import GOODBYE_SECONDS, HANGUP_SECONDS, Life, Line, RefusedError, Stage
from .talk import Session, Talk
from .truth import check
from .wire import PacedEnd

_AGAIN_SECONDS = 0.5
_HEARTBEAT_SECONDS = 31.0
"""Within which a member is found to be gone whose network says nothing: a ping, its patience, and a tick."""
_CLOSES = {"close": 1000, "away": 1001, "wordless": 1005}


class Member:
    """One member, over all its stays."""

    def __init__(self, stage: Stage, stays: Sequence[tuple[int, Stay]], nursery: trio.Nursery) -> None:
        self._stage = stage
        self._stays = stays
        self._nursery = nursery
        self._sessions: dict[str, Session] = {}
        # Those from which nothing is heard any more, and that the server may not have found to be.
        self._vanished: list[Line] = []
        self.settled = trio.Event()
        """Set once only its last, endless stay is left."""
        self.talk: Talk | None = None
        """Its connection that stands."""
        self.refused = False
        """Whether it was not let in when it came last."""

    async def run(self) -> None:
        """Make all stays, and then one that is prompt, says nothing new and has no end."""
        for number, stay in self._stays:
            await trio.sleep(stay.delay)
            await self._make(number, stay)
        number, stay = self._stays[-1]
        last = replace(
            stay,
            does=(),
            resumes=True,
            reader=Reader(),
            room=65536,
            cut_after=None,
            leave_after=float("inf"),
            farewell="reset",
        )
        self._nursery.start_soon(self._settle)
        while True:
            await self._make(number, last)
            await trio.sleep(_AGAIN_SECONDS)

    async def _settle(self) -> None:
        for line in self._vanished:
            await line.served.wait()
        self.settled.set()

    async def _make(self, number: int, stay: Stay) -> None:
        try:
            life, line = self._stage.connect(stay.room)
        except RefusedError:
            await trio.sleep(_AGAIN_SECONDS)
            return
        rules = life.truth.server.rules_of(ROOM_TOPIC_PREFIX + stay.room_name)
        line.is_member, line.may_block = True, rules.overflow is Overflow.BLOCK
        stream = PacedEnd(line.end, stay.reader, self._stage.script.random(number), stay.cut_after)
        ended = False
        try:
            with trio.move_on_after(stay.leave_after):
                await self._stay(stream, life, number, stay)
                ended = True
        except* (EOFError, trio.BrokenResourceError, LocalProtocolError):
            ended = True
        except* HandshakeError as refused:
            self.refused = True
            why = refused.exceptions[0]
            check(life.ending or life.truth.server.forgets, "refused:", why)
        finally:
            talk, self.talk = self.talk, None
            self._go(life, line, stream, stay, talk, by_itself=not ended)
            if stay.farewell != "vanish":
                with trio.move_on_after(GOODBYE_SECONDS, shield=True):
                    await _leave(line.end, stay.farewell, talk)
                line.end.reset()
            self._nursery.start_soon(_check_served, line, stay, self._stage.script.server.write_deadline)

    async def _stay(self, stream: PacedEnd, life: Life, number: int, stay: Stay) -> None:
        if not stay.resumes:
            self._sessions.pop(stay.room_name, None)
        session = self._sessions.setdefault(stay.room_name, Session())
        attendance = life.attendances.setdefault(stay.room_name, Attendance())
        if session.epoch == life.truth.epoch:
            attendance.try_to_come(session.member)
        head = life.truth.head
        target, subprotocols = _handshake(stay, session)
        peer = await WebSocketPeer.connect(stream, target, subprotocols=subprotocols)
        self.refused = False
        talk = self.talk = Talk(peer, life, stay, session, head)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk.act, number, self._stage.script.random(number))
            await talk.listen()
            nursery.cancel_scope.cancel()

    def _go(
        self, life: Life, line: Line, stream: PacedEnd, stay: Stay, talk: Talk | None, *, by_itself: bool
    ) -> None:
        """Note the end of a connection, `by_itself` before the server knows of it."""
        if stay.farewell == "vanish":
            self._vanished.append(line)
        if talk is None or not talk.welcomed.is_set():
            return
        member = talk.session.member
        room = life.application.rooms.rooms.room(stay.room_name)
        present = room.members.get(member) if room is not None else None
        there = present is not None and present.connections == 1
        alone = all(each is line or each.served.is_set() for each in self._vanished)
        code = _CLOSES.get(stay.farewell, 1006)
        # A close frame is heard when the answer to it has left, behind what waits for a slow reader.
        at_once = not line.may_block and (code == 1006 or stay.is_prompt)
        absence = Absence()
        if by_itself and there and alone and at_once:
            gone = stay.farewell == "vanish"
            absence = vanished() if gone else closed(code, trio.current_time() - stream.sent_at)
        life.attendances[stay.room_name].go(member, absence)


def _handshake(stay: Stay, session: Session) -> tuple[str, list[str]]:
    """Target and subprotocols."""
    query = [f"name=m{stay.member}"]
    subprotocols = ["sluiceway.v1.msgpack" if stay.packed else "sluiceway.v1.json"]
    if session.cursor:
        query.append(f"last_event_id={session.cursor}")
    if session.secret and stay.shows_secret:
        query.append(f"session={session.secret}")
    elif session.secret:
        subprotocols.append(f"sluiceway.session.{session.secret}")
    return f"/rooms/{stay.room_name}?{'&'.join(query)}", subprotocols


async def _leave(end: ClientEnd, farewell: str, talk: Talk | None) -> None:
    if farewell in _CLOSES and talk is not None:
        try:
            await talk.peer.close(_CLOSES[farewell])
            while True:
                await talk.peer.receive()
        except (EOFError, trio.BrokenResourceError, LocalProtocolError):
            pass
    elif farewell == "fin":
        end.close()
        # A moment later the process that had it is gone, too.
        await trio.sleep(HANGUP_SECONDS)


async def _check_served(line: Line, stay: Stay, write_deadline: float) -> None:
    limit = GOODBYE_SECONDS
    limit += write_deadline if line.may_block else 0.0
    if stay.farewell == "vanish":
        limit += _HEARTBEAT_SECONDS + write_deadline
    with trio.move_on_after(limit):
        await line.served.wait()
    check(line.served.is_set(), "the server still holds a member that is gone")
    line.end.reset()
