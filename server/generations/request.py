"""What a generation is asked for, once checked: the same value for every endpoint and provider."""

from __future__ import annotations

from dataclasses import dataclass

from ..wire.prompts import Turn


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What a provider is given.

    `max_tokens` is the most pieces of text that are taken of it; `options` is what the provider's own type
    of options made of what the client said.
    """

    messages: tuple[Turn, ...]
    model: str
    max_tokens: int
    temperature: float | None = None
    options: object = None

    @property
    def size(self) -> int:
        """Bytes that the conversation takes, reckoned as UTF-8."""
        return sum(size_of(turn) for turn in self.messages)


def size_of(turn: Turn) -> int:
    """Bytes that `turn` takes, reckoned as UTF-8."""
    calls = sum(len(call.id) + len(call.name) + len(call.arguments.encode()) for call in turn.tool_calls)
    return len(turn.content.encode()) + calls


class RequestError(ValueError):
    """A request that its provider, or this server, does not take.

    `code` is one of `server.wire.problem.CODES`, `pointer` (RFC 6901) says where, the message what is wrong.
    """

    def __init__(self, code: str, pointer: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.pointer = pointer
