"""An answer as the parts it is made of: several forms want each text and each call opened and closed.

Deltas say neither where a text begins nor where a call ends.  `Brackets` finds it: a text goes on until a
call begins, a call until the answer ends, since the pieces of several calls may alternate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from .. import json_text
from ..deltas import Text, ToolCall


@dataclass(slots=True)
class Call:
    """One call of a tool.  `number` counts the parts of the answer from 0, `index` its calls."""

    number: int
    index: int
    id: str
    name: str
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        """The JSON text so far."""
        return "".join(self.pieces)

    def input(self) -> msgspec.Raw | None:
        """The arguments as a JSON object, compact; None where they are not one.  None at all are no
        arguments, which is an object too.
        """
        try:
            text = json_text.decode(self.arguments.encode() or b"{}", msgspec.Raw)
        except json_text.MalformedError:
            return None
        compact = json_text.compact(text).encode()
        return msgspec.Raw(compact) if compact.startswith(b"{") else None


@dataclass(frozen=True, slots=True)
class TextStart:
    """A text begins, as part `number` of the answer."""

    number: int


@dataclass(frozen=True, slots=True)
class TextPiece:
    """More of the text that has begun; `pieces` as in `Text`.  Never empty."""

    number: int
    text: str
    pieces: int


@dataclass(frozen=True, slots=True)
class TextEnd:
    """The text is whole."""

    number: int


@dataclass(frozen=True, slots=True)
class CallStart:
    """A call begins: id and name are known."""

    call: Call


@dataclass(frozen=True, slots=True)
class CallPiece:
    """More of its arguments.  Never empty."""

    call: Call
    arguments: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The arguments are whole, unless the answer was cut off."""

    call: Call


Bracket: TypeAlias = TextStart | TextPiece | TextEnd | CallStart | CallPiece | CallEnd


class Brackets:
    """Turns the deltas of one answer into brackets, in order."""

    __slots__ = ("_calls", "_count", "_text")

    def __init__(self) -> None:
        self._count = 0
        self._text: int | None = None
        self._calls: dict[str, Call] = {}

    def feed(self, delta: Text | ToolCall) -> Iterator[Bracket]:
        """What `delta` opens, adds and closes.  To be read to its end."""
        if isinstance(delta, ToolCall):
            return self._feed_call(delta)
        return self._feed_text(delta)

    def close(self) -> Iterator[Bracket]:
        """Close what is open.  Whatever is fed after it opens anew."""
        yield from self._end_text()
        for call in self._calls.values():
            yield CallEnd(call)
        self._calls.clear()

    def _feed_text(self, delta: Text) -> Iterator[Bracket]:
        if not delta.text:
            return
        if self._text is None:
            self._text = self._next()
            yield TextStart(self._text)
        yield TextPiece(self._text, delta.text, delta.pieces)

    def _feed_call(self, delta: ToolCall) -> Iterator[Bracket]:
        yield from self._end_text()
        call = self._calls.get(delta.id)
        if call is None:
            call = self._calls[delta.id] = Call(self._next(), delta.index, delta.id, delta.name)
            yield CallStart(call)
        if delta.arguments:
            call.pieces.append(delta.arguments)
            yield CallPiece(call, delta.arguments)

    def _end_text(self) -> Iterator[Bracket]:
        if self._text is not None:
            number, self._text = self._text, None
            yield TextEnd(number)

    def _next(self) -> int:
        self._count += 1
        return self._count - 1
