"""cancel_at_each_step finds the one await that leaks, and lets correct code pass."""

from __future__ import annotations

import pytest
import trio

from tests.support.cancel import cancel_at_each_step


async def test_counts_the_entry_and_both_sides_of_every_yield() -> None:
    async def three_checkpoints() -> None:
        for _ in range(3):
            await trio.lowlevel.checkpoint()

    assert await cancel_at_each_step(three_checkpoints) == 1 + 2 * 3


async def test_without_a_checkpoint_there_is_only_the_entry() -> None:
    async def nothing() -> None:
        pass

    assert await cancel_at_each_step(nothing) == 1


async def test_after_is_called_with_each_step_and_the_final_run() -> None:
    seen: list[int] = []

    async def awaited(step: int) -> None:
        await trio.lowlevel.checkpoint()
        seen.append(step)

    steps = await cancel_at_each_step(trio.lowlevel.checkpoint, after=seen.append)
    assert seen == [1, 2, 3, 4] == list(range(1, steps + 2))
    seen.clear()
    await cancel_at_each_step(trio.lowlevel.checkpoint, after=awaited)
    assert seen == [1, 2, 3, 4]


async def test_each_stretch_between_two_checkpoints_is_reached_by_some_cancellation() -> None:
    reached: set[int] = set()

    async def walk() -> None:
        here = 0
        try:
            for here in range(5):  # noqa: B007
                await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            reached.add(here)
            raise

    await cancel_at_each_step(walk)
    assert reached == {0, 1, 2, 3, 4}


async def test_finds_an_item_lost_between_taking_and_keeping_it() -> None:
    taken: list[str] = []
    kept: list[str] = []

    async def careless() -> None:
        taken.clear()
        kept.clear()
        send, receive = trio.open_memory_channel[str](1)
        with send, receive:
            send.send_nowait("item")
            taken.append(await receive.receive())
            await trio.lowlevel.checkpoint()
            kept.append("item")

    def nothing_lost(step: int) -> None:
        assert kept == taken

    with pytest.raises(AssertionError) as caught:
        await cancel_at_each_step(careless, after=nothing_lost)
    assert any("step" in note for note in caught.value.__notes__)


async def test_a_blocked_task_is_interrupted_and_also_cancelled_after_it_was_served() -> None:
    outcomes: set[str] = set()

    async def exchange() -> None:
        send, receive = trio.open_memory_channel[str](0)

        async def take() -> None:
            try:
                await receive.receive()
                outcomes.add("served")
                await trio.lowlevel.checkpoint()
            except trio.Cancelled:
                outcomes.add("interrupted")
                raise

        with send, receive:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(take)
                await trio.testing.wait_all_tasks_blocked()
                await send.send("item")

    await cancel_at_each_step(exchange)
    assert outcomes == {"served", "interrupted"}


async def test_tasks_in_nurseries_count_and_shielded_cleanup_finishes() -> None:
    opened = closed = 0

    async def worker() -> None:
        nonlocal opened, closed
        opened += 1
        try:
            await trio.lowlevel.checkpoint()
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
                closed += 1

    async def two_workers() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker)
            nursery.start_soon(worker)

    def all_closed(step: int) -> None:
        assert opened == closed

    assert await cancel_at_each_step(two_workers, after=all_closed) > 12
    assert opened > 0


async def test_is_the_same_each_time() -> None:
    async def racing() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(trio.lowlevel.checkpoint)

    assert len({await cancel_at_each_step(racing) for _ in range(3)}) == 1


async def test_tasks_of_the_caller_do_not_count(nursery: trio.Nursery) -> None:
    async def busy() -> None:
        for _ in range(1000):
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as outer:
        nursery.start_soon(busy)
        outer.start_soon(busy)
        assert await cancel_at_each_step(trio.lowlevel.checkpoint) == 3
        outer.cancel_scope.cancel()
        nursery.cancel_scope.cancel()


async def test_another_exception_comes_out_with_the_step_in_a_note() -> None:
    def break_down() -> None:
        raise KeyError("broken cleanup")

    async def breaks_when_cancelled() -> None:
        try:
            await trio.lowlevel.checkpoint()
        finally:
            break_down()

    with pytest.raises(KeyError) as caught:
        await cancel_at_each_step(breaks_when_cancelled)
    assert caught.value.__notes__ == ["while cancelled at step 1"]


async def test_gives_up_at_the_limit() -> None:
    async def endless() -> None:
        for _ in range(1000):
            await trio.lowlevel.checkpoint()

    with pytest.raises(AssertionError, match="after 20 steps"):
        await cancel_at_each_step(endless, limit=20)


async def test_a_cancellation_from_outside_passes_through() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await cancel_at_each_step(trio.sleep_forever)
    assert scope.cancelled_caught
