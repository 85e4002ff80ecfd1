"""Idempotency keys: a request that is sent again has its answer again, and no second effect
(draft-ietf-httpapi-idempotency-key-header-07).

`IdempotencyKeys` is the store that an application opens; `key_of` reads a request's key, and
`IdempotencyKeys.answer` goes around what a route does.  A key is *running* from the moment the first
request with it goes to work, and those that come meanwhile wait; then it is *finished*, and its answer is
kept for a time.  Only what had an effect is kept: a request that was refused or cancelled leaves no trace,
and the next one with its key, waiting or not, goes to work in its place.

Keys and bytes are bounded.  The oldest finished keys make room; where there are none, a new key is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

import trio
from quart import Request

from ..lifecycle import RequestHead
from ..wire.problem import ProblemError
from .answers import Answer

KEY_OVERHEAD = 1024
"""Bytes that a key costs beyond its text and its answer's body, measured generously."""

_KEY = re.compile(r"[!-~]{1,255}")
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_SYNTAX = "A key has 1 to 255 visible characters of ASCII"


class KeyScope(NamedTuple):
    """What a key counts for: `path` is decoded, `principal` says who asks, empty where nobody is known."""

    method: str
    path: str
    principal: str
    key: str


@dataclass(frozen=True, slots=True)
class IdempotencyLimits:
    """For how long an answer is kept, and how many keys and bytes there may be."""

    seconds: float = 300.0
    keys: int = 10_000
    size: int = 64 * 1024 * 1024


class KeyedRequest(NamedTuple):
    """A request with a key.  `fingerprint` tells its body from another one."""

    scope: KeyScope
    fingerprint: bytes


class _Running:
    __slots__ = ("answer", "ended", "fingerprint")

    def __init__(self, fingerprint: bytes) -> None:
        self.fingerprint = fingerprint
        self.ended = trio.Event()
        self.answer: Answer | None = None


class _Finished(NamedTuple):
    fingerprint: bytes
    answer: Answer
    expires_at: float
    size: int


