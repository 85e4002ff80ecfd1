"""`openai`: any server that speaks OpenAI's chat completions, by the official client, which runs on Trio.

Cancelling a generation closes the connection to that server at once.  What the server says of a failure goes
into the log, never to a viewer.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec
import openai
import trio

from ...wire.deltas import Delta, Finish, Text, ToolCall, Usage
from ..request import GenerationRequest, Turn
from .provider import Provider, ProviderError

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk

CLOSING_SECONDS = 5.0
"""Time for a connection to that server to be closed."""
_KEYLESS = "none"
"""What is sent as a key where there is none, as to a model server of one's own."""
_log = logging.getLogger("sluiceway.generations")
_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter"})


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
                async with _Answer(await client.chat.completions.create(**_asked(request))) as chunks:
                    read = _Reading()
                    # Not `async for`: that would make one more generator, which nobody closes.
                    while (chunk := await anext(chunks, None)) is not None:
                        for delta in read.take(chunk):
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
        "messages": [_turn(turn) for turn in request.messages],
        "max_tokens": request.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.temperature is not None:
        asked["temperature"] = request.temperature
    more: dict[str, Any] = msgspec.to_builtins(request.options)
    return asked | more


def _turn(turn: Turn) -> Mapping[str, object]:
    said: dict[str, object] = {"role": turn.role, "content": turn.content}
    if turn.tool_calls:
        said["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in turn.tool_calls
        ]
    if turn.tool_call_id is not None:
        said["tool_call_id"] = turn.tool_call_id
    return said


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
                reason = choice.finish_reason
                yield Finish(reason if reason in _REASONS else "stop")
        if chunk.usage is not None:
            yield Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)

    def check_whole(self) -> None:
        """Raise where the answer has no end."""
        if not self._finished:
            raise ProviderError("provider_failed", "the stream ended without a reason to finish")


class _Answer:
    """The chunks of one answer.  After the block its connection is closed, if it was not read whole."""

    def __init__(self, chunks: openai.AsyncStream[ChatCompletionChunk]) -> None:
        self._chunks = chunks

    async def __aenter__(self) -> openai.AsyncStream[ChatCompletionChunk]:
        return self._chunks

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The client's nested generators are closed by nobody (openai 3.54): cancelled, they unwind one by
        # one.
        with trio.CancelScope() as unwinding:
            unwinding.cancel()
            try:
                while await anext(self._chunks, None) is not None:  # noqa: ASYNC102 - cancelled on purpose
                    pass
            except Exception as broken:  # noqa: BLE001 - nobody wants any more of it
                _log.debug("the rest of an answer was broken", exc_info=broken)
        with trio.move_on_after(CLOSING_SECONDS, shield=True):
            await self._chunks.close()


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
