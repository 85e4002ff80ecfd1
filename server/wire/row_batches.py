"""Rows read from NDJSON and CSV, as the bytes come in.

`ndjson_rows` and `csv_rows` take pieces of a body, cut anywhere, and yield batches: the columns known so far,
and rows that have a value for each of them.  What is held is a piece and one record, which is bounded.  The
first fault ends the reading with a `RowError`, which names the line it is on.

Values are those that SQLite has: text, whole numbers of 64 bits, floats, None.  What else JSON has (true and
false, arrays, objects, larger numbers) is a `bytes` of its JSON, as it came.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Annotated, Any, NamedTuple

import msgspec

from . import json_text

MAX_RECORD = 1024 * 1024
"""Bytes of a line of NDJSON, characters of a record of CSV."""
MAX_COLUMNS = 1000
MAX_COLUMN_NAME = 128
"""Characters of a column's name."""
PIECE = 64 * 1024
"""Bytes that are looked at once; a larger piece is cut."""

_BATCH = 500
_NESTED = b"[{tf"
"""How values begin that SQLite has no type for."""
_WHOLE = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Plain = dict[str, str | _WHOLE | float | bool | None]

Value = str | int | float | bytes | None
Row = Sequence[Value]


class RowError(Exception):
    """The rows cannot be read.  `detail` is a sentence fit to be shown to a client, `line` counts from 1."""

    def __init__(self, line: int, detail: str) -> None:
        super().__init__(f"Line {line}: {detail}")
        self.line = line
        self.detail = detail


class Batch(NamedTuple):
    """Rows, and the columns of theirs.  Columns of a later batch are those of an earlier one, or begin so."""

    columns: tuple[str, ...]
    rows: Sequence[Row]
    largest: int = 0
    """Bytes or characters that no row is longer than."""
    nested: frozenset[str] = frozenset()
    """The columns of this or an earlier batch in which there are `bytes`."""


def ndjson_rows(pieces: Iterable[bytes]) -> Iterator[Batch]:
    """The objects of NDJSON.

    A column is added where an object first has it; an object that lacks one has None there.  Of members with
    the same name the last one counts.

    Raises:
        RowError: a line is no object of JSON, is too long, or brings too many columns.
    """
    reader = _Objects()
    for block in _whole_lines(_without_bom(_cut(pieces))):
        yield reader.read(block)


def csv_rows(pieces: Iterable[bytes]) -> Iterator[Batch]:
    """The records of CSV (RFC 4180) with a header line.  Every value is text; blank lines are passed over.

    Raises:
        RowError: a record has more or fewer fields than the header, is too long, is quoted wrongly, or is not
            UTF-8; the header names a column twice, or not at all.
    """
    lines = _TextLines(_without_bom(_cut(pieces)))
    records = csv.reader(lines, strict=True)
    try:
        header = next((record for record in records if record), None)
        if header is None:
            return
        _check_columns(header, records.line_num)
        columns = tuple(header)
        lines.taken = 0
        yield Batch(columns, ())
        while rows := list(_records(islice(records, _BATCH), lines, len(columns))):
            yield Batch(columns, rows, lines.largest)
    except csv.Error as error:
        raise RowError(lines.record_start, _explained(error)) from None


# NDJSON


class _Objects:
    def __init__(self) -> None:
        self._columns: tuple[str, ...] = ()
        self._known: dict[str, None] = {}
        self._nested: frozenset[str] = frozenset()
        self._line = 1
        self._plain = msgspec.json.Decoder(_Plain)
        self._raw = json_text.Decoder(dict[str, msgspec.Raw])
        self._scalar = msgspec.json.Decoder(str | int | float | None)

    def read(self, block: bytes) -> Batch:
        """The rows of whole lines."""
        rows = self._read_alike(block)
        if rows is None:
            rows = self._read_lines(block)
        self._line += block.count(b"\n")
        # Not looked for where it cannot matter.
        largest = len(block) if len(block) <= PIECE // 16 else max(map(len, block.split(b"\n")))
        return Batch(self._columns, rows, largest, self._nested)

    def _read_alike(self, block: bytes) -> list[Row] | None:
        """The rows, where all have the same columns and plain values: most blocks, and at a fraction of what
        it takes to look at each line.
        """
        count = len(self._columns)
        if count < 2 or b"true" in block or b"false" in block or len(block) > MAX_RECORD:
            return None
        try:
            objects = self._plain.decode_lines(block)
            rows: list[Row] = list(map(itemgetter(*self._columns), objects))
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, RecursionError):
            return None
        return rows if sum(map(len, objects)) == count * len(rows) else None

    def _read_lines(self, block: bytes) -> list[Row]:
        found: list[Row] = []
        for number, line in enumerate(block.split(b"\n"), self._line):
            if not line.strip(b" \t\r"):
                continue
            if len(line) > MAX_RECORD:
                raise RowError(number, f"the line has more than {MAX_RECORD} bytes.")
            found.append(self._read_line(line, number))
        # The last ones may have brought columns.
        count = len(self._columns)
        return [row if len(row) == count else (*row, *[None] * (count - len(row))) for row in found]

    def _read_line(self, line: bytes, number: int) -> Row:
        try:
            values: dict[str, Any] = self._plain.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            values = self._read_deep(line, number)
        else:
            for name, value in values.items():
                if value is True or value is False:
                    values[name] = b"true" if value else b"false"
                    if name not in self._nested:
                        self._nested |= {name}
        if not values.keys() <= self._known.keys():
            self._add_columns(values, number)
        return tuple(map(values.get, self._columns))

    def _read_deep(self, line: bytes, number: int) -> dict[str, Any]:
        """A line that holds more than plain values, or is wrong."""
        try:
            line.decode()
            # Read as far as it has to be: a million of empty arrays would be a hundred times their size.
            raw = self._raw.decode(line)
            stored = {name: self._stored(bytes(value)) for name, value in raw.items()}
        except UnicodeDecodeError:
            raise RowError(number, "the line is not UTF-8.") from None
        except (json_text.InvalidError, msgspec.ValidationError):
            raise RowError(number, "the line is JSON, and no object or with a number out of range.") from None
        except (json_text.MalformedError, msgspec.MsgspecError):
            raise RowError(number, "the line is not JSON.") from None
        self._nested |= {name for name, value in stored.items() if isinstance(value, bytes)}
        return stored

    def _stored(self, value: bytes) -> Value:
        value = value.strip()
        if value[0] in _NESTED:
            return value
        found = self._scalar.decode(value)
        return value if isinstance(found, int) and not -(2**63) <= found < 2**63 else found

    def _add_columns(self, names: Iterable[str], number: int) -> None:
        known = self._known | dict.fromkeys(names)
        _check_columns(list(known), number)
        self._known = known
        self._columns = tuple(known)


