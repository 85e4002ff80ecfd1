"""Selections: names and patterns, each topic by one entry at most, internal topics by name alone."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from server.hub import Selection
from server.hub.selection import matches

NAMES = st.text("ab./", min_size=1, max_size=4)
ENTRIES = st.lists(NAMES | st.builds("{}*".format, st.text("ab.", max_size=3)), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("entries", "left"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "a"], ["a"]),
        (["a.*", "a.b", "a"], ["a", "a.*"]),
        (["a.b*", "a.*", "a.b.c*"], ["a.*"]),
        (["*", "a", "b.*"], ["*"]),
        (["ab*", "a.*"], ["a.*", "ab*"]),
        (["*", "rooms/a"], ["rooms/a", "*"]),
        (["a.*", "a.*"], ["a.*"]),
    ],
)
def test_what_another_entry_covers_is_left_out(entries: list[str], left: list[str]) -> None:
    assert list(Selection.of(entries)) == left


@given(ENTRIES, NAMES)
def test_a_topic_belongs_to_a_selection_by_one_entry_and_only_if_one_was_asked_for(
    entries: list[str], topic: str
) -> None:
    selection = Selection.of(entries)
    by_name = [name for name in selection.names if name == topic]
    by_pattern = [prefix for prefix in selection.prefixes if matches(prefix, topic)]
    asked = any(
        entry == topic or (entry.endswith("*") and "/" not in topic and topic.startswith(entry[:-1]))
        for entry in entries
    )
    assert len(by_name) + len(by_pattern) == asked
    assert (topic in selection) == asked


@given(ENTRIES)
def test_a_selection_of_its_own_entries_is_the_same(entries: list[str]) -> None:
    selection = Selection.of(entries)
    assert Selection.of(list(selection)) == selection
    assert set(selection) <= set(entries)


@pytest.mark.parametrize("pattern", ["*", "r*", "rooms*", "rooms.*"])
def test_no_pattern_reaches_an_internal_topic(pattern: str) -> None:
    assert "rooms/lobby" not in Selection.of([pattern])
    assert "rooms/lobby" in Selection.of([pattern, "rooms/lobby"])
