"""Members of rooms: they come by WebSocket, talk, listen in their own way, and go."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import trio
from wsproto.utilities import LocalProtocolError

from server.hub import Selection
from tests.support.frames import Close, Text
from tests.support.memory_socket import ClientEnd
from tests.support.websocket_peer import HandshakeError, WebSocketPeer

from .follow import Asked, Follow
from .script import Reader, Stay
from .stage import GOODBYE_SECONDS, HANGUP_SECONDS, Life, Line, RefusedError, Stage
from .truth import check
from .wire import PacedEnd

_AGAIN_SECONDS = 0.5
_CODES = frozenset({1000, 1012, 4408, 4413})
"""What a connection of a well-behaved member can be closed with."""


class Member:
    """One member, over all its stays."""

    def __init__(self, stage: Stage, stays: Sequence[tuple[int, Stay]], nursery: trio.Nursery) -> None:
        self._stage = stage
        self._stays = stays
        self._nursery = nursery
        self.settled = trio.Event()
        """Set once only its last, endless stay is left."""
        self.talk: _Talk | None = None
        """Its connection that stands."""
        self.refused = False
        """Whether it was not let in when it came last."""

    async def run(self) -> None:
        """Make all stays, and then one that is prompt, says nothing and has no end."""
        for number, stay in self._stays:
            await trio.sleep(stay.delay)
            await self._make(number, stay)
        number, stay = self._stays[-1]
        last = replace(stay, says=(), reader=Reader(), room=65536, cut_after=None, leave_after=float("inf"))
        self.settled.set()
        while True:
            await self._make(number, last)
            await trio.sleep(_AGAIN_SECONDS)

    async def _make(self, number: int, stay: Stay) -> None:
        try:
            life, line = self._stage.connect(stay.room)
        except RefusedError:
            await trio.sleep(_AGAIN_SECONDS)
            return
        line.is_member = True
        end = line.end
        stream = PacedEnd(end, stay.reader, self._stage.script.random(number), stay.cut_after)
        try:
            with trio.move_on_after(stay.leave_after):
                await self._stay(stream, life, number, stay)
        except* (EOFError, trio.BrokenResourceError, LocalProtocolError):
            pass
        except* HandshakeError as refused:
            self.refused = True
            why = refused.exceptions[0]
            check(life.ending or life.truth.server.forgets, "refused:", why)
        finally:
            talk, self.talk = self.talk, None
            with trio.move_on_after(GOODBYE_SECONDS, shield=True):
                await _leave(end, stay.farewell, talk)
            end.reset()
            self._nursery.start_soon(_check_served, line)

    async def _stay(self, stream: PacedEnd, life: Life, number: int, stay: Stay) -> None:
        name = f"m{stay.member}"
        asked = life.truth.head
        peer = await WebSocketPeer.connect(stream, f"/rooms/{stay.room_name}?name={name}")
        self.refused = False
        talk = self.talk = _Talk(peer, life, stay, asked)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_say, peer, number, stay)
            await talk.listen()
            nursery.cancel_scope.cancel()


async def _say(peer: WebSocketPeer, number: int, stay: Stay) -> None:
    for place, pause in enumerate(stay.says):
        await trio.sleep(pause)
        ref = f"{number}.{place}"
        try:
            await peer.send(json.dumps({"type": "message", "data": {"n": ref}, "ref": ref}))
        except (trio.BrokenResourceError, LocalProtocolError):
            # Gone, or closing: the one that listens finds out.
            return


class _Talk:
    """One connection, frame by frame."""

    def __init__(self, peer: WebSocketPeer, life: Life, stay: Stay, asked: int) -> None:
        self.peer = peer
        self.members: dict[str, str] = {}
        self.follow: Follow | None = None
        self.life = life
        self.room = stay.room_name
        self._asked = asked
        self._me = ""
        self._acks: dict[str, str] = {}

    async def listen(self) -> None:
        """Read until the server ends it.

        Raises:
            EOFError, trio.BrokenResourceError: it ended otherwise than with a close frame.
        """
        while True:
            match await self.peer.receive():
                case Text(text):
                    self._take(json.loads(text))
                case Close(code, reason):
                    check(code in _CODES, "closed with", code, reason)
                    return
                case _:
                    pass

    def check_settled(self) -> None:
        """It has been quiet: all has been told."""
        check(self.follow is not None, "no welcome came")
        assert self.follow is not None
        self.follow.finish()
        room = self.life.application.rooms.rooms.room(self.room)
        present = set(room.members) if room else set()
        check(set(self.members) == present, "knows of", set(self.members), "and there are", present)

    def _take(self, frame: dict[str, Any]) -> None:
        kind = frame["type"]
        if self.follow is None:
            check(kind == "welcome", "no welcome first:", frame)
            topic = f"rooms/{self.room}"
            asked = Asked(Selection((topic,)), "live", head=self._asked)
            self.follow = Follow(self.life.truth, asked)
            self.follow.first(frame["cursor"])
            self._me = frame["member"]
            self.members = {each["member"]: each["name"] for each in frame["members"]}
            check(self._me in self.members, "not a member itself")
            return
        match kind:
            case "message":
                self._take_message(frame)
            case "ack":
                check(frame["ref"] not in self._acks, "acknowledged twice:", frame)
                self._acks[frame["ref"]] = frame["id"]
            case "joined":
                check(frame["member"] not in self.members, "joined twice:", frame)
                self.members[frame["member"]] = frame["name"]
            case "left":
                check(frame["member"] in self.members, "left, and was not there:", frame)
                del self.members[frame["member"]]
            case "gap":
                self.follow.gap(frame["cursor"], frame["reason"], [(f"rooms/{self.room}", frame["missed"])])
            case "closing":
                pass
            case _:
                check(False, "told", frame)

    def _take_message(self, frame: dict[str, Any]) -> None:
        assert self.follow is not None
        data = json.dumps(frame["data"], separators=(",", ":"))
        self.follow.message(frame["id"], f"rooms/{self.room}", data, None)
        if frame["from"] == self._me:
            check(self._acks.get(frame["ref"]) == frame["id"], "a message before its ack:", frame)
        check(frame.get("ref") == frame["data"]["n"], "another one's ref:", frame)


async def _leave(end: ClientEnd, farewell: str, talk: _Talk | None) -> None:
    if farewell == "close" and talk is not None:
        try:
            await talk.peer.close()
            while True:
                await talk.peer.receive()
        except (EOFError, trio.BrokenResourceError, LocalProtocolError):
            pass
    elif farewell == "fin":
        end.close()
        # A moment later the process that had it is gone, too.
        await trio.sleep(HANGUP_SECONDS)


async def _check_served(line: Line) -> None:
    with trio.move_on_after(GOODBYE_SECONDS):
        await line.served.wait()
    check(line.served.is_set(), "the server still holds a member that is gone")
