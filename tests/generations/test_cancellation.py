"""Cancelled at whatever moment, a generation ends once, with one closing delta, and leaves nothing."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.generations import Generation, State
from server.lifecycle import CloseReason
from server.wire.deltas import Failure, Finish
from tests.support.cancel import cancel_at_each_step
from tests.support.generating import Studio, TextWire, Upstream, open_studio, words


def closings(generation: Generation) -> int:
    return sum(isinstance(delta, Finish | Failure) for _, delta in generation.deltas())


async def test_cancelled_with_its_service_at_any_step_it_closes_once(autojump_clock: MockClock) -> None:
    started: list[Generation] = []
    upstream = Upstream()

    async def whole() -> None:
        nonlocal upstream
        started.clear()
        upstream = Upstream(*words(3, 0.5))
        async with open_studio(upstream.provider) as studio:
            generation = studio.start()
            started.append(generation)
            first = studio.view(generation, TextWire())
            await trio.sleep(0.7)
            second = studio.view(generation, TextWire(), format="openai")
            await first.ended.wait()
            await second.ended.wait()
            await generation.wait_over()

    states = set()

    def one_end(step: int) -> None:
        assert upstream.opened == upstream.closed
        for generation in started:
            states.add(generation.state)
            assert generation.state in (State.DONE, State.FAILED, State.ABANDONED), step
            assert generation.closing_id is not None
            assert closings(generation) == 1
            assert generation.deltas()[-1][0] == generation.closing_id

    assert await cancel_at_each_step(whole, after=one_end) > 40
    assert states == {State.DONE, State.FAILED, State.ABANDONED}


async def test_a_viewer_cancelled_at_any_step_leaves_the_generation_to_the_others(
    autojump_clock: MockClock,
) -> None:
    async with open_studio(Upstream(*words(4, 0.5)).provider) as studio:
        seen: list[tuple[Generation, TextWire]] = []

        async def watch() -> None:
            generation = studio.start()
            other = studio.view(generation, wire := TextWire())
            seen.append((generation, wire))
            await view_here(studio, generation)
            await other.ended.wait()

        async def all_was_seen(step: int) -> None:
            if not seen:
                return
            generation, wire = seen.pop()
            await generation.wait_over()
            await wait_all_tasks_blocked()
            assert generation.state is State.DONE
            assert wire.text == generation.text == " w0 w1 w2 w3"
            assert wire.names[-1] == "done"
            assert closings(generation) == 1
            assert generation.viewers == 0

        assert await cancel_at_each_step(watch, after=all_was_seen) > 10


async def test_a_lone_viewer_cancelled_at_any_step_takes_the_generation_along(
    autojump_clock: MockClock,
) -> None:
    upstream = Upstream(*words(4, 0.5))
    async with open_studio(upstream.provider) as studio:
        started: list[Generation] = []
        ended = 0

        async def watch() -> None:
            started.append(studio.start())
            await view_here(studio, started[-1])

        async def it_ended(step: int) -> None:
            nonlocal ended
            if not started:
                return
            generation = started.pop()
            began = trio.current_time()
            await generation.wait_over()
            # At once where it had been viewed; else after the moment that its first viewer has.
            assert generation.state is State.DONE or trio.current_time() - began in (0.0, 10.0)
            assert closings(generation) == 1
            await wait_all_tasks_blocked()
            reasons = studio.closed
            assert sum(reasons.values()) in (ended, ended + 1)
            ended = sum(reasons.values())
            assert set(reasons) <= {CloseReason.CLIENT_DISCONNECTED, CloseReason.COMPLETED}
            assert upstream.opened == upstream.closed

        assert await cancel_at_each_step(watch, after=it_ended) > 10


async def test_who_stops_and_is_cancelled_at_any_step_has_stopped_it(autojump_clock: MockClock) -> None:
    async with open_studio(Upstream("a", 1000.0).provider) as studio:
        started: list[Generation] = []

        async def stop() -> None:
            started.append(studio.start(detach_seconds=2000))
            await trio.sleep(1)
            await studio.generations.erase(started[-1])

        stopped = 0

        async def it_is(step: int) -> None:
            nonlocal stopped
            generation = started.pop() if started else None
            if generation is None:
                return
            if generation.is_running:
                # Cancelled before it was asked to stop.
                await wait_all_tasks_blocked()
            if generation.is_running:
                await generation.stop()
            else:
                stopped += 1
            assert generation.state is State.STOPPED
            await studio.generations.erase(generation)

        await cancel_at_each_step(stop, after=it_is)
        assert stopped >= 2


async def view_here(studio: Studio, generation: Generation) -> None:
    """View `generation` in the task that calls."""
    async with trio.open_nursery() as nursery:
        inner = Studio(studio.services, studio.generations, nursery)
        inner.view(generation, TextWire())
