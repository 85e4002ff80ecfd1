"""Newline-delimited JSON: one value a line, as https://github.com/ndjson/ndjson-spec has it.

A line ends with LF, which the last one may lack; a CR before it is white space of JSON.  Blank lines are
passed over, and counted, so that a line's number is the one that an editor shows.
"""

from __future__ import annotations

from collections.abc import Iterator

CONTENT_TYPE = "application/x-ndjson"


def count_lines(body: bytes) -> int:
    """How many lines `body` has, blank ones included."""
    return body.count(b"\n") + (not body.endswith(b"\n") and body != b"")


def lines(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines of `body` that are not blank, each with its number, which counts from 1."""
    for number, line in enumerate(body.split(b"\n"), 1):
        if line.strip(b" \t\r"):
            yield number, line


def place_of(body: bytes, position: int) -> tuple[int, int]:
    """The number of the line that the byte at `position` is on, and how many bytes of it come before."""
    return body.count(b"\n", 0, position) + 1, position - body.rfind(b"\n", 0, position) - 1
