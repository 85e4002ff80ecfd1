"""Decoders of content codings, for tests: what has arrived, decoded as far as it can be.

They are strict where clients are lenient: bytes behind the end of the coding are an error.
"""

from __future__ import annotations

import sys
import zlib
from typing import Protocol

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Decoder(Protocol):
    """One stream being decoded."""

    @property
    def ended(self) -> bool:
        """Whether the coding could end here, and the data be known to be whole."""

    def decode(self, data: bytes) -> bytes:
        """All that can be known of the data by now, and was not before."""


class Identity:
    """Data as it is."""

    ended = True

    def decode(self, data: bytes) -> bytes:
        return data


class Gzip:
    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)

    @property
    def ended(self) -> bool:
        return self._decoder.eof

    def decode(self, data: bytes) -> bytes:
        decoded = self._decoder.decompress(data)
        assert not self._decoder.unused_data
        return decoded


class Zstd:
    def __init__(self) -> None:
        # As RFC 9659 has it: no window above 8 MiB.
        self._decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: 23})

    @property
    def ended(self) -> bool:
        return self._decoder.eof

    def decode(self, data: bytes) -> bytes:
        decoded = self._decoder.decompress(data)
        assert not self._decoder.unused_data
        return decoded


class Brotli:
    def __init__(self) -> None:
        self._decoder = brotli.Decompressor()

    @property
    def ended(self) -> bool:
        return bool(self._decoder.is_finished())

    def decode(self, data: bytes) -> bytes:
        decoded = bytes(self._decoder.process(data))
        # brotli 1.2.1 gives out 32,752 bytes of up to 32,767, and the rest when it is asked again.
        while more := self._decoder.process(b""):
            decoded += more
        return decoded


def decoder_of(coding: str | None) -> Decoder:
    """A decoder of `coding`, a Content-Encoding; None is identity."""
    decoders: dict[str | None, type[Decoder]] = {None: Identity, "gzip": Gzip, "zstd": Zstd, "br": Brotli}
    return decoders[coding]()
