"""The registry of providers: by name, those that come with the server, those that a program brings along, and
any function on Python's path.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from .echo import echo_provider
from .provider import Provider, ProviderMissingError, Stream


@dataclass(frozen=True, slots=True)
class ProviderOptions:
    """What the providers that come with the server may need.  `openai_api_key` is a secret."""

    echo_delay_ms: float = 20.0
    openai_base_url: str | None = None
    openai_model: str | None = None
    openai_api_key: str | None = field(default=None, repr=False)
    local_model: str | None = None
    local_context: int = 4096
    local_parallel: int = 1


def open_provider(
    name: str, options: ProviderOptions, own: Mapping[str, Provider | Stream] | None = None
) -> AbstractAsyncContextManager[Provider]:
    """The provider called `name`, open as long as the block is.

    Args:
        name: a key of `own`, one that comes with the server, or ``module:function``.
        options: for those that come with the server.
        own: a program's own; a function becomes a provider of one model, both with the name it has here.

    Raises:
        ProviderMissingError: there is none, or what it needs is not there.
    """
    brought = (own or {}).get(name)
    if brought is not None:
        return _as_it_is(brought if isinstance(brought, Provider) else own_provider(name, brought))
    if ":" in name:
        return _as_it_is(_found(name))
    opener = _OPENERS.get(name)
    if opener is None:
        known = ", ".join(sorted({*_OPENERS, *(own or {})}))
        raise ProviderMissingError(f"there is no provider {name!r}; there are {known}, and module:function")
    return opener(options)


def own_provider(name: str, stream: Stream) -> Provider:
    """A provider made of one function: it has one model, `name`, and takes any options, as a dict."""
    return Provider(name, stream, (name,), options=dict)


def _found(path: str) -> Provider:
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ProviderMissingError(f"the provider {path!r} cannot be imported: {error}") from error
    if isinstance(found, Provider):
        return found
    if not inspect.isasyncgenfunction(found):
        raise ProviderMissingError(f"the provider {path!r} is no async generator function")
    return own_provider(path.rpartition(":")[2].rpartition(".")[2], found)


@asynccontextmanager
async def _as_it_is(provider: Provider) -> AsyncIterator[Provider]:
    yield provider


@asynccontextmanager
async def _open_echo(options: ProviderOptions) -> AsyncIterator[Provider]:
    yield echo_provider(options.echo_delay_ms)


@asynccontextmanager
async def _open_openai(options: ProviderOptions) -> AsyncIterator[Provider]:
    try:
        from .openai import open_openai  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise ProviderMissingError(
            "the provider 'openai' needs the package openai: install sluiceway[openai]"
        ) from error
    async with open_openai(options.openai_base_url, options.openai_api_key, options.openai_model) as provider:
        yield provider


@asynccontextmanager
async def _open_local(options: ProviderOptions) -> AsyncIterator[Provider]:
    try:
        from .llama import LlamaOptions  # noqa: PLC0415
        from .local import open_local  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ProviderMissingError(
            "the provider 'local' needs the package xllamacpp: install sluiceway[local]"
        ) from error
    limits = LlamaOptions(options.local_context, options.local_parallel)
    async with open_local(options.local_model, limits) as provider:
        yield provider


_OPENERS: Mapping[str, Callable[[ProviderOptions], AbstractAsyncContextManager[Provider]]] = {
    "echo": _open_echo,
    "openai": _open_openai,
    "local": _open_local,
}
