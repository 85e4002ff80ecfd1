"""Content codings of streams: which one a client gets (RFC 9110, section 12.5.3), and their encoders.

The one idea: an encoder gives out, with every call, all that it was given, so that each event can be decoded
the moment it arrives.  It remembers what has passed (its *window*), which is what makes small events shrink,
and which is memory for as long as the stream is open: the windows here are small, and what each costs is
said in `Coding.state_bytes`.

gzip is always offered, br and zstd where their libraries are installed (extra `compression`; Python 3.14 has
zstd by itself).  Of what a client likes equally, zstd comes first: a stream is compressed in the loop that
serves all of them, and zstd takes a third of gzip's time there.  br comes last, since it gives no fewer bytes
than gzip at this size of state, for ten times the memory.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

KIB = 1024

_WEIGHT = re.compile(r"[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_NAMES = {"x-gzip": "gzip"}
"""Names that mean another one (RFC 9110, section 8.4.1.3)."""


class Encoder(Protocol):
    """The state of one compressed stream."""

    def encode(self, data: bytes) -> bytes:
        """`data` encoded and flushed: whoever has all bytes so far can decode all data so far.

        `data` must not be empty: flushing nothing costs bytes.
        """

    def finish(self) -> bytes:
        """The end of the encoded stream.  Nothing follows it."""


@dataclass(frozen=True, slots=True)
class Coding:
    """A content coding that can be offered: its name on the wire, how to begin, and the most that one
    encoder keeps in memory, in bytes (tests/wire/test_content_coding.py measures it).
    """

    name: str
    state_bytes: int
    encoder: Callable[[], Encoder]


class UnacceptableError(ValueError):
    """The client accepts none of what there is, and refuses to get it unencoded."""


def offered_codings() -> tuple[Coding, ...]:
    """The codings that this process can encode, best first."""
    codings = [Coding("gzip", _gzip_state_bytes(), _Gzip)]
    zstd = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    if _is_installed(zstd):
        codings.insert(0, Coding("zstd", 72 * KIB, _Zstd))
    if _is_installed("brotli"):
        codings.append(Coding("br", 448 * KIB, _Brotli))
    return tuple(codings)


def negotiate(accept_encoding: str | None, codings: Sequence[Coding]) -> Coding | None:
    """Which of `codings` (best first) the client likes best; None is *identity*, the data as it is.

    A client that says nothing gets identity: it may be one that cannot decode.  Elements that are malformed
    count as not said.

    Raises:
        UnacceptableError: it wants neither any of them nor identity.
    """
    weights = dict(_elements(accept_encoding or ""))
    anything_else = weights.get("*", 0.0)
    best, best_weight = None, 0.0
    for coding in codings:
        weight = weights.get(coding.name, anything_else)
        if weight > best_weight:
            best, best_weight = coding, weight
    identity = weights.get("identity", weights.get("*"))
    if best is not None and (identity is None or identity <= best_weight):
        return best
    if identity == 0.0:
        raise UnacceptableError
    return None


def _elements(accept_encoding: str) -> Iterator[tuple[str, float]]:
    for element in accept_encoding.split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        name = name.lower()
        if not parameters:
            yield _NAMES.get(name, name), 1.0
        elif len(parameters) == 1 and (weight := _WEIGHT.fullmatch(parameters[0])):
            yield _NAMES.get(name, name), float(weight[1])


def _is_installed(module: str) -> bool:
    # Imported, not only found: Python can have been built without the library below.
    try:
        import_module(module)
    except ImportError:
        return False
    return True


def _gzip_state_bytes() -> int:
    # zlib-ng, which some builds of Python have in place of zlib, has a hash table of fixed size.
    is_ng = "zlib-ng" in zlib.ZLIB_RUNTIME_VERSION
    return 176 * KIB if is_ng else 48 * KIB


class _Gzip:
    """Window 4 KiB, hash table 4,096 places."""

    __slots__ = ("_encoder",)

    def __init__(self) -> None:
        self._encoder = zlib.compressobj(6, zlib.DEFLATED, wbits=16 + 12, memLevel=5)

    def encode(self, data: bytes) -> bytes:
        return self._encoder.compress(data) + self._encoder.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._encoder.flush(zlib.Z_FINISH)


class _Zstd:
    """Window 4 KiB (RFC 9659 lets a client refuse more than 8 MiB), two hash tables of 1,024 and 2,048
    places.
    """

    __slots__ = ("_encoder",)

    def __init__(self) -> None:
        if sys.version_info >= (3, 14):
            from compression import zstd  # noqa: PLC0415 - optional
        else:
            from backports import zstd  # noqa: PLC0415 - optional
        parameter = zstd.CompressionParameter
        self._encoder = zstd.ZstdCompressor(
            options={
                parameter.compression_level: 3,
                parameter.window_log: 12,
                parameter.hash_log: 11,
                parameter.chain_log: 10,
            }
        )

    def encode(self, data: bytes) -> bytes:
        return self._encoder.compress(data, self._encoder.FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._encoder.flush(self._encoder.FLUSH_FRAME)


class _BrotliEncoder(Protocol):
    """What is used of `brotli.Compressor`, which has no types."""

    def process(self, data: bytes) -> bytes: ...

    def flush(self) -> bytes: ...

    def finish(self) -> bytes: ...


class _Brotli:
    """Window 16 KiB, which costs little beside the fixed tables.

    Quality 3 is the least that pays: 0 and 1 forget what was flushed, which makes small events no smaller,
    and 4 and above take twice the memory.
    """

    __slots__ = ("_encoder",)

    def __init__(self) -> None:
        import brotli  # noqa: PLC0415 - optional

        self._encoder = cast("_BrotliEncoder", brotli.Compressor(quality=3, lgwin=14, lgblock=16))

    def encode(self, data: bytes) -> bytes:
        return self._encoder.process(data) + self._encoder.flush()

    def finish(self) -> bytes:
        return self._encoder.finish()
