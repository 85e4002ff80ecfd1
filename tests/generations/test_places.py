"""How many run at once, and who is next."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from server.generations import PlacesFullError, State
from server.generations.places import Place, Places
from tests.support.generating import TextWire, Upstream, open_studio, words


async def test_who_finds_no_place_waits_its_turn_and_then_is_refused(autojump_clock: MockClock) -> None:
    upstream = Upstream(1.0, "a")
    async with open_studio(upstream.provider, running=2, queue=2) as studio:
        started = [studio.start(detach_seconds=100) for _ in range(4)]
        with pytest.raises(PlacesFullError):
            studio.start()
        await trio.sleep(0.5)
        assert upstream.opened == 2
        assert [generation.state for generation in started] == [State.RUNNING] * 4
        await trio.sleep(1)
        assert upstream.opened == 4
        for generation in started:
            await generation.wait_over()
        assert trio.current_time() == pytest.approx(2.0)
        assert len(studio.generations) == 4


async def test_who_waits_is_shown_signs_of_life_and_can_be_stopped(autojump_clock: MockClock) -> None:
    upstream = Upstream(100.0, "a")
    async with open_studio(upstream.provider, running=1, queue=1, silence=200.0) as studio:
        first = studio.start(detach_seconds=500)
        second = studio.start()
        viewer = studio.view(second, wire := TextWire())
        await trio.sleep(40)
        assert [event.comment for event in wire.events] == ["", "", ""]
        await second.stop()
        await viewer.ended.wait()
        assert (second.state, upstream.opened) == (State.STOPPED, 1)
        assert wire.names == ["done"]
        third = studio.start(detach_seconds=500)
        await first.wait_over()
        await third.wait_over()
        assert upstream.opened == upstream.closed == 2


async def test_one_principal_does_not_take_the_places_of_others(autojump_clock: MockClock) -> None:
    async with open_studio(Upstream(*words(2, 1.0)).provider, running=3, each=1, queue=3) as studio:
        greedy = [studio.start(principal="greedy", detach_seconds=100) for _ in range(3)]
        other = studio.start(principal="other", detach_seconds=100)
        await other.wait_over()
        assert trio.current_time() == pytest.approx(2.0)
        await wait_all_tasks_blocked()
        assert [generation.is_running for generation in greedy] == [False, True, True]
        for generation in greedy:
            await generation.wait_over()
        assert trio.current_time() == pytest.approx(6.0)


@given(
    steps=st.lists(st.one_of(st.sampled_from("abc"), st.integers(0, 9)), max_size=60),
    running=st.integers(1, 3),
    each=st.integers(1, 3),
    queue=st.integers(0, 3),
)
@settings(deadline=None)
def test_no_place_is_lost_or_given_twice(steps: list[str | int], running: int, each: int, queue: int) -> None:
    places = Places(running, each, queue)
    held: list[Place] = []
    for step in steps:
        if isinstance(step, str):
            try:
                held.append(places.take(step))
            except PlacesFullError:
                assert places.waiting == queue
        elif held:
            places.give_back(held.pop(step % len(held)))
        admitted = [place for place in held if place.admitted.is_set()]
        waiting = [place for place in held if not place.admitted.is_set()]
        assert (places.running, places.waiting) == (len(admitted), len(waiting))
        assert len(admitted) <= running
        assert len(waiting) <= queue
        counts = {name: sum(place.principal == name for place in admitted) for name in "abc"}
        assert max(counts.values()) <= each
        # Nobody waits who could have a place.
        assert len(admitted) == running or all(counts[place.principal] == each for place in waiting)
    for place in held:
        places.give_back(place)
    assert (places.running, places.waiting) == (0, 0)
