"""Requests for chat completions (https://platform.openai.com/docs/api-reference/chat/create)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from .prompt import (
    Content,
    FunctionCall,
    ModelName,
    Ours,
    Prompt,
    PromptLimits,
    Temperature,
    TextPart,
    Tokens,
    Turn,
    check_turns,
    decode,
    refuse,
    text_of,
)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A prompt, and whether its answer is to be streamed, with the usage at its end."""

    prompt: Prompt
    stream: bool
    include_usage: bool


class _System(msgspec.Struct, tag="system", tag_field="role"):
    content: Content


class _Developer(msgspec.Struct, tag="developer", tag_field="role"):
    content: Content


class _User(msgspec.Struct, tag="user", tag_field="role"):
    content: Content


class _Refusal(msgspec.Struct, tag="refusal"):
    refusal: str


class _Assistant(msgspec.Struct, tag="assistant", tag_field="role"):
    content: str | list[TextPart | _Refusal] | None = None
    tool_calls: list[FunctionCall] | None = None


class _Tool(msgspec.Struct, tag="tool", tag_field="role"):
    content: Content
    tool_call_id: str


_Message: TypeAlias = _System | _Developer | _User | _Assistant | _Tool


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Body(Ours, kw_only=True):
    messages: list[_Message]
    model: ModelName | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Temperature | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: Literal[1] | None = None
    # What becomes of these is for the provider to say, where it has options of the same names.
    top_p: object = None
    presence_penalty: object = None
    frequency_penalty: object = None
    stop: object = None
    seed: object = None
    response_format: object = None
    tools: object = None
    tool_choice: object = None


_WISHES = (
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "stop",
    "seed",
    "response_format",
    "tools",
    "tool_choice",
)


def decode_chat_completion(body: bytes, limits: PromptLimits) -> ChatRequest:
    """The request that `body` is.

    Raises:
        ProblemError: it is none that is taken here.
    """
    asked = decode(body, _Body)
    if asked.stream_options is not None and not asked.stream:
        refuse("Only a stream has stream options", "/stream_options")
    prompt = Prompt(
        turns=check_turns(_turns(asked.messages), limits),
        model=asked.model,
        max_tokens=asked.max_completion_tokens or asked.max_tokens,
        temperature=asked.temperature,
        options=asked.options or {},
        on_disconnect=asked.on_disconnect,
        detach_seconds=asked.detach_seconds,
        wishes={name: said for name in _WISHES if (said := getattr(asked, name)) is not None},
    )
    include_usage = asked.stream_options is not None and asked.stream_options.include_usage is True
    return ChatRequest(prompt, asked.stream is True, include_usage)


def _turns(messages: list[_Message]) -> Iterator[tuple[str, Turn]]:
    for number, message in enumerate(messages):
        yield f"/messages/{number}", _turn(message)


def _turn(message: _Message) -> Turn:
    match message:
        case _System(content):
            return Turn("system", text_of(content))
        case _Developer(content):
            return Turn("developer", text_of(content))
        case _User(content):
            return Turn("user", text_of(content))
        case _Tool(content, call):
            return Turn("tool", text_of(content), tool_call_id=call)
        case _Assistant(said, calls):
            made = tuple(call.made for call in calls or ())
            return Turn("assistant", _said(said), made)


def _said(content: str | list[TextPart | _Refusal] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text if isinstance(part, TextPart) else part.refusal for part in content)
