"""Who wants no stream: a viewer like any other, who leaves nothing however it ends."""

from __future__ import annotations

from functools import partial

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.generations import Generation, ProviderError, State, watch_whole
from server.lifecycle import CloseReason
from tests.support.cancel import cancel_at_each_step
from tests.support.generating import HEAD, Studio, TextWire, Upstream, open_studio, words


async def watch(studio: Studio, generation: Generation, gone_after: float = float("inf")) -> str | None:
    answer = await watch_whole(studio.services, HEAD, generation, partial(trio.sleep, gone_after))
    return None if answer is None else answer.text


async def test_it_waits_for_the_whole(autojump_clock: MockClock) -> None:
    async with open_studio(Upstream(*words(3, 0.5)).provider) as studio:
        assert await watch(studio, studio.start()) == " w0 w1 w2"
        assert studio.closed == {CloseReason.COMPLETED: 1}


async def test_it_is_there_at_once_where_it_has_ended(autojump_clock: MockClock) -> None:
    async with open_studio(Upstream("a", ProviderError("provider_failed")).provider) as studio:
        generation = studio.start()
        await generation.wait_over()
        assert await watch(studio, generation) == "a"
        assert studio.closed == {CloseReason.FAILED: 1}


async def test_who_goes_takes_it_along_unless_others_watch(autojump_clock: MockClock) -> None:
    async with open_studio(Upstream(*words(3, 0.5)).provider) as studio:
        alone = studio.start()
        assert await watch(studio, alone, 0.7) is None
        await alone.wait_over()
        assert alone.state is State.ABANDONED
        watched = studio.start()
        studio.view(watched, TextWire())
        assert await watch(studio, watched, 0.7) is None
        await watched.wait_over()
        assert watched.state is State.DONE
        await wait_all_tasks_blocked()
        assert studio.closed == {CloseReason.CLIENT_DISCONNECTED: 2, CloseReason.COMPLETED: 1}


async def test_what_is_erased_is_told_as_far_as_it_came(autojump_clock: MockClock) -> None:
    async with open_studio(Upstream(*words(3, 0.5)).provider) as studio:
        generation = studio.start()
        async with trio.open_nursery() as nursery:

            async def erase() -> None:
                await trio.sleep(0.7)
                await studio.generations.erase(generation)

            nursery.start_soon(erase)
            assert await watch(studio, generation) == " w0"
        assert studio.closed == {CloseReason.CLIENT_STOPPED: 1}


async def test_a_drain_lets_it_become_whole_and_an_operator_sends_it_away(autojump_clock: MockClock) -> None:
    for reason, text, closed in (
        (CloseReason.SERVER_DRAINING, " w0 w1 w2", CloseReason.COMPLETED),
        (CloseReason.ADMIN, None, CloseReason.ADMIN),
    ):
        async with open_studio(Upstream(*words(3, 0.5)).provider) as studio:
            async with trio.open_nursery() as nursery:

                async def end() -> None:
                    await trio.sleep(0.7)
                    for stream in list(studio.services.registry.streams.values()):
                        stream.end(reason)  # noqa: B023 - it ends within the round

                nursery.start_soon(end)
                assert await watch(studio, studio.start()) == text
            assert studio.closed == {closed: 1}


async def test_cancelled_at_any_step_it_leaves_nothing(autojump_clock: MockClock) -> None:
    upstream = Upstream(*words(3, 0.5))
    async with open_studio(upstream.provider) as studio:
        started: list[Generation] = []

        async def whole() -> None:
            started.append(studio.start())
            await watch(studio, started[-1])

        async def it_ended(step: int) -> None:
            if started:
                generation = started.pop()
                await generation.wait_over()
                assert generation.viewers == 0
                assert upstream.opened == upstream.closed
                assert studio.services.registry.streams == {}

        assert await cancel_at_each_step(whole, after=it_ended) > 5
