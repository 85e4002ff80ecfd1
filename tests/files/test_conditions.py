"""Preconditions in the order of RFC 9110, section 13.2.2."""

from __future__ import annotations

import pytest

from server.files import MalformedConditionError, Preconditions, StoredFile, Verdict
from server.lifecycle import RequestHead
from server.wire.http_dates import format_date

FILE = StoredFile("a", 10, 1_700_000_000_500_000_000)
TAG = FILE.etag
BEFORE, AT, AFTER = (format_date(FILE.modified + seconds) for seconds in (-1, 0, 1))


def conditions(*headers: tuple[str, str]) -> Preconditions:
    return Preconditions(RequestHead("GET", "/files/a", "", headers))


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ([], "SEND"),
        ([("if-match", TAG)], "SEND"),
        ([("if-match", f'"x", {TAG}')], "SEND"),
        ([("if-match", "*")], "SEND"),
        ([("if-match", '"x"')], "FAILED"),
        ([("if-match", f"W/{TAG}")], "FAILED"),
        ([("if-match", "garbage")], "FAILED"),
        ([("if-unmodified-since", AT)], "SEND"),
        ([("if-unmodified-since", BEFORE)], "FAILED"),
        ([("if-unmodified-since", "garbage")], "SEND"),
        # A tag says more than a date, which is then passed over.
        ([("if-match", TAG), ("if-unmodified-since", BEFORE)], "SEND"),
        ([("if-none-match", TAG)], "NOT_MODIFIED"),
        ([("if-none-match", f"W/{TAG}")], "NOT_MODIFIED"),
        ([("if-none-match", '"x"'), ("if-none-match", TAG)], "NOT_MODIFIED"),
        ([("if-none-match", "*")], "NOT_MODIFIED"),
        ([("if-none-match", '"x"')], "SEND"),
        ([("if-none-match", "garbage")], "SEND"),
        ([("if-modified-since", AT)], "NOT_MODIFIED"),
        ([("if-modified-since", AFTER)], "NOT_MODIFIED"),
        ([("if-modified-since", BEFORE)], "SEND"),
        ([("if-modified-since", "garbage")], "SEND"),
        ([("if-none-match", '"x"'), ("if-modified-since", AT)], "SEND"),
        ([("if-match", '"x"'), ("if-none-match", TAG)], "FAILED"),
    ],
)
def test_a_read(headers: list[tuple[str, str]], verdict: str) -> None:
    assert conditions(*headers).verdict(FILE) is Verdict[verdict]


@pytest.mark.parametrize(
    ("headers", "when_there", "when_not"),
    [
        ([], True, True),
        ([("if-match", TAG)], True, False),
        ([("if-match", "*")], True, False),
        ([("if-match", '"x"')], False, False),
        ([("if-none-match", "*")], False, True),
        ([("if-none-match", TAG)], False, True),
        ([("if-none-match", '"x"')], True, True),
        ([("if-unmodified-since", AT)], True, True),
        ([("if-unmodified-since", BEFORE)], False, True),
        # Of no meaning for a write.
        ([("if-modified-since", AT)], True, True),
    ],
)
def test_a_write(headers: list[tuple[str, str]], when_there: bool, when_not: bool) -> None:
    write = conditions(*headers)
    write.check_readable()
    assert write.allow_write(FILE) is when_there
    assert write.allow_write(None) is when_not


@pytest.mark.parametrize("name", ["if-match", "if-none-match"])
@pytest.mark.parametrize("value", ["", "x", '"x', '*, "x"'])
def test_a_guard_of_a_write_that_cannot_be_read_is_refused(name: str, value: str) -> None:
    with pytest.raises(MalformedConditionError):
        conditions((name, value)).check_readable()


@pytest.mark.parametrize(
    ("value", "applies"),
    [
        (TAG, True),
        (f"W/{TAG}", False),
        ('"x"', False),
        (AT, True),
        (BEFORE, False),
        (AFTER, False),
        ("garbage", False),
        ("", False),
    ],
)
def test_a_range_applies_to_the_very_file_alone(value: str, applies: bool) -> None:
    assert conditions(("if-range", value)).range_applies(FILE) is applies


def test_a_range_without_a_condition_applies() -> None:
    assert conditions().range_applies(FILE)
