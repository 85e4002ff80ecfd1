"""A head says what the client sent, in whatever case and however often it did."""

from __future__ import annotations

import pytest

from server.lifecycle import RequestHead


def head(*headers: tuple[str, str]) -> RequestHead:
    return RequestHead("GET", "/", "", headers)


def test_a_header_that_is_missing_is_none() -> None:
    assert head(("host", "a")).header("cookie") is None


def test_the_first_of_several_values_counts_and_all_can_be_had() -> None:
    several = head(("x", "1"), ("y", "2"), ("x", "3"))
    assert several.header("x") == "1"
    assert list(several.header_values("x")) == ["1", "3"]


@pytest.mark.parametrize("value", ["Upgrade", "keep-alive, upgrade", "a,UPGRADE ,b"])
def test_a_token_is_found_in_a_list_whatever_its_case(value: str) -> None:
    assert head(("connection", value)).header_has_token("connection", "upgrade")


def test_a_token_is_found_in_a_header_that_is_given_twice() -> None:
    twice = head(("connection", "keep-alive"), ("connection", "upgrade"))
    assert twice.header_has_token("connection", "upgrade")


@pytest.mark.parametrize("value", ["", "upgraded", "keep-alive;upgrade"])
def test_a_part_of_a_word_is_no_token(value: str) -> None:
    assert not head(("connection", value)).header_has_token("connection", "upgrade")


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        ("text/event-stream", True),
        ("application/json, Text/Event-Stream;q=0.5", True),
        ("*/*", False),
        ("text/*", False),
        ("text/event-streams", False),
    ],
)
def test_only_who_names_event_streams_accepts_them(value: str, accepted: bool) -> None:
    assert head(("accept", value)).accepts_event_stream is accepted


def test_who_says_nothing_accepts_no_event_stream() -> None:
    assert not head().accepts_event_stream
