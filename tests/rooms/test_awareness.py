"""Awareness as a pure state: the newest holds, the order does not matter, and it is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rooms.documents.awareness import (
    MAX_BYTES,
    MAX_CLIENTS,
    REMEMBERED,
    AwarenessFullError,
    AwarenessStates,
)
from server.wire.y_protocol import NOTHING, AwarenessEntry

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


def test_too_large_a_state_is_refused_and_the_others_stand() -> None:
    states = AwarenessStates()
    states.apply([shown(1, 1)])
    with pytest.raises(AwarenessFullError):
        states.apply([AwarenessEntry(2, 1, '"' + "x" * MAX_BYTES + '"')])
    assert list(states.entries) == [shown(1, 1)]
    states.apply([AwarenessEntry(1, 2, '"' + "x" * (MAX_BYTES // 2) + '"')])
    states.apply([AwarenessEntry(1, 3, '"' + "x" * (MAX_BYTES // 2) + '"')])
    with pytest.raises(AwarenessFullError):
        states.apply([AwarenessEntry(2, 1, '"' + "x" * (MAX_BYTES // 2) + '"')])


def test_clients_are_bounded_in_number_here_and_gone() -> None:
    states = AwarenessStates()
    with pytest.raises(AwarenessFullError):
        states.apply(AwarenessEntry(client, 1, "{}") for client in range(MAX_CLIENTS + 1))
    here = len(states.entries)
    assert here <= MAX_CLIENTS
    states.remove([entry.client for entry in states.entries])
    assert len(states._gone) == REMEMBERED
