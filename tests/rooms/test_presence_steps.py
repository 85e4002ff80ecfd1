"""Presence as a function: whatever happens, what the others are told adds up to who is there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rooms.presence import (
    Change,
    Connected,
    Disconnected,
    Event,
    Parting,
    Present,
    Replaced,
    TimePassed,
    grace_of,
    step,
)

times = st.integers(0, 20).map(float)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Connected, st.sampled_from(["Ann", "Bob"]), st.sampled_from([b"{}", b"[1]"])),
    st.builds(Disconnected, st.none() | times),
    st.builds(Replaced, st.sampled_from([b"{}", b'{"a":1}'])),
    st.builds(TimePassed, times),
)


@given(st.lists(events, max_size=40))
def test_what_is_told_adds_up_to_who_is_there(script: list[Event]) -> None:
    present: Present | None = None
    there, state = False, b""
    for event in script:
        present, change = step(present, event)
        match change:
            case Change.JOINED:
                assert not there
                assert present is not None
                there, state = True, present.state
            case Change.LEFT:
                assert there
                there = False
            case Change.STATE:
                assert there
                assert present is not None
                assert present.state != state
                state = present.state
        assert there == (present is not None)
        if present is not None:
            assert present.state == state


@given(st.lists(events, max_size=40))
def test_a_member_is_there_while_it_has_connections_or_grace(script: list[Event]) -> None:
    present: Present | None = None
    for event in script:
        before = present
        present, _ = step(present, event)
        if present is None:
            continue
        assert (present.connections > 0) != (present.leaves_at is not None)
        if before is not None and isinstance(event, Connected):
            assert present.connections == before.connections + 1
            assert (present.name, present.state) == (before.name, before.state)


@given(st.integers(1, 5), st.none() | times)
def test_only_the_last_of_several_connections_counts(count: int, grace: float | None) -> None:
    present: Present | None = None
    for _ in range(count):
        present, _ = step(present, Connected("Ann"))
    for _ in range(count - 1):
        present, change = step(present, Disconnected(None))
        assert change is None
    present, change = step(present, Disconnected(grace))
    if grace is None:
        assert (present, change) == (None, Change.LEFT)
        return
    assert change is None
    assert step(present, TimePassed(grace - 1)) == (present, None)
    assert step(present, TimePassed(grace)) == (None, Change.LEFT)
    assert step(present, Connected("Ann")) == (Present("Ann", b"{}", 1), None)


@pytest.mark.parametrize("code", [1001, 1005, 1006, 1011, 1012, 1013, 4401, 4413, 4429])
def test_who_is_to_come_back_has_a_grace(code: int) -> None:
    assert grace_of(Parting(code), 10.0) == 10
    assert grace_of(Parting(code, overdue=4.0), 10.0) == 6
    assert grace_of(Parting(code, overdue=11.0), 10.0) == 0
    assert grace_of(Parting(code), 0.0) == 0


@pytest.mark.parametrize("code", [1000, 1002, 1003, 1007, 1008, 1009, 3000, 4000, 4403, 4408])
def test_who_ended_or_is_not_to_come_back_has_none(code: int) -> None:
    assert grace_of(Parting(code), 10.0) == 0
