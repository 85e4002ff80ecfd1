"""`openai`: any server that speaks OpenAI's chat completions, by the official client, which runs on Trio.

Cancelling a generation closes the connection to that server at once.  What the server says of a failure goes
into the log, never to a viewer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import openai

from ...wire.deltas import Delta, Finish, Text, ToolCall, Usage
from ..request import GenerationRequest
from .provider import Provider, ProviderError
from .turns import spoken

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk

_KEYLESS = "none"
"""What is sent as a key where there is none, as to a model server of one's own."""


class OpenAIOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is passed on as it is, beside model, messages, max_tokens and temperature."""

    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    response_format: dict[str, object] | None = None
    tools: list[dict[str, object]] | None = None
    tool_choice: str | dict[str, object] | None = None


@asynccontextmanager
async def open_openai(
    base_url: str | None, api_key: str | None, model: str | None
) -> AsyncIterator[Provider]:
    """The provider, with a client that is open as long as the block is.

    Args:
        base_url: of the server, ending in ``/v1``; None for OpenAI's own.
        api_key: what to say who asks, None where nobody wants to know.
        model: the one to take where a request names none.
    """
    # Silence is bounded for all providers alike.  A retry would hide what the viewer should be told now.
    async with openai.AsyncOpenAI(
        base_url=base_url, api_key=api_key or _KEYLESS, timeout=None, max_retries=0
    ) as client:

        async def stream(request: GenerationRequest) -> AsyncGenerator[Delta | str, None]:
            try:
                # Its generators are left to the garbage collector (openai 3.54), its connection is not.
                async with await client.chat.completions.create(**_asked(request)) as chunks:
                    read = _Reading()
                    async for chunk in chunks:
                        # One without a text, as of what a model thinks, says that it is at work.
                        for delta in [*read.take(chunk)] or [Text("")]:
                            yield delta  # noqa: ASYNC119 - consumed under aclosing
                    read.check_whole()
            except openai.OpenAIError as error:
                raise ProviderError(_code_of(error), str(error)) from error

        models = () if model is None else (model,)
        yield Provider("openai", stream, models, any_model=True, options=OpenAIOptions)


def _asked(request: GenerationRequest) -> dict[str, Any]:
    # As a dict: what was not said must not be sent, since many servers know less than OpenAI's.
    asked: dict[str, Any] = {
        "model": request.model,
        "messages": [spoken(turn) for turn in request.messages],
        "max_tokens": request.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.temperature is not None:
        asked["temperature"] = request.temperature
    more: dict[str, Any] = msgspec.to_builtins(request.options)
    return asked | more


class _Reading:
    """Chunks in, deltas out."""

    def __init__(self) -> None:
        self._finished = False
        self._calls: dict[int, str] = {}

    def take(self, chunk: ChatCompletionChunk) -> Iterator[Delta]:
        """The deltas of `chunk`."""
        for choice in chunk.choices[:1]:
            # What has no content may be a refusal, said in words.
            text = choice.delta.content or choice.delta.refusal
            if text:
                yield Text(text)
            for call in choice.delta.tool_calls or ():
                function = call.function
                known = call.index in self._calls
                call_id = self._calls.setdefault(call.index, call.id or f"call_{call.index}")
                name = "" if known or function is None else function.name or ""
                arguments = "" if function is None else function.arguments or ""
                yield ToolCall(call_id, name, arguments, call.index)
            if choice.finish_reason is not None:
                self._finished = True
                yield Finish(choice.finish_reason)
        if chunk.usage is not None:
            yield Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)

    def check_whole(self) -> None:
        """Raise where the answer has no end."""
        if not self._finished:
            raise ProviderError("provider_failed", "the stream ended without a reason to finish")


def _code_of(error: openai.OpenAIError) -> str:
    match error:
        case openai.APITimeoutError():
            return "provider_slow"
        case openai.RateLimitError():
            return "provider_limited"
        case openai.APIConnectionError():
            return "provider_unavailable"
        case openai.APIStatusError() if error.status_code < 500:
            return "provider_refused"
        case _:
            return "provider_failed"
