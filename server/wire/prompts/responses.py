"""Requests for responses (https://platform.openai.com/docs/api-reference/responses/create).

No conversation is kept: who goes on with one sends all of it, as `input`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import msgspec

from ..generations import Asked
from .prompt import (
    MadeCall,
    ModelName,
    Ours,
    Prompt,
    PromptLimits,
    Share,
    Temperature,
    Tokens,
    Turn,
    check_turns,
    decode,
    refuse,
)


@dataclass(frozen=True, slots=True)
class ResponseRequest:
    """A prompt, what of the request is told back, and whether its answer is to be streamed."""

    prompt: Prompt
    asked: Asked
    stream: bool


class _InputText(msgspec.Struct, tag="input_text"):
    text: str


class _OutputText(msgspec.Struct, tag="output_text"):
    text: str


class _Refusal(msgspec.Struct, tag="refusal"):
    refusal: str


_MAX_METADATA = 16
_Key = Annotated[str, msgspec.Meta(max_length=64)]
_Content: TypeAlias = str | list[_InputText | _OutputText | _Refusal]


class _Item(msgspec.Struct):
    """A message, or what a model and its tools said to each other."""

    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: _Content | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: _Content | None = None


class _Body(Ours, kw_only=True):
    input: str | list[_Item] = ""
    model: ModelName | None = None
    instructions: str | None = None
    max_output_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    metadata: dict[_Key, Annotated[str, msgspec.Meta(max_length=512)]] | None = None
    stream: bool | None = None
    background: bool | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    conversation: msgspec.Raw | None = None


def decode_response(body: bytes, limits: PromptLimits) -> ResponseRequest:
    """The request that `body` is.

    Raises:
        ProblemError: it is none that is taken here.
    """
    asked = decode(body, _Body)
    _check(asked)
    prompt = Prompt(
        turns=check_turns(_turns(asked), limits, "/input"),
        model=asked.model,
        max_tokens=asked.max_output_tokens,
        temperature=asked.temperature,
        options=asked.options or {},
        on_disconnect=asked.on_disconnect,
        detach_seconds=asked.detach_seconds,
        wishes={} if asked.top_p is None else {"top_p": asked.top_p},
    )
    told = Asked(
        instructions=asked.instructions,
        metadata=asked.metadata or {},
        temperature=asked.temperature,
        top_p=asked.top_p,
        max_output_tokens=asked.max_output_tokens,
        background=asked.background is True,
        store=asked.store is not False,
    )
    return ResponseRequest(prompt, told, asked.stream is True)


def _check(asked: _Body) -> None:
    """Refuse what would have to be kept from one request to the next."""
    if not asked.input:
        refuse("There is no input", "/input")
    if asked.previous_response_id is not None:
        refuse("Earlier responses are not gone on with: send the whole conversation", "/previous_response_id")
    if asked.conversation is not None and bytes(asked.conversation) != b"null":
        refuse("Conversations are not kept: send the whole of it as input", "/conversation")
    if asked.background and asked.store is False:
        refuse("A response in the background has to be stored", "/store")
    if asked.metadata is not None and len(asked.metadata) > _MAX_METADATA:
        refuse(f"At most {_MAX_METADATA} pairs", "/metadata")


def _turns(asked: _Body) -> Iterator[tuple[str, Turn]]:
    if asked.instructions:
        yield "/instructions", Turn("system", asked.instructions)
    if isinstance(asked.input, str):
        yield "/input", Turn("user", asked.input)
        return
    calls: list[MadeCall] = []
    for number, item in enumerate(asked.input):
        pointer = f"/input/{number}"
        if item.type == "function_call":
            calls.append(_call(item, pointer))
            continue
        if calls:
            # The calls of one answer are items of their own here, and one message to a model.
            yield f"/input/{number - 1}", Turn("assistant", "", tuple(calls))
            calls = []
        if item.type != "reasoning":
            yield pointer, _turn(item, pointer)
    if calls:
        yield f"/input/{len(asked.input) - 1}", Turn("assistant", "", tuple(calls))


def _turn(item: _Item, pointer: str) -> Turn:
    if item.type == "function_call_output":
        call = _given(item.call_id, f"{pointer}/call_id")
        return Turn("tool", _text(item.output, f"{pointer}/output"), tool_call_id=call)
    if item.role is None:
        refuse("It is missing", f"{pointer}/role")
    return Turn(item.role, _text(item.content, f"{pointer}/content"))


def _call(item: _Item, pointer: str) -> MadeCall:
    return MadeCall(
        _given(item.call_id, f"{pointer}/call_id"),
        _given(item.name, f"{pointer}/name"),
        _given(item.arguments, f"{pointer}/arguments"),
    )


def _given(value: str | None, pointer: str) -> str:
    if value is None:
        refuse("It is missing", pointer)
    return value


def _text(content: _Content | None, pointer: str) -> str:
    if content is None:
        refuse("It is missing", pointer)
    if isinstance(content, str):
        return content
    return "".join(part.refusal if isinstance(part, _Refusal) else part.text for part in content)
