"""A whole answer, put together from its deltas: what is told to those who don't want a stream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..deltas import Delta, Failure, Finish, Usage
from .brackets import Bracket, Brackets, Call, CallStart, TextPiece, TextStart


@dataclass(slots=True)
class Passage:
    """A text between two calls, or the only one."""

    number: int
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.pieces)


class Answer:
    """What has come of an answer so far.

    `parts` are its texts and calls in the order in which they began.
    """

    __slots__ = ("_brackets", "_passage", "failure", "finish", "parts", "usage")

    def __init__(self) -> None:
        self.parts: list[Passage | Call] = []
        self.usage: Usage | None = None
        self.finish: str | None = None
        self.failure: Failure | None = None
        self._brackets = Brackets()
        self._passage: Passage | None = None

    @property
    def text(self) -> str:
        """All of its text."""
        return "".join(part.text for part in self.parts if isinstance(part, Passage))

    @property
    def calls(self) -> list[Call]:
        """All of its calls."""
        return [part for part in self.parts if isinstance(part, Call)]

    @property
    def is_stopped(self) -> bool:
        """Whether, its deltas being over, it was neither finished nor failed."""
        return self.failure is None and self.finish in (None, "cancelled")

    def add(self, delta: Delta) -> list[Bracket]:
        """Take in the next delta.  Returns what it opens and adds, where it is text or a call."""
        match delta:
            case Usage():
                self.usage = delta
            case Finish():
                self.finish = delta.reason
            case Failure():
                self.failure = delta
            case _:
                return [self._keep(bracket) for bracket in self._brackets.feed(delta)]
        return []

    def close(self) -> list[Bracket]:
        """There are no more deltas: close what is open."""
        return list(self._brackets.close())

    def _keep(self, bracket: Bracket) -> Bracket:
        match bracket:
            case TextStart(number):
                self._passage = Passage(number)
                self.parts.append(self._passage)
            case TextPiece(text=text) if self._passage is not None:
                self._passage.pieces.append(text)
            case CallStart(call):
                self.parts.append(call)
        return bracket


def collect(deltas: Iterable[Delta]) -> Answer:
    """The answer that is made of `deltas`, which are all of them."""
    answer = Answer()
    for delta in deltas:
        answer.add(delta)
    answer.close()
    return answer
