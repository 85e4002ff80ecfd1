"""NDJSON: which lines a body has, and which numbers they go by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.wire import ndjson


@pytest.mark.parametrize(
    ("body", "found", "count"),
    [
        (b"", [], 0),
        (b"\n", [], 1),
        (b"1", [(1, b"1")], 1),
        (b"1\n", [(1, b"1")], 1),
        (b"1\n\n", [(1, b"1")], 2),
        (b"1\n2", [(1, b"1"), (2, b"2")], 2),
        (b"1\r\n2\r\n", [(1, b"1\r"), (2, b"2\r")], 2),
        (b"\n \t\r\n3", [(3, b"3")], 3),
        (b"1\r2", [(1, b"1\r2")], 1),
        (b"\v\n\xc2\x85", [(1, b"\v"), (2, b"\xc2\x85")], 2),
    ],
)
def test_a_body_has_lines(body: bytes, found: list[tuple[int, bytes]], count: int) -> None:
    assert list(ndjson.lines(body)) == found
    assert ndjson.count_lines(body) == count


@given(st.lists(st.sampled_from([b"", b"1", b"{}", b" ", b"\xff"])), st.booleans())
def test_numbers_are_those_of_an_editor(lines: list[bytes], ended: bool) -> None:
    body = b"\n".join(lines) + (b"\n" if ended and lines and lines[-1] else b"")
    for number, line in ndjson.lines(body):
        assert lines[number - 1] == line
    assert {number for number, _ in ndjson.lines(body)} == {
        n for n, line in enumerate(lines, 1) if line.strip()
    }


@given(st.binary(max_size=30).map(lambda data: data.replace(b"\r", b"\n")), st.data())
def test_a_place_leads_back_to_its_byte(body: bytes, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, max(0, len(body) - 1)))
    number, before = ndjson.place_of(body, position)
    assert sum(len(line) + 1 for line in body.split(b"\n")[: number - 1]) + before == position
