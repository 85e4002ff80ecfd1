"""Comma-separated values (RFC 4180), with a header line, in UTF-8 without a BOM.

Fields with commas, quotation marks or line ends are quoted.  What is no text is written as in JSON, arrays
and objects as JSON; null is an empty field, as an empty text is: the format cannot tell them apart.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

import msgspec

from .objects import ENCODER

CONTENT_TYPE = "text/csv; charset=utf-8; header=present"

_PLAIN = frozenset({str, int, float, type(None)})


class Csv:
    """Encodes one table.  `begin`, then `rows` as often as there are some, then `end`."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)

    def begin(self) -> bytes:
        """The header line."""
        return _written([self._columns])

    def rows(self, rows: Iterable[Sequence[object]]) -> bytes:
        """`rows` as lines.

        Raises:
            ValueError: a row has not as many values as there are columns.
        """
        return _written([self._fields(row) for row in rows])

    def end(self) -> bytes:
        """Nothing: a table has no end of its own."""
        return b""

    def _fields(self, row: Sequence[object]) -> Sequence[object]:
        if len(row) != len(self._columns):
            raise ValueError(f"a row has {len(row)} values, and there are {len(self._columns)} columns")
        if _PLAIN.issuperset(map(type, row)):
            return row
        return [value if type(value) in _PLAIN else _field(value) for value in row]


def _field(value: object) -> object:
    if isinstance(value, msgspec.Raw):
        # JSON already.
        return bytes(value).decode()
    plain = msgspec.to_builtins(value, enc_hook=str)
    # True is `true` here as it is there.
    return plain if isinstance(plain, str) else ENCODER.encode(plain).decode()


def _written(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
