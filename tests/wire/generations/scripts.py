"""Generations for tests: sequences of deltas as a provider could give them, and what each comes to."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from server.wire.deltas import About, Delta, Encoder, Failure, Finish, Text, ToolCall, Usage

ABOUT = About("0123abcd", "echo-1", 1_700_000_000, start="e:0")
FAILURE = Failure("server_failed", "The provider failed.")

# Cut at awkward places: combining characters, joiners, flags, and what some reader breaks lines at.
AWKWARD = [
    "e\u0301",
    "\u0301",
    "👩‍",
    "👩🏽",
    "🇩",
    "🇪",
    "\r",
    "\n",
    "\r\n",
    "\n\n",
    "\u2028",
    "\u0085",
    "\0",
    "\ufeff",
    " ",
    "data: ",
    "[DONE]",
    '"',
    "\\",
    "\ufffd",
    "\U0010ffff",
]
texts = st.sampled_from(AWKWARD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
objects = st.dictionaries(texts, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts, max_size=3)


@dataclass(frozen=True)
class Script:
    """Deltas, and what they come to.  `calls` are id, name and arguments."""

    deltas: tuple[Delta, ...]

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas if isinstance(delta, Text))

    @property
    def calls(self) -> list[tuple[str, str, str]]:
        calls: dict[str, list[str]] = {}
        for delta in self.deltas:
            if isinstance(delta, ToolCall):
                calls.setdefault(delta.id, [delta.name, ""])[1] += delta.arguments
        return [(call, name, arguments) for call, (name, arguments) in calls.items()]

    @property
    def finish(self) -> str | None:
        return next((delta.reason for delta in self.deltas if isinstance(delta, Finish)), None)

    @property
    def failed(self) -> bool:
        return FAILURE in self.deltas

    @property
    def stopped(self) -> bool:
        return not self.failed and self.finish in (None, "cancelled")

    @property
    def usage(self) -> Usage | None:
        return next((delta for delta in self.deltas if isinstance(delta, Usage)), None)


@st.composite
def _calls(draw: st.DrawFn, ids: Sequence[str]) -> list[ToolCall]:
    """The pieces of one call for each of `ids`, those of different calls mixed."""
    queues: list[list[ToolCall]] = []
    for call in ids:
        arguments = json.dumps(draw(objects), ensure_ascii=draw(st.booleans()))
        cuts = sorted(draw(st.lists(st.integers(0, len(arguments)), max_size=3)))
        edges = [0, *cuts, len(arguments)]
        pieces = [arguments[a:b] for a, b in itertools.pairwise(edges)]
        name = draw(st.sampled_from(["search", "get_weather"]))
        queues.append([ToolCall(call, "" if n else name, piece) for n, piece in enumerate(pieces)])
    mixed: list[ToolCall] = []
    while queues:
        queue = draw(st.sampled_from(queues))
        mixed.append(queue.pop(0))
        queues = [each for each in queues if each]
    # Calls are counted as they begin.
    order = list(dict.fromkeys(piece.id for piece in mixed))
    return [replace(piece, index=order.index(piece.id)) for piece in mixed]


@st.composite
def scripts(draw: st.DrawFn, *, calls: bool = True) -> Script:
    """Any generation: text, then perhaps calls, and one of the ends that there are."""
    deltas: list[Delta] = [Text(text) for text in draw(st.lists(texts, max_size=8))]
    if calls and draw(st.booleans()):
        deltas += draw(_calls([f"call_{number}" for number in range(draw(st.integers(1, 3)))]))
    end = draw(st.sampled_from(["finish", "finish", "failure", "stopped", "cancelled"]))
    called = any(isinstance(delta, ToolCall) for delta in deltas)
    if end == "failure":
        return Script((*deltas[: draw(st.integers(0, len(deltas)))], FAILURE))
    if end in ("stopped", "cancelled"):
        deltas = deltas[: draw(st.integers(0, len(deltas)))]
        return Script((*deltas, *([Finish("cancelled")] if end == "cancelled" else [])))
    reasons = ["tool_calls"] if called else ["stop", "stop", "length", "content_filter"]
    tail: list[Delta] = [Finish(draw(st.sampled_from(reasons)))]
    if draw(st.booleans()):
        tail.insert(draw(st.integers(0, 1)), Usage(3, 5))
    return Script((*deltas, *tail))


def ids_of(deltas: Iterable[Delta]) -> list[tuple[str, Delta]]:
    """Each delta with an id as a topic would give it."""
    return [(f"e:{number}", delta) for number, delta in enumerate(deltas, 1)]


def encoded(encoder: Encoder, deltas: Iterable[Delta]) -> list[bytes]:
    """What each call gives: the beginning, each delta, the end."""
    pieces = [encoder.begin()]
    pieces += [encoder.delta(delta, id=place) for place, delta in ids_of(deltas)]
    return [*pieces, encoder.end()]


def stream(encoder: Encoder, deltas: Iterable[Delta]) -> bytes:
    """All of it."""
    return b"".join(encoded(encoder, deltas))
