"""Byte ranges: what part of a representation a client asks for (RFC 9110, section 14).

`parse_ranges` reads the header `Range`, `resolve` applies it to a length.  What comes out is bounded however
much was asked for: never more bytes than there are, and at most `MAX_RANGES` pieces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

MAX_RANGES = 64
"""Ranges a request may name.  Of more the whole `Range` is passed over, as section 14.2 allows."""

_SPEC = re.compile(r"([0-9]*)-([0-9]*)")
_MOST_DIGITS = 19
"""Longer numbers are larger than any file."""


class RangeSpec(NamedTuple):
    """One range as asked for: from `first` up to and including `last`; without `first`, the last `last`
    bytes; without `last`, up to the end.
    """

    first: int | None
    last: int | None


class Span(NamedTuple):
    """Bytes from `start` up to `stop`, which is not one of them."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.stop - self.start


def parse_ranges(value: str) -> list[RangeSpec] | None:
    """The ranges of a header `Range`, in its order.

    None where it is to be passed over: another unit than bytes, malformed, reversed, or of more than
    `MAX_RANGES` ranges.
    """
    unit, equals, ranges = value.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    specs: list[RangeSpec] = []
    for part in ranges.split(","):
        text = part.strip(" \t")
        if not text:
            # Empty elements of a list mean nothing (section 5.6.1.2).
            continue
        match = _SPEC.fullmatch(text)
        if match is None or text == "-" or len(specs) == MAX_RANGES:
            return None
        spec = RangeSpec(_number(match[1]), _number(match[2]))
        if spec.first is not None and spec.last is not None and spec.last < spec.first:
            return None
        specs.append(spec)
    return specs or None


def resolve(specs: Sequence[RangeSpec], length: int) -> list[Span]:
    """The parts of a representation of `length` bytes that `specs` name; none where no range can be met.

    Ranges that overlap or touch become one, which stands where the first of them stood, so that no byte comes
    twice.
    """
    spans = [span for spec in specs if (span := _span(spec, length)) is not None]
    merged: list[tuple[int, Span]] = []
    for place, span in sorted(enumerate(spans), key=lambda each: each[1]):
        if merged and span.start <= merged[-1][1].stop:
            first, before = merged[-1]
            merged[-1] = (min(first, place), Span(before.start, max(before.stop, span.stop)))
        else:
            merged.append((place, span))
    return [span for _, span in sorted(merged)]


def content_range(span: Span | None, length: int) -> str:
    """The header `Content-Range` of `span`, or, without one, of the answer 416."""
    return f"bytes */{length}" if span is None else f"bytes {span.start}-{span.stop - 1}/{length}"


def _number(digits: str) -> int | None:
    if not digits:
        return None
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _MOST_DIGITS else 10**_MOST_DIGITS


def _span(spec: RangeSpec, length: int) -> Span | None:
    first, last = spec
    if first is None:
        start = max(0, length - (last or 0))
        return Span(start, length) if start < length else None
    if first >= length:
        return None
    return Span(first, length if last is None else min(last + 1, length))
