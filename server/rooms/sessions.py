"""Sessions: what of a member survives its connections: name, state, and what it has said under a ref.

A session is known by a secret, and its member by a public name.  It is *open* while it has connections, and
*idle* from then on for some time, in which the secret takes the same member back.  Of what it said under a
ref it is remembered which message that was: said again, the message is acknowledged again and not repeated.

Idle sessions and remembered refs are bounded in number and in bytes; the oldest go first.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import trio

from ..hub import Cursor, Message
from ..wire.room_frames import Ack
from .presence import NO_STATE

SESSION_BYTES = 3 * 1024
"""What an idle session is reckoned at, its state included, measured generously."""
REF_BYTES = 768
"""What a remembered ref is reckoned at, at its longest."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """For how long an idle session is kept, how many of them and how many refs of each, and their bytes."""

    seconds: float = 86_400.0
    idle: int = 10_000
    refs: int = 1000
    size: int = 256 * 1024 * 1024


class Said(NamedTuple):
    """A message that is in history.  `digest` tells its data from other data."""

    digest: bytes
    id: Cursor


class Saying:
    """A message on its way into history, under a ref.  A context manager for as long as it is published."""

    __slots__ = ("_ref", "_session", "acknowledge", "digest", "settled")

    def __init__(
        self, session: Session, ref: str, digest: bytes, acknowledge: Callable[[Ack], object]
    ) -> None:
        self._session = session
        self._ref = ref
        self.digest = digest
        self.acknowledge = acknowledge
        self.settled = trio.Event()
        """Set once it is in history, or will not be."""

    def __enter__(self) -> None:
        self._session.saying[self._ref] = self

    def __exit__(self, *exc_info: object) -> None:
        self._session.saying.pop(self._ref, None)
        self.settled.set()


class Session:
    """One member's session in one room."""

    __slots__ = ("connections", "idle_since", "member", "name", "room", "said", "saying", "secret", "state")

    def __init__(self, room: str, name: str) -> None:
        self.room = room
        self.name = name
        self.secret = secrets.token_hex(16)
        self.member = secrets.token_hex(8)
        self.state = NO_STATE
        self.connections = 0
        self.idle_since = 0.0
        self.said: dict[str, Said] = {}
        self.saying: dict[str, Saying] = {}

    def known(self, ref: str) -> Said | Saying | None:
        """What has been said, or is being said, under `ref`."""
        return self.said.get(ref) or self.saying.get(ref)

    def say(self, ref: str, digest: bytes, acknowledge: Callable[[Ack], object]) -> Saying:
        """To be entered around the publishing of what is said under `ref`.

        `acknowledge` is called before anybody gets the message; it must neither wait nor raise.
        """
        return Saying(self, ref, digest, acknowledge)


class Sessions:
    """Every session of this process.  Holds nothing open: it needs no closing."""

    def __init__(self, limits: SessionLimits | None = None) -> None:
        self._limits = limits or SessionLimits()
        self._by_secret: dict[str, Session] = {}
        self._by_member: dict[str, Session] = {}
        # In the order in which they became idle, which is the order in which they expire.
        self._idle: dict[str, Session] = {}
        self.on_forgotten: Callable[[Session], object] = _do_nothing
        """Called with each session that is not kept any longer; it must neither wait nor raise."""
        self.size = 0
        """Bytes that idle sessions and all refs are reckoned at."""

    def __len__(self) -> int:
        return len(self._by_secret)

    def use(self, room: str, secret: str | None, name: str) -> _Use:
        """A context manager: a connection of the session with `secret`, or of a new one for a member `name`.

        Yields the session, and whether it is resumed: not where there is none of this secret in this room.
        """
        return _Use(self, room, secret, name)

    def keep(self, message: Message) -> None:
        """Remember `message`, which is in history, and acknowledge it, where its sender gave it a ref.

        Called before anybody gets the message.
        """
        origin = message.origin
        if origin is None or origin.ref is None or origin.sender is None:
            return
        session = self._by_member.get(origin.sender)
        if session is None:
            return
        if origin.ref not in session.said:
            session.said[origin.ref] = Said(digest_of(message.data), message.id)
            self.size += REF_BYTES
            self._bound(session)
        saying = session.saying.get(origin.ref)
        if saying is not None:
            saying.acknowledge(Ack(origin.ref, str(message.id), duplicate=False))

    def _take(self, room: str, secret: str | None, name: str) -> tuple[Session, bool]:
        self._forget_expired()
        session = self._by_secret.get(secret) if secret is not None else None
        resumed = session is not None and session.room == room
        if session is None or not resumed:
            session = Session(room, name)
            self._by_secret[session.secret] = self._by_member[session.member] = session
        elif self._idle.pop(session.secret, None) is not None:
            self.size -= SESSION_BYTES
        session.connections += 1
        return session, resumed

    def _release(self, session: Session) -> None:
        session.connections -= 1
        if session.connections:
            return
        session.idle_since = trio.current_time()
        self._idle[session.secret] = session
        self.size += SESSION_BYTES
        self._forget_expired()
        while self._idle and (len(self._idle) > self._limits.idle or self.size > self._limits.size):
            self._forget_oldest()

    def _bound(self, session: Session) -> None:
        if len(session.said) > self._limits.refs:
            self._forget_a_ref(session)
        while self.size > self._limits.size and self._idle:
            self._forget_oldest()
        while self.size > self._limits.size and session.said:
            self._forget_a_ref(session)

    def _forget_a_ref(self, session: Session) -> None:
        del session.said[next(iter(session.said))]
        self.size -= REF_BYTES

    def _forget_expired(self) -> None:
        oldest = trio.current_time() - self._limits.seconds
        while self._idle and next(iter(self._idle.values())).idle_since < oldest:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        secret = next(iter(self._idle))
        session = self._idle.pop(secret)
        del self._by_secret[secret], self._by_member[session.member]
        self.size -= SESSION_BYTES + REF_BYTES * len(session.said)
        self.on_forgotten(session)


class _Use:
    __slots__ = ("_name", "_room", "_secret", "_session", "_sessions")

    def __init__(self, sessions: Sessions, room: str, secret: str | None, name: str) -> None:
        self._sessions = sessions
        self._room = room
        self._secret = secret
        self._name = name
        self._session: Session | None = None

    def __enter__(self) -> tuple[Session, bool]:
        self._session, resumed = self._sessions._take(self._room, self._secret, self._name)
        return self._session, resumed

    def __exit__(self, *exc_info: object) -> None:
        assert self._session is not None
        self._sessions._release(self._session)


def _do_nothing(_: Session) -> None:
    pass


def digest_of(data: str) -> bytes:
    """What tells `data`, compact JSON, from other data."""
    return hashlib.blake2b(data.encode(), digest_size=16).digest()
