"""Providers: where the deltas of a generation come from.

A provider is one async generator function and a name.  It is given a checked `GenerationRequest`, yields
deltas (or plain strings, each a piece of the text), and is closed as soon as nobody wants more: whatever it
holds, it holds inside of `async with` or `try`/`finally`.
"""

from .opening import ProviderOptions, open_provider
from .provider import Provider, ProviderError, ProviderMissingError, Stream

__all__ = [
    "Provider",
    "ProviderError",
    "ProviderMissingError",
    "ProviderOptions",
    "Stream",
    "open_provider",
]
