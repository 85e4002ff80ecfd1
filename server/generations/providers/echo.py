"""`echo`: says what it was told, word by word.  It needs nothing, and is the same each time."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from typing import Annotated

import msgspec
import trio

from ...wire.deltas import Delta, Finish, Text, Usage
from ..request import GenerationRequest
from .provider import Provider

_WORD = re.compile(r"\s*\S+|\s+$")


class EchoOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Milliseconds before each word; None for what the server is set to."""

    delay_ms: Annotated[float, msgspec.Meta(ge=0, le=60_000)] | None = None


def echo_provider(delay_ms: float) -> Provider:
    """The provider, with `delay_ms` before each word where a request does not say otherwise."""

    async def echo(request: GenerationRequest) -> AsyncGenerator[Delta | str, None]:
        options = request.options
        assert isinstance(options, EchoOptions)
        delay = (delay_ms if options.delay_ms is None else options.delay_ms) / 1000
        words = split(_last_said(request))
        for word in words:
            await trio.sleep(delay)
            yield Text(word)
        yield Usage(sum(len(split(turn.content)) for turn in request.messages), len(words))
        yield Finish("stop")

    return Provider("echo", echo, ("echo",), options=EchoOptions)


def _last_said(request: GenerationRequest) -> str:
    said = (turn.content for turn in reversed(request.messages) if turn.role == "user")
    return next(said, "")


def split(text: str) -> list[str]:
    """The words of `text`, each with the white space before it; put together they are `text`."""
    return _WORD.findall(text)