class IdempotencyKeys:
    """The keys of this process.  Holds nothing open: it needs no closing."""

    def __init__(self, limits: IdempotencyLimits) -> None:
        self._limits = limits
        self._running: dict[KeyScope, _Running] = {}
        # In the order in which they finished, which is the order in which they expire.
        self._finished: dict[KeyScope, _Finished] = {}
        self.size = 0
        """Bytes that keys and answers are reckoned at."""

    def __len__(self) -> int:
        return len(self._running) + len(self._finished)

    async def answer(
        self,
        request: KeyedRequest | None,
        perform: Callable[[], Awaitable[Answer]],
        counts: Callable[[Answer], bool] | None = None,
    ) -> Answer:
        """What `perform` answers, or has answered: it is called at most once for a key.

        Args:
            request: None for one without a key, for which `perform` is just called.
            perform: has its effect and returns, or raises and has none.  So also when it is cancelled: it
            ends as cancelled before the effect, or returns after it.
            counts: whether an answer that is kept is still one to be given again; where it is not, it is as
            if the key had not been used.

        Cancelled before the effect, it leaves the key to the next who waits for it, or comes.

        Raises:
            ProblemError: `idempotency_key_reused`, where the key has come with another body;
            `idempotency_keys_full`.
            Exception: whatever `perform` raises.
        """
        if request is None:
            return await perform()
        scope, fingerprint = request
        while True:
            self._forget_expired()
            known = self._finished.get(scope) or self._running.get(scope)
            if known is None:
                return await self._perform(request, perform)
            if known.fingerprint != fingerprint:
                detail = "This key came with another body before. A new request takes a new key."
                raise ProblemError("idempotency_key_reused", detail)
            if isinstance(known, _Running):
                await known.ended.wait()
            else:
                await trio.lowlevel.checkpoint()
            # It is held here: that it was forgotten in the meantime must not bring a second effect.
            if known.answer is None:
                continue
            if counts is None or counts(known.answer):
                return known.answer
            self._forget(scope, known.answer)

    async def _perform(self, request: KeyedRequest, perform: Callable[[], Awaitable[Answer]]) -> Answer:
        scope, fingerprint = request
        size = KEY_OVERHEAD + sum(map(len, scope))
        self._make_room(size)
        running = self._running[scope] = _Running(fingerprint)
        self.size += size
        try:
            running.answer = await perform()
        finally:
            del self._running[scope]
            self.size -= size
            running.ended.set()
            if running.answer is not None:
                self._keep(scope, fingerprint, running.answer, size)
        return running.answer

    def _make_room(self, size: int) -> None:
        while len(self) >= self._limits.keys or self.size + size > self._limits.size:
            if not self._finished:
                detail = "As many requests with a key are in progress as this server allows."
                raise ProblemError("idempotency_keys_full", detail, Retry_After="5")
            self._forget_oldest()

    def _keep(self, scope: KeyScope, fingerprint: bytes, answer: Answer, size: int) -> None:
        size += len(answer.body)
        expires_at = trio.current_time() + self._limits.seconds
        self._finished[scope] = _Finished(fingerprint, answer, expires_at, size)
        self.size += size
        while self.size > self._limits.size and self._finished:
            self._forget_oldest()

    def _forget_expired(self) -> None:
        now = trio.current_time()
        while self._finished and next(iter(self._finished.values())).expires_at <= now:
            self._forget_oldest()

    def _forget(self, scope: KeyScope, answer: Answer) -> None:
        """Forget `answer`, where it is the one that is kept for this key."""
        finished = self._finished.get(scope)
        if finished is not None and finished.answer is answer:
            self.size -= self._finished.pop(scope).size

    def _forget_oldest(self) -> None:
        self.size -= self._finished.pop(next(iter(self._finished))).size


def keyed_request(
    request: Request, key: str | None, media_type: str, body: bytes, principal: str = ""
) -> KeyedRequest | None:
    """`request` as one with `key`, None where that is None.  Its type and every byte of its body count."""
    if key is None:
        return None
    digest = hashlib.blake2b(media_type.encode() + b"\n", digest_size=32)
    digest.update(body)
    return KeyedRequest(KeyScope(request.method, request.path, principal, key), digest.digest())


def key_of(head: RequestHead) -> str | None:
    """The key in the header, None where there is none.

    The draft has it as a quoted string (RFC 9651, section 3.3.3); without quotes, as most clients send it, it
    is the same key.

    Raises:
        ProblemError: `idempotency_key_invalid`.
    """
    values = list(head.header_values("idempotency-key"))
    if not values:
        return None
    if len(values) > 1:
        raise ProblemError("idempotency_key_invalid", "Idempotency-Key is given twice.")
    key = values[0].strip(" \t")
    if key.startswith('"'):
        quoted = _QUOTED.fullmatch(key)
        if quoted is None:
            raise ProblemError("idempotency_key_invalid", "A key that begins with a quote ends with one.")
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    if _KEY.fullmatch(key) is None:
        raise ProblemError("idempotency_key_invalid", f"{_SYNTAX}.")
    return key


def agreed_key(in_header: str | None, in_body: str | None) -> str | None:
    """The key of a request that may have one in its body as well.

    Raises:
        ProblemError: `body_invalid`, the body's is no key or another one than the header's.
    """
    if in_body is None:
        return in_header
    if _KEY.fullmatch(in_body) is None:
        detail = _SYNTAX
    elif in_header is not None and in_body != in_header:
        detail = "The header Idempotency-Key says another key"
    else:
        return in_body
    raise ProblemError(
        "body_invalid",
        f"{detail}.",
        errors=({"pointer": "/idempotency_key", "detail": detail[0].lower() + detail[1:]},),
    )
