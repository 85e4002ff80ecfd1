"""Awareness as a pure state: the newest holds, the order does not matter, and it is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rooms.documents.awareness import (
    MAX_BYTES,
    MAX_CLIENTS,
    MAX_STATE,
    REMEMBERED,
    AwarenessFullError,
    AwarenessStates,
    AwarenessTooLargeError,
)
from server.wire.y_protocol import MAX_NUMBER, NOTHING, AwarenessEntry

entries = st.builds(
    AwarenessEntry, st.integers(1, 4), st.integers(0, 6), st.sampled_from(["{}", '{"a":1}', NOTHING])
)


def shown(client: int, clock: int) -> AwarenessEntry:
    return AwarenessEntry(client, clock, f'{{"at":{clock}}}')


def test_the_newest_holds_and_the_rest_is_no_news() -> None:
    states = AwarenessStates()
    assert states.apply([shown(1, 1), shown(2, 5)]) == [shown(1, 1), shown(2, 5)]
    assert states.apply([shown(1, 1), shown(2, 4), shown(1, 2)]) == [shown(1, 2)]
    assert list(states.entries) == [shown(2, 5), shown(1, 2)]


def test_gone_beats_here_at_the_same_clock() -> None:
    states = AwarenessStates()
    states.apply([shown(1, 3)])
    gone = AwarenessEntry(1, 3, NOTHING)
    assert states.apply([gone, gone]) == [gone]
    assert not states.entries


def test_who_is_gone_is_not_brought_back_by_who_passes_it_on() -> None:
    states = AwarenessStates()
    states.apply([shown(1, 3)])
    assert states.remove([1, 2]) == [AwarenessEntry(1, 4, NOTHING)]
    assert states.apply([shown(1, 3), shown(1, 4)]) == []
    assert states.contradictions([shown(1, 3), shown(2, 1)]) == [AwarenessEntry(1, 4, NOTHING)]
    assert states.apply([shown(1, 5)]) == [shown(1, 5)]
    assert states.contradictions([shown(1, 3)]) == []


def test_the_leaving_of_who_was_never_here_is_no_news_and_takes_no_memory() -> None:
    states = AwarenessStates()
    assert states.apply(AwarenessEntry(client, 9, NOTHING) for client in range(5000)) == []
    assert states.size == 0
    assert not states._gone


@given(st.lists(entries))
def test_two_who_heard_the_same_in_another_order_show_the_same(told: list[AwarenessEntry]) -> None:
    # One that has gone and comes again at a higher clock is the same as one that only came.
    newest: dict[int, AwarenessEntry] = {}
    states = AwarenessStates()
    for entry in told:
        states.apply([entry])
        known = newest.get(entry.client)
        clock = known.clock if known is not None else 0
        leaves = entry.state == NOTHING
        here = known is not None and known.state != NOTHING
        if (here or not leaves) and (entry.clock > clock or (entry.clock == clock and leaves)):
            newest[entry.client] = entry
    assert {entry.client: entry for entry in states.entries} == {
        client: entry for client, entry in newest.items() if entry.state != NOTHING
    }


@given(st.lists(entries))
def test_the_size_is_that_of_who_is_here(told: list[AwarenessEntry]) -> None:
    states = AwarenessStates()
    states.apply(told)
    anew = AwarenessStates()
    anew.apply(entry for entry in states.entries)
    assert states.size == anew.size
    states.remove([1, 2, 3, 4])
    assert states.size == 0


def large(client: int, clock: int, size: int) -> AwarenessEntry:
    return AwarenessEntry(client, clock, '"' + "x" * (size - 2) + '"')


def test_too_large_a_state_is_refused_and_the_others_stand() -> None:
    states = AwarenessStates()
    states.apply([shown(1, 1), large(2, 1, MAX_STATE)])
    with pytest.raises(AwarenessTooLargeError):
        states.apply([large(3, 1, MAX_STATE + 1)])
    assert list(states.entries) == [shown(1, 1), large(2, 1, MAX_STATE)]


def test_the_states_together_are_bounded_and_who_shows_another_one_needs_no_more_room() -> None:
    states = AwarenessStates()
    with pytest.raises(AwarenessFullError):
        states.apply(large(client, 1, MAX_STATE) for client in range(100))
    assert len(states.entries) == MAX_BYTES // (MAX_STATE + 200)
    assert states.size <= MAX_BYTES
    states.apply([large(0, 2, MAX_STATE)])
    states.remove([1])
    states.apply([large(101, 1, MAX_STATE)])


def test_who_has_the_highest_clock_can_be_gone() -> None:
    states = AwarenessStates()
    states.apply([shown(1, MAX_NUMBER)])
    assert states.remove([1]) == [AwarenessEntry(1, MAX_NUMBER, NOTHING)]
    assert not states.entries


def test_clients_are_bounded_in_number_here_and_gone() -> None:
    states = AwarenessStates()
    with pytest.raises(AwarenessFullError):
        states.apply(AwarenessEntry(client, 1, "{}") for client in range(MAX_CLIENTS + 1))
    here = len(states.entries)
    assert here <= MAX_CLIENTS
    states.remove([entry.client for entry in states.entries])
    assert len(states._gone) == REMEMBERED
