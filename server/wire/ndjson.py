"""Newline-delimited JSON: one value a line, as https://github.com/ndjson/ndjson-spec has it.

A line ends with LF, which the last one may lack; a CR before it is white space of JSON.  Blank lines are
passed over, and counted, so that a line's number is the one that an editor shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .objects import ObjectEncoder

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


class Lines:
    """Encodes the rows of a table, each an object on a line."""

    def __init__(self, columns: Sequence[str]) -> None:
        """`columns` are the names of the objects' members.

        Raises:
            ValueError: two columns have one name.
        """
        self._objects = ObjectEncoder(columns)

    def begin(self) -> bytes:
        """Nothing: lines have no head."""
        return b""

    def rows(self, rows: Iterable[Sequence[object]]) -> bytes:
        """`rows` as lines.

        Raises:
            ValueError: a row has not as many values as there are columns.
        """
        return self._objects.encode_lines(rows)

    def end(self) -> bytes:
        """Nothing, either."""
        return b""
