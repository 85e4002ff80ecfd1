"""Rows of a table as JSON objects, for the formats that have them.

Numbers, text, true, false and null are what they are in JSON.  Times are RFC 3339, UUIDs and decimals text
(no digit is lost), bytes Base64; NaN and the infinities, which JSON has not, are null; whatever else a
database returns is its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

ENCODER = msgspec.json.Encoder(enc_hook=str)
"""Shared: it keeps nothing between two calls."""


class ObjectEncoder:
    """Encodes rows as objects whose members are named as the columns."""

    __slots__ = ("_columns",)

    def __init__(self, columns: Sequence[str]) -> None:
        """
        Raises:
            ValueError: two columns have one name, of which an object could keep only one.
        """
        self._columns = tuple(columns)
        if len(set(self._columns)) < len(self._columns):
            raise ValueError(f"two columns have the same name: {', '.join(self._columns)}")

    def encode_lines(self, rows: Iterable[Sequence[object]]) -> bytes:
        """Each of `rows` on a line, line ends included.

        Raises:
            ValueError: a row has not as many values as there are columns.
        """
        return ENCODER.encode_lines(self._objects(rows))

    def encode_list(self, rows: Iterable[Sequence[object]]) -> bytes:
        """Each of `rows` on a line, with commas between."""
        # A line end within a string is escaped: these are those between the rows.
        return self.encode_lines(rows).rstrip(b"\n").replace(b"\n", b",\n")

    def _objects(self, rows: Iterable[Sequence[object]]) -> list[dict[str, object]]:
        columns = self._columns
        return [dict(zip(columns, row, strict=True)) for row in rows]
