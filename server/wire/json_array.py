"""A JSON array of objects, row by row: what is open ends with a bracket, so that a part is no array."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .objects import ObjectEncoder

CONTENT_TYPE = "application/json"


class JsonArray:
    """Encodes one array.  `begin`, then `rows` as often as there are some, then `end`."""

    def __init__(self, columns: Sequence[str]) -> None:
        """`columns` are the names of the objects' members.

        Raises:
            ValueError: two columns have one name.
        """
        self._objects = ObjectEncoder(columns)
        self._separator = b""

    def begin(self) -> bytes:
        """What stands before the first row."""
        return b"["

    def rows(self, rows: Iterable[Sequence[object]]) -> bytes:
        """`rows`, each on a line of its own.

        Raises:
            ValueError: a row has not as many values as there are columns.
        """
        encoded = self._objects.encode_list(rows)
        if not encoded:
            return b""
        separator, self._separator = self._separator, b","
        return separator + b"\n" + encoded

    def end(self) -> bytes:
        """What stands behind the last row."""
        return b"\n]\n" if self._separator else b"]\n"
