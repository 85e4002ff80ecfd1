"""Cursors are opaque to clients and exact to us: only what `str` made is read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.hub import Cursor


@given(st.from_regex(r"[0-9a-z]{1,32}", fullmatch=True), st.integers(0, 10**19 - 1))
def test_a_cursor_is_read_back_from_its_text(epoch: str, offset: int) -> None:
    assert Cursor.parse(str(Cursor(epoch, offset))) == Cursor(epoch, offset)


@given(st.text())
def test_what_is_read_is_written_the_same(text: str) -> None:
    cursor = Cursor.parse(text)
    assert cursor is None or str(cursor) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a:",
        ":1",
        "a:-1",
        "a:01",
        "a: 1",
        "a:1 ",
        "a:1\n",
        "A:1",
        "a:1:2",
        "a:١",
        "a:" + "9" * 20,
        "é:1",
    ],
)
def test_no_other_text_is_a_cursor(text: str) -> None:
    assert Cursor.parse(text) is None
