"""Rows as a JSON array, NDJSON and CSV: what comes out is read back by other people's parsers."""

from __future__ import annotations

import csv
import datetime
import io
import ipaddress
import json
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.wire.csv import Csv
from server.wire.json_array import JsonArray
from server.wire.ndjson import Lines

Encoder = JsonArray | Lines | Csv

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)
tables = st.lists(st.lists(st.tuples(values, values), max_size=5), max_size=5)
NOON = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
COLUMNS = ("a", 'odd "name",')


def encoded(encoder: Encoder, batches: Sequence[Sequence[Sequence[Any]]]) -> bytes:
    return encoder.begin() + b"".join(encoder.rows(batch) for batch in batches) + encoder.end()


@given(tables)
def test_an_array_is_json_however_it_was_cut_into_batches(batches: list[list[tuple[Any, Any]]]) -> None:
    found = json.loads(encoded(JsonArray(COLUMNS), batches))
    assert found == [dict(zip(COLUMNS, row, strict=True)) for batch in batches for row in batch]


@given(tables)
def test_ndjson_has_a_row_on_each_line(batches: list[list[tuple[Any, Any]]]) -> None:
    lines = encoded(Lines(COLUMNS), batches).split(b"\n")
    assert lines.pop() == b""
    found = [json.loads(line) for line in lines]
    assert found == [dict(zip(COLUMNS, row, strict=True)) for batch in batches for row in batch]


@given(tables)
def test_csv_is_read_back_field_by_field(batches: list[list[tuple[Any, Any]]]) -> None:
    def shown(value: Any) -> str:
        if value is None:
            return ""
        return str(value).lower() if isinstance(value, bool) else str(value)

    text = encoded(Csv(COLUMNS), batches).decode()
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert tuple(header) == COLUMNS
    assert rows == [[shown(value) for value in row] for batch in batches for row in batch]


def test_the_forms_of_no_rows() -> None:
    assert encoded(JsonArray(["a"]), []) == b"[]\n"
    assert encoded(JsonArray(["a"]), [[], []]) == b"[]\n"
    assert encoded(Lines(["a"]), [[]]) == b""
    assert encoded(Csv(["a", "b"]), [[]]) == b"a,b\r\n"


def test_the_forms_of_a_few() -> None:
    batches: list[list[tuple[Any, Any]]] = [[(1, "x")], [(2, None), (3, 'y",\n')]]
    assert encoded(JsonArray(["n", "t"]), batches) == (
        b'[\n{"n":1,"t":"x"},\n{"n":2,"t":null},\n{"n":3,"t":"y\\",\\n"}\n]\n'
    )
    assert encoded(Lines(["n", "t"]), batches) == (
        b'{"n":1,"t":"x"}\n{"n":2,"t":null}\n{"n":3,"t":"y\\",\\n"}\n'
    )
    assert encoded(Csv(["n", "t"]), batches) == b'n,t\r\n1,x\r\n2,\r\n3,"y"",\n"\r\n'


@pytest.mark.parametrize(
    ("value", "in_json", "in_csv"),
    [
        (True, True, "true"),
        (Decimal("1.50"), "1.50", "1.50"),
        (
            datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC),
            "2026-11-21T12:00:00Z",
            "2026-11-21T12:00:00Z",
        ),
        (datetime.date(2026, 11, 21), "2026-11-21", "2026-11-21"),
        (uuid.UUID(int=1), str(uuid.UUID(int=1)), str(uuid.UUID(int=1))),
        (b"\x00\xff", "AP8=", "AP8="),
        ({"a": [1]}, {"a": [1]}, '{"a":[1]}'),
        ([1, None], [1, None], "[1,null]"),
        (float("nan"), None, "nan"),
        (ipaddress.ip_address("127.0.0.1"), "127.0.0.1", "127.0.0.1"),
    ],
)
def test_what_databases_return(value: object, in_json: object, in_csv: str) -> None:
    assert json.loads(Lines(["v"]).rows([(value,)])) == {"v": in_json}
    assert next(csv.reader([Csv(["v"]).rows([(value,)]).decode()])) == [in_csv]


@pytest.mark.parametrize("make", [JsonArray, Lines, Csv])
@pytest.mark.parametrize("row", [(1,), (1, 2, 3)])
def test_a_row_of_another_length_is_an_error(make: type[Encoder], row: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):
        make(["a", "b"]).rows([(1, 2), row])


@pytest.mark.parametrize("make", [JsonArray, Lines])
def test_two_columns_of_one_name_are_no_object(make: type[Encoder]) -> None:
    with pytest.raises(ValueError, match="id, id"):
        make(["id", "id"])
