"""Requests of AG-UI: `RunAgentInput` (https://docs.ag-ui.com/concepts/messages).

What is our own comes in `forwardedProps`, which is where TanStack AI puts what its user adds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from .prompt import (
    ClientId,
    Content,
    FunctionCall,
    ModelName,
    Ours,
    Prompt,
    PromptLimits,
    Temperature,
    Tokens,
    Turn,
    check_turns,
    decode,
    text_of,
)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A prompt, as the run `run_id` of the thread `thread_id`."""

    prompt: Prompt
    thread_id: str
    run_id: str


class _System(msgspec.Struct, tag="system", tag_field="role"):
    content: str


class _Developer(msgspec.Struct, tag="developer", tag_field="role"):
    content: str


class _User(msgspec.Struct, tag="user", tag_field="role"):
    content: Content


class _Assistant(msgspec.Struct, tag="assistant", tag_field="role", rename="camel"):
    content: str | None = None
    tool_calls: list[FunctionCall] | None = None


class _Tool(msgspec.Struct, tag="tool", tag_field="role", rename="camel"):
    content: Content
    tool_call_id: str


class _Activity(msgspec.Struct, tag="activity", tag_field="role"):
    """Progress, which is no part of the conversation."""


class _Reasoning(msgspec.Struct, tag="reasoning", tag_field="role"):
    """What a model thought, which is not told to it again."""


_Message: TypeAlias = _System | _Developer | _User | _Assistant | _Tool | _Activity | _Reasoning


class _Forwarded(Ours, kw_only=True):
    model: ModelName | None = None
    max_tokens: Tokens | None = None
    temperature: Temperature | None = None


class _Body(msgspec.Struct, rename="camel"):
    thread_id: ClientId
    run_id: ClientId
    messages: list[_Message]
    forwarded_props: _Forwarded | None = None


def decode_run(body: bytes, limits: PromptLimits) -> RunRequest:
    """The request that `body` is.

    Raises:
        ProblemError: it is none that is taken here.
    """
    asked = decode(body, _Body)
    forwarded = asked.forwarded_props or _Forwarded()
    prompt = Prompt(
        turns=check_turns(_turns(asked.messages), limits),
        model=forwarded.model,
        max_tokens=forwarded.max_tokens,
        temperature=forwarded.temperature,
        options=forwarded.options or {},
        on_disconnect=forwarded.on_disconnect,
        detach_seconds=forwarded.detach_seconds,
    )
    return RunRequest(prompt, asked.thread_id, asked.run_id)


def _turns(messages: list[_Message]) -> Iterator[tuple[str, Turn]]:
    for number, message in enumerate(messages):
        turn = _turn(message)
        if turn is not None:
            yield f"/messages/{number}", turn


def _turn(message: _Message) -> Turn | None:
    match message:
        case _System(content):
            return Turn("system", content)
        case _Developer(content):
            return Turn("developer", content)
        case _User(parts):
            return Turn("user", text_of(parts))
        case _Tool(parts, call):
            return Turn("tool", text_of(parts), tool_call_id=call)
        case _Assistant(said, calls):
            made = tuple(call.made for call in calls or ())
            return Turn("assistant", said or "", made)
    return None
