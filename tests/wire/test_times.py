"""Times for display are RFC 3339, in UTC, with milliseconds."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from server.wire.times import rfc3339

FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_a_moment_is_shown_in_utc() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"


@given(st.floats(0, 4e9))
def test_the_form_is_always_the_same(moment: float) -> None:
    assert FORM.fullmatch(rfc3339(moment))


def test_without_a_moment_it_is_now() -> None:
    assert FORM.fullmatch(rfc3339())