def _without_bom(pieces: Iterable[bytes]) -> Iterator[bytes]:
    start = b""
    rest = iter(pieces)
    for piece in rest:
        start += piece
        if len(start) >= len(codecs.BOM_UTF8):
            break
    yield start.removeprefix(codecs.BOM_UTF8)
    yield from rest


def _cut(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        if len(piece) <= PIECE:
            yield piece
        else:
            for start in range(0, len(piece), PIECE):
                yield piece[start : start + PIECE]


def _whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Blocks of whole lines.  Of the last one the line end may be missing."""
    lines = 1
    parts: list[bytes] = []
    size = 0
    for piece in pieces:
        end = piece.rfind(b"\n") + 1
        if end:
            block = b"".join([*parts, piece[:end]])
            yield block
            lines += block.count(b"\n")
            parts, size = [], 0
        if end < len(piece):
            parts.append(piece[end:])
            size += len(piece) - end
            if size > MAX_RECORD:
                raise RowError(lines, f"the line has more than {MAX_RECORD} bytes.")
            if len(parts) > _BATCH:
                # Of a client that sends a few bytes at a time.
                parts = [b"".join(parts)]
    if parts:
        yield b"".join(parts)


# CSV


class _TextLines:
    """The lines of a text, with their ends, as csv.reader wants them.  Bounds what one record takes."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._lines = self._read(pieces)
        self.number = 0
        """Of the line that was given out last."""
        self.largest = 0
        """Characters of the largest record."""
        self.record_start = 1
        """Line on which the record begins."""
        self.taken = 0
        """Characters given out since this was last set to 0: of a record, where its reader sees to that."""

    def __iter__(self) -> Iterator[str]:
        return self._lines

    def _read(self, pieces: Iterable[bytes]) -> Iterator[str]:
        for block in _whole_lines(pieces):
            try:
                text = block.decode()
            except UnicodeDecodeError as error:
                line = self.number + 1 + block.count(b"\n", 0, error.start)
                raise RowError(line, "the line is not UTF-8.") from None
            # Not `splitlines`, which knows line ends that are none here.
            *whole, rest = text.split("\n")
            for line_of_text in whole:
                yield self._counted(line_of_text + "\n")
            if rest:
                yield self._counted(rest)

    def _counted(self, line: str) -> str:
        self.number += 1
        if not self.taken:
            self.record_start = self.number
        self.taken += len(line)
        if self.taken > MAX_RECORD:
            raise RowError(self.record_start, f"the record has more than {MAX_RECORD} characters.")
        return line


def _records(records: Iterable[list[str]], lines: _TextLines, count: int) -> Iterator[Row]:
    for record in records:
        if lines.taken > lines.largest:
            lines.largest = lines.taken
        lines.taken = 0
        if len(record) == count:
            yield record
        elif record:
            detail = f"the record has {len(record)} fields, and the header {count}."
            raise RowError(lines.record_start, detail)


def _explained(error: csv.Error) -> str:
    words = str(error)
    if "field larger" in words:
        return f"a field has more than {csv.field_size_limit()} characters."
    if "new-line character" in words:
        return "a carriage return stands within an unquoted field."
    return "a field is not quoted as it has to be, or its closing quotation mark is missing."


def _check_columns(names: Sequence[str], line: int) -> None:
    if len(names) > MAX_COLUMNS:
        raise RowError(line, f"there are more than {MAX_COLUMNS} columns.")
    for name in names:
        if not 1 <= len(name) <= MAX_COLUMN_NAME:
            raise RowError(line, f"the name of a column has 1 to {MAX_COLUMN_NAME} characters.")
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise RowError(line, f"the column {twice!r} is there twice.")
