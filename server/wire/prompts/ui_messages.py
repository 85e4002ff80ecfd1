"""Requests of the AI SDK's chat (https://ai-sdk.dev/docs/ai-sdk-ui/transport): UI messages, made of parts.

A message of the assistant holds its tools' results too, and may be of several steps, which are several
messages to a model.  Version 4 sends the text as `content` beside the parts, or in their place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec

from .prompt import (
    ClientId,
    MadeCall,
    ModelName,
    Ours,
    Prompt,
    PromptLimits,
    Temperature,
    Tokens,
    Turn,
    check_turns,
    decode,
    refuse,
)


@dataclass(frozen=True, slots=True)
class UIChatRequest:
    """A prompt in the chat `chat_id`.

    `continues` is the id of the assistant's message that goes on, where the last message is one: its client
    has run its tools, and wants the next step added to it.  `version_4` is whether it looks like one of
    version 4, whose client reads another form: newer ones say what triggered it, and no content.
    """

    prompt: Prompt
    chat_id: str
    continues: str | None
    version_4: bool


class _Part(msgspec.Struct, rename="camel"):
    type: str
    text: str | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    state: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")
    output: msgspec.Raw = msgspec.Raw(b"null")
    error_text: str | None = None


class _UIMessage(msgspec.Struct):
    role: Literal["system", "user", "assistant"]
    id: str | None = None
    parts: list[_Part] | None = None
    content: str | None = None


class _Body(Ours, kw_only=True):
    id: ClientId
    messages: list[_UIMessage]
    model: ModelName | None = None
    max_tokens: Tokens | None = None
    temperature: Temperature | None = None
    trigger: str | None = None


def decode_ui_chat(body: bytes, limits: PromptLimits) -> UIChatRequest:
    """The request that `body` is.

    Raises:
        ProblemError: it is none that is taken here.
    """
    asked = decode(body, _Body)
    prompt = Prompt(
        turns=check_turns(_turns(asked.messages), limits),
        model=asked.model,
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        options=asked.options or {},
        on_disconnect=asked.on_disconnect,
        detach_seconds=asked.detach_seconds,
    )
    last = asked.messages[-1]
    version_4 = asked.trigger is None and last.content is not None
    return UIChatRequest(prompt, asked.id, last.id if last.role == "assistant" else None, version_4)


def _turns(messages: list[_UIMessage]) -> Iterator[tuple[str, Turn]]:
    for number, message in enumerate(messages):
        pointer = f"/messages/{number}"
        if message.parts is None:
            yield pointer, Turn(message.role, message.content or "")
        elif message.role == "assistant":
            for turn in _steps(message.parts):
                yield pointer, turn
        else:
            yield pointer, Turn(message.role, _text(message.parts, pointer))


def _text(parts: list[_Part], pointer: str) -> str:
    for number, part in enumerate(parts):
        if part.type == "file":
            refuse("Only text is taken here", f"{pointer}/parts/{number}")
    return "".join(part.text or "" for part in parts if part.type == "text")


def _steps(parts: list[_Part]) -> Iterator[Turn]:
    step: list[_Part] = []
    for part in parts:
        if part.type == "step-start":
            yield from _step(step)
            step = []
        else:
            step.append(part)
    yield from _step(step)


def _step(parts: list[_Part]) -> Iterator[Turn]:
    """What was said and called, then what the calls have come to.  Of a call without a result nothing is
    said: models take none.
    """
    calls: list[MadeCall] = []
    results: list[Turn] = []
    for part in parts:
        result = _result(part)
        if result is None or part.tool_call_id is None:
            continue
        name = part.tool_name if part.type == "dynamic-tool" else part.type.removeprefix("tool-")
        calls.append(MadeCall(part.tool_call_id, name or "", bytes(part.input).decode()))
        results.append(Turn("tool", result, tool_call_id=part.tool_call_id))
    text = "".join(part.text or "" for part in parts if part.type == "text")
    if text or calls:
        yield Turn("assistant", text, tuple(calls))
    yield from results


def _result(part: _Part) -> str | None:
    if part.type != "dynamic-tool" and not part.type.startswith("tool-"):
        return None
    match part.state:
        case "output-available":
            return bytes(part.output).decode()
        case "output-error":
            return part.error_text or ""
    return None
