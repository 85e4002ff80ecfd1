"""Deltas: the pieces that a generation is made of, whatever form a client reads it in.

The one idea: a generation is a sequence of these few values, the last of them `Finish` or `Failure`, and a
form (`server.wire.generations`) is a function from that sequence to bytes.  An encoder that is fed the same
deltas makes the same bytes, so that a client is resumed by feeding a new encoder what it has seen already and
dropping what comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer.

    `pieces` is how many deltas of the generation are in it: a viewer that is behind gets several as one.
    Only forms that number their events look at it, so that a number means the same to every viewer.
    """

    text: str
    pieces: int = 1


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A piece of a call that the model asks its client to make.

    `arguments` is a piece of JSON text.  `name` comes with the first piece of an `id`, and is empty after it.
    `index` counts the calls of one answer from 0.
    """

    id: str
    name: str
    arguments: str
    index: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What the generation has cost, in tokens.  The last one counts."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The model has ended, or was ended: ``stop``, ``length``, ``tool_calls``, ``content_filter`` as OpenAI
    has them, and ``cancelled`` where somebody stopped it (which is also meant where none comes at all).
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Failure:
    """There will be no more of it.  `code` is one of `server.wire.problem.CODES`; `message` is fit to be
    shown: never what an upstream said.
    """

    code: str
    message: str


Delta: TypeAlias = Text | ToolCall | Usage | Finish | Failure


@dataclass(frozen=True, slots=True)
class About:
    """What every form may say of the generation itself.

    `id` is the generation's, without any prefix that a form may want; `created` is Unix time, in seconds.
    `start` is the id of the place before its first delta, from which a client resumes that has seen nothing.
    """

    id: str
    model: str
    created: int
    start: str | None = None


class Encoder(Protocol):
    """One generation, in one form, to one viewer.

    Each call returns the bytes to be sent then, which may be none.  `begin` comes first and once, `end` last
    and once: after `Finish` or `Failure`, or without either where the generation was stopped.
    """

    media_type: ClassVar[str]
    """The Content-Type."""
    headers: ClassVar[tuple[tuple[str, str], ...]]
    """Further fields of the response's head."""
    resumable: ClassVar[bool]
    """Whether its events carry the ids of deltas, so that Last-Event-ID says what a viewer has seen."""
    heartbeat: ClassVar[bytes]
    """What may be sent between any two results, and means nothing; empty where there is no such thing."""

    def begin(self) -> bytes: ...

    def delta(self, delta: Delta, *, id: str) -> bytes:
        """`id` is the delta's own, one line without NUL."""

    def end(self) -> bytes: ...
