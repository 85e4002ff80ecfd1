"""Entity tags and dates, as preconditions hold them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.wire.entity_tags import EntityTags, is_entity_tag, parse_entity_tags
from server.wire.http_dates import format_date, parse_date

EXAMPLE = 784111777
"""What all forms of section 5.6.7's example mean."""


@pytest.mark.parametrize(
    ("values", "tags"),
    [
        (['"a"'], {'"a"'}),
        (['W/"a"'], {'W/"a"'}),
        (['"a", "b"'], {'"a"', '"b"'}),
        (['"a","b" , W/"c"'], {'"a"', '"b"', 'W/"c"'}),
        (['"a"', '"b"'], {'"a"', '"b"'}),
        (['"a,b"'], {'"a,b"'}),
        ([',, "a",, ,"b",'], {'"a"', '"b"'}),
        (['""'], {'""'}),
        (['"\xe9"'], {'"\xe9"'}),
    ],
)
def test_a_list_of_tags_is_read(values: list[str], tags: set[str]) -> None:
    assert parse_entity_tags(values) == EntityTags(frozenset(tags))


@pytest.mark.parametrize(
    "values",
    [[""], [","], ["a"], ['"a'], ['"a" "b"'], ['"a""b"'], ['w/"a"'], ['*, "a"'], ['"a b"'], ['"a", b']],
)
def test_what_is_no_list_of_tags_is_none(values: list[str]) -> None:
    assert parse_entity_tags(values) is None


def test_reading_takes_time_in_proportion_to_the_length() -> None:
    started = time.process_time()
    for text in ("," * 16_000 + "x", '"a"' + ", ," * 5_000 + "x", '"a",' * 4_000 + "x", " \t" * 8_000 + '"'):
        assert parse_entity_tags([text]) is None
    assert time.process_time() - started < 5


def test_an_asterisk_is_whatever_there_is() -> None:
    anything = parse_entity_tags([" * "])
    assert anything == EntityTags(anything=True)
    assert anything.match('"a"')
    assert not anything.match(None)


@pytest.mark.parametrize(
    ("listed", "current", "strong", "weak"),
    [
        ('"1"', '"1"', True, True),
        ('"1"', '"2"', False, False),
        ('W/"1"', '"1"', False, True),
        ('"1"', 'W/"1"', False, True),
        ('W/"1"', 'W/"1"', False, True),
    ],
)
def test_tags_are_compared_strongly_and_weakly(listed: str, current: str, strong: bool, weak: bool) -> None:
    tags = parse_entity_tags([listed])
    assert tags is not None
    assert tags.match(current) is strong
    assert tags.match(current, weak=True) is weak
    assert is_entity_tag(listed)


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "  Sun, 06 Nov 1994 08:49:37 GMT ",
    ],
)
def test_dates_are_read_in_each_of_their_forms(text: str) -> None:
    assert parse_date(text) == EXAMPLE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1994-11-06T08:49:37Z",
        "Sun, 06 Nov 1994 08:49:37 +0100",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 25:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT, and more",
        '"etag"',
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_date(text) is None


@given(st.integers(0, 253_402_300_799))
def test_a_date_that_was_written_is_read_again(moment: int) -> None:
    assert parse_date(format_date(moment)) == moment
