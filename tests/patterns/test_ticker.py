"""One ticker: everything kept is looked at each time, nothing costs a wakeup."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from server.patterns import Ticker
from tests.support.cancel import cancel_at_each_step


async def test_what_is_kept_is_looked_at_at_each_tick(autojump_clock: MockClock) -> None:
    looked: list[tuple[str, float]] = []
    ticker = Ticker[str](2.0, lambda thing: looked.append((thing, trio.current_time())))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticker.run)
        await trio.sleep(100)
        start = trio.current_time()
        with ticker.keep("a"):
            await trio.sleep(3)
            with ticker.keep("b"):
                await trio.sleep(2)
            await trio.sleep(2)
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert [(thing, at - start) for thing, at in looked] == [("a", 2), ("a", 4), ("b", 4), ("a", 6)]


async def test_with_nothing_to_look_at_it_sleeps(autojump_clock: MockClock) -> None:
    steps = 0

    class Counter(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            nonlocal steps
            steps += "Ticker" in task.name

    ticker = Ticker[str](1.0, lambda _: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticker.run)
        with ticker.keep("a"):
            await trio.sleep(2.5)
        await trio.sleep(1)
        trio.lowlevel.add_instrument(Counter())
        await trio.sleep(100)
        assert steps == 0
        with ticker.keep("b"):
            await trio.sleep(2.5)
        assert steps == 3
        nursery.cancel_scope.cancel()


async def test_cancelled_at_any_step_it_keeps_nothing(autojump_clock: MockClock) -> None:
    ticker = Ticker[str](1.0, lambda _: None)

    async def be_kept() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ticker.run)
            for name in ("a", "b"):
                with ticker.keep(name):
                    await trio.sleep(1.5)
            nursery.cancel_scope.cancel()

    def nothing_kept(_: int) -> None:
        assert not ticker.kept

    assert await cancel_at_each_step(be_kept, after=nothing_kept) > 3
