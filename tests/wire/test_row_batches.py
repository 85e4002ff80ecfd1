"""Rows read from NDJSON and CSV: what is taken, what is refused and where, however they are cut."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.wire.row_batches import (
    MAX_COLUMNS,
    MAX_RECORD,
    Batch,
    RowError,
    Value,
    csv_rows,
    ndjson_rows,
)

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
Read = Callable[[Iterable[bytes]], Iterator[Batch]]


def read(reader: Read, *pieces: bytes) -> tuple[tuple[str, ...], list[tuple[Value, ...]]]:
    """Columns and rows, those that came before a column filled up as SQLite would."""
    columns: tuple[str, ...] = ()
    rows: list[tuple[Value, ...]] = []
    for batch in reader(pieces):
        assert batch.columns[: len(columns)] == columns
        columns = batch.columns
        assert all(len(row) == len(columns) for row in batch.rows)
        rows += map(tuple, batch.rows)
    return columns, [row + (None,) * (len(columns) - len(row)) for row in rows]


def fault(reader: Read, body: bytes) -> str:
    with pytest.raises(RowError) as caught:
        read(reader, body)
    assert str(caught.value).startswith(f"Line {caught.value.line}: ")
    return str(caught.value)


@pytest.mark.parametrize(
    ("body", "columns", "rows"),
    [
        (b'{"a":1,"b":"x"}\n', ("a", "b"), [(1, "x")]),
        (b'{"a":1,"b":"x"}\n{"b":"y","a":2}\n', ("a", "b"), [(1, "x"), (2, "y")]),
        (b'{"a":1}\r\n\r\n  \n{"a":null}', ("a",), [(1,), (None,)]),
        (b'{"a":1}\n{"b":2}\n', ("a", "b"), [(1, None), (None, 2)]),
        (b'{"a":1,"a":2}', ("a",), [(2,)]),
        (b'{"a":true,"b":[1, 2],"c":{"x":null}}', ("a", "b", "c"), [(b"true", b"[1, 2]", b'{"x":null}')]),
        (b'{"a":9223372036854775807,"b":1.0}', ("a", "b"), [(2**63 - 1, 1.0)]),
        (b'{"a":9223372036854775808}', ("a",), [(b"9223372036854775808",)]),
        (b'{"a":123456789012345678901234567890}', ("a",), [(b"123456789012345678901234567890",)]),
        (b"{}\n{}\n", (), [(), ()]),
        (b'\xef\xbb\xbf{"a":"\xc3\xa4"}', ("a",), [("ä",)]),
        (b'{"":1}'.replace(b'""', b'"\\u0000"'), ("\0",), [(1,)]),
        (b"", (), []),
        (b"\n\n", (), []),
    ],
)
def test_objects_are_rows(body: bytes, columns: tuple[str, ...], rows: list[tuple[Value, ...]]) -> None:
    assert read(ndjson_rows, body) == (columns, rows)
    assert read(ndjson_rows, *(bytes([each]) for each in body)) == (columns, rows)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"a":1}\n{"a":1\n', "Line 2: the line is not JSON."),
        (b'{"a":1}\n\n[1]\n', "Line 3: the line is JSON, and no object"),
        (b"1", "Line 1: the line is JSON, and no object"),
        (b'{"a":NaN}', "Line 1: the line is not JSON."),
        (b'{"a":1e999}', "number out of range"),
        (b'{"a":"\\ud800"}', "not JSON"),
        (b'{"a":"\xff"}', "Line 1: the line is not UTF-8."),
        ("ä".encode("utf-16"), "Line 1: the line is not UTF-8."),
        (b'{"a":1,"b":2}\n' * 3 + b'{"a":"\xff","b":2}', "Line 4: the line is not UTF-8."),
        (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "Line 1: the line is not JSON."),
        (b'{"":1}', "the name of a column has 1 to 128 characters"),
        (json.dumps({"x" * 129: 1}).encode(), "the name of a column has 1 to 128 characters"),
        (json.dumps({str(n): 1 for n in range(MAX_COLUMNS + 1)}).encode(), "more than 1000 columns"),
        (b'{"a":1}\n{"a":"' + b"x" * MAX_RECORD + b'"}', "Line 2: the line has more than 1048576 bytes."),
        (b'{"a":1}\n{"a":"' + b"x" * MAX_RECORD, "Line 2: the line has more than 1048576 bytes."),
    ],
)
def test_lines_that_are_no_rows_are_named(body: bytes, words: str) -> None:
    assert words in fault(ndjson_rows, body)


def test_a_fault_is_on_its_line_after_many_pieces() -> None:
    body = b'{"a":1,"b":"some words"}\n' * 40_000 + b"{\n"
    assert fault(ndjson_rows, body) == "Line 40001: the line is not JSON."


SCALARS = (
    st.none()
    | st.text(max_size=9)
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
OBJECTS = st.lists(
    st.dictionaries(
        st.sampled_from(["a", "b", "c", "d"]), SCALARS | st.booleans() | st.lists(SCALARS, max_size=2)
    ),
    max_size=20,
)


@UNHURRIED
@given(OBJECTS, st.integers(1, 40))
def test_what_json_can_say_comes_through_however_it_is_cut(
    objects: list[dict[str, object]], size: int
) -> None:
    body = b"".join(json.dumps(each).encode() + b"\n" for each in objects)
    columns, rows = read(ndjson_rows, *(body[at : at + size] for at in range(0, len(body), size)))
    assert list(columns) == list(dict.fromkeys(name for each in objects for name in each))
    found = [
        {
            name: json.loads(value) if isinstance(value, bytes) else value
            for name, value in zip(columns, row, strict=True)
        }
        for row in rows
    ]
    assert found == [{name: each.get(name) for name in columns} for each in objects]


@pytest.mark.parametrize(
    ("body", "columns", "rows"),
    [
        (b"a,b\n1,x\n", ("a", "b"), [("1", "x")]),
        (b"a,b\r\n1,x\r\n2,y", ("a", "b"), [("1", "x"), ("2", "y")]),
        (b"\xef\xbb\xbfa,b\n1,\n", ("a", "b"), [("1", "")]),
        (b'a,b\n"x\ny, ""z""\r\n",2\n', ("a", "b"), [('x\ny, "z"\r\n', "2")]),
        (b'"a\nb",c\n1,2\n', ("a\nb", "c"), [("1", "2")]),
        (b"\n\na\n\n1\n", ("a",), [("1",)]),
        (b"a,A\n1,2\n", ("a", "A"), [("1", "2")]),
        (b"a,b\n", ("a", "b"), []),
        ("ä\n\u2028\u0085x\n".encode(), ("ä",), [("\u2028\u0085x",)]),
        (b"", (), []),
        (b"\r\n", (), []),
    ],
)
def test_records_are_rows(body: bytes, columns: tuple[str, ...], rows: list[tuple[Value, ...]]) -> None:
    assert read(csv_rows, body) == (columns, rows)
    assert read(csv_rows, *(bytes([each]) for each in body)) == (columns, rows)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"a,b\n1,2\n3\n", "Line 3: the record has 1 fields, and the header 2."),
        (b'a,b\n"x\ny",2\n1,2,3\n', "Line 4: the record has 3 fields, and the header 2."),
        (b'a,b\n1,"x\n2,y\n', "Line 2: a field is not quoted as it has to be"),
        (b'a\n"x"y\n', "Line 2: a field is not quoted as it has to be"),
        (b"a\n\xe4\n", "Line 2: the line is not UTF-8."),
        ("a,b\n1,2\n".encode("utf-16"), "Line 1: the line is not UTF-8."),
        (b"a,b,a\n1,2,3\n", "Line 1: the column 'a' is there twice."),
        (b"a,\n1,2\n", "Line 1: the name of a column has 1 to 128 characters."),
        (b"," * MAX_COLUMNS + b"\n", "Line 1: there are more than 1000 columns."),
        (b"a\rb\n1\n", "Line 1: a carriage return stands within an unquoted field."),
        (b"a\n" + b"x" * 131_073 + b"\n", "Line 2: a field has more than 131072 characters."),
        (b"a\n" + b"x" * (MAX_RECORD + 1), "Line 2: the line has more than 1048576 bytes."),
        (b"a,b\n" + b'"x\n",' * 300_000, "Line 2: the record has more than 1048576 characters."),
    ],
)
def test_records_that_are_no_rows_are_named(body: bytes, words: str) -> None:
    assert words in fault(csv_rows, body)


FIELDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


@UNHURRIED
@given(
    st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(FIELDS, min_size=n, max_size=n), max_size=9)),
    st.integers(1, 30),
)
def test_what_csv_can_say_comes_through_however_it_is_cut(records: list[list[str]], size: int) -> None:
    width = len(records[0]) if records else 1
    header = [f"c{index}" for index in range(width)]
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([header, *records])
    body = text.getvalue().encode()
    columns, rows = read(csv_rows, *(body[at : at + size] for at in range(0, len(body), size)))
    assert list(columns) == header
    assert rows == [tuple(record) for record in records]
