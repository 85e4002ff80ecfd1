"""What is asked of a model, whatever ecosystem it was asked in.

Each decoder of this package makes one `Prompt` of a request's body, or raises the `ProblemError` that says
what is wrong and where.  What a body holds beside what is read here is passed over, as those ecosystems' own
servers do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal, NoReturn, TypeAlias, TypeVar

import msgspec

from .. import json_text
from ..problem import ProblemError

Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]
OnDisconnect: TypeAlias = Literal["cancel", "detach"]

Tokens = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=10**9)]
ModelName = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
ClientId = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
"""An id that a client chose, and wants back."""

_T = TypeVar("_T")


class MadeCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call that the model made in an earlier answer; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message of the conversation so far."""

    role: Role
    content: str
    tool_calls: tuple[MadeCall, ...] = ()
    """Of an assistant: the calls it made."""
    tool_call_id: str | None = None
    """Of a tool: the call that this is the result of."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation, and how it is to go on.  None is what the client left open.

    `options` are the provider's own; `detach_seconds` how long it goes on when the last viewer is gone.
    `wishes` are what the ecosystem's requests say to a model beside that: for a provider that has options of
    those names, and passed over by others.
    """

    turns: tuple[Turn, ...]
    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    options: dict[str, object] = field(default_factory=dict)
    on_disconnect: OnDisconnect | None = None
    detach_seconds: float | None = None
    wishes: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PromptLimits:
    """The most that a conversation may have: messages, and bytes of its text in UTF-8."""

    messages: int = 1000
    size: int = 512 * 1024


class Ours(msgspec.Struct, kw_only=True):
    """What a body of any ecosystem may say of our own, as extra fields."""

    options: dict[str, object] | None = None
    on_disconnect: OnDisconnect | None = None
    detach_seconds: Seconds | None = None


class _Function(msgspec.Struct):
    name: str
    arguments: str


class FunctionCall(msgspec.Struct):
    """A call as OpenAI writes it in messages, and AG-UI after it."""

    id: str
    function: _Function

    @property
    def made(self) -> MadeCall:
        """The call as it is kept."""
        return MadeCall(self.id, self.function.name, self.function.arguments)


class TextPart(msgspec.Struct, tag="text"):
    """A piece of a message's content.  There are no others that all models take."""

    text: str


Content: TypeAlias = str | list[TextPart]


def text_of(content: str | Iterable[TextPart] | None) -> str:
    """The text of a message."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text for part in content)


def decode(body: bytes, type: type[_T]) -> _T:
    """`body` as `type`.

    Raises:
        ProblemError: `json_malformed` or `body_invalid`.
    """
    try:
        return json_text.decode(body, type)
    except json_text.MalformedError as error:
        raise ProblemError("json_malformed", f"{error}.") from None
    except json_text.InvalidError as error:
        refuse(str(error), error.pointer)


def refuse(detail: str, pointer: str) -> NoReturn:
    """Raise the problem of a body that is not valid at `pointer` (RFC 6901)."""
    raise ProblemError(
        "body_invalid",
        "The body is JSON, and not what is expected here.",
        errors=({"pointer": pointer, "detail": detail},),
    )


def check_turns(
    turns: Iterable[tuple[str, Turn]], limits: PromptLimits, where: str = "/messages"
) -> tuple[Turn, ...]:
    """`turns`, each of which comes with the pointer to its message; `where` is the pointer to all of them.

    Raises:
        ProblemError: there are none, one is empty that must not be, or they are too many or too large.
    """
    checked: list[Turn] = []
    size = 0
    for pointer, turn in turns:
        if turn.role not in ("assistant", "tool") and not turn.content:
            refuse("The message is empty", pointer)
        checked.append(turn)
        size += _size(turn)
        if len(checked) > limits.messages:
            raise ProblemError("prompt_too_large", f"A prompt here may have {limits.messages} messages.")
        if size > limits.size:
            raise ProblemError("prompt_too_large", f"A prompt here may have {limits.size} bytes of text.")
    if not checked:
        refuse("There is no message", where)
    return tuple(checked)


def _size(turn: Turn) -> int:
    calls = sum(len(call.id) + len(call.name) + len(call.arguments.encode()) for call in turn.tool_calls)
    return len(turn.content.encode()) + calls
