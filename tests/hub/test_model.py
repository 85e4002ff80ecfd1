"""The hub against a simple model: a list of what was published, and a place in it for each subscriber."""

from __future__ import annotations

from dataclasses import dataclass

import hypothesis.strategies as st
import trio
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from trio.testing import MockClock

from server.hub import After, Cursor, Earliest, HistoryLimits, Live, Start
from server.lifecycle import CloseReason
from server.transport import Sent
from tests.hub.readers import Sink, Subscriber, drafts
from tests.support.hubs import open_hub

KEPT = 5
CAPACITY = 8
SECONDS = 60.0


@dataclass
class Expected:
    """A subscriber, and what it has to receive from now on."""

    subscriber: Subscriber
    wanted: list[str]
    queued: int = 0
    ended: bool = False

    def offer(self, text: str) -> None:
        if self.ended:
            return
        if self.queued == CAPACITY:
            self.ended = True
            return
        self.queued += 1
        self.wanted.append(text)


class HubMachine(RuleBasedStateMachine):
    """All rules run in one Trio run that is stepped from outside: each a coroutine on the same clock."""

    subscribers = Bundle("subscribers")

    def __init__(self) -> None:
        super().__init__()
        self.offset = 0.0
        self.log: list[tuple[str, Cursor, float]] = []
        self.live: list[Expected] = []
        self.hub = open_hub(HistoryLimits(messages=KEPT, seconds=SECONDS), capacity=CAPACITY)

    def step(self, fn: object, *args: object) -> None:
        """Run `fn` at the machine's time.  Neither hub nor subscriptions hold anything of a run."""

        clock = MockClock()
        clock.jump(self.offset)
        trio.run(fn, *args, clock=clock)  # type: ignore[arg-type]

    def kept(self) -> list[tuple[str, Cursor, float]]:
        return [each for each in self.log[-KEPT:] if each[2] >= self.offset - SECONDS]

    @rule(count=st.integers(1, 4))
    def publish(self, count: int) -> None:
        async def run() -> None:
            texts = [str(len(self.log) + n) for n in range(count)]
            for message in await self.hub.publish(drafts(*texts)):
                self.log.append((message.data, message.id, self.offset))
                for each in self.live:
                    each.offer(message.data)

        self.step(run)

    @rule(target=subscribers, how=st.sampled_from(["live", "earliest", "after", "foreign"]), data=st.data())
    def subscribe(self, how: str, data: st.DataObject) -> Expected:
        made: list[Expected] = []

        async def run() -> None:
            kept = self.kept()
            start: Start = Live() if how == "live" else Earliest()
            wanted = [text for text, _, _ in kept]
            if how == "live":
                wanted = []
            elif how == "foreign":
                start = After(Cursor("foreign", 3))
                wanted = ["gap epoch", *wanted]
            elif how == "after" and self.log:
                index = data.draw(st.integers(0, len(self.log) - 1))
                start = After(self.log[index][1])
                missing = len(self.log) - 1 - index
                lost = missing > len(wanted)
                wanted = ["gap evicted", *wanted] if lost else wanted[len(wanted) - missing :]
            subscriber = Subscriber(self.hub, Sink(then=Sent.BUSY), start=start)
            subscriber.subscription.__enter__()
            made.append(Expected(subscriber, wanted))
            if how != "live":
                # Read up to the live end: from there on everything is queued.
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(subscriber.run)
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.cancel_scope.cancel()
                assert subscriber.wire == wanted

        self.step(run)
        self.live += made
        return made[0]

    @rule(each=subscribers)
    def read(self, each: Expected) -> None:
        async def run() -> None:
            if each.queued:
                await each.subscriber.write_once()
                each.queued = 0

        self.step(run)
        assert each.subscriber.wire == each.wanted

    @rule(each=consumes(subscribers))
    def leave(self, each: Expected) -> None:
        each.subscriber.subscription.__exit__(None, None, None)
        self.live.remove(each)

    @rule(seconds=st.sampled_from([1.0, 20.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.offset += seconds

    @invariant()
    def what_is_buffered_is_what_is_kept(self) -> None:
        async def run() -> None:
            info = self.hub.topic("t")
            kept = self.kept()
            assert (info.buffered if info else 0) == len(kept)
            if info and kept:
                assert (info.first, info.last) == (kept[0][1], kept[-1][1])

        self.step(run)

    @invariant()
    def only_who_fell_behind_was_ended(self) -> None:
        for each in self.live:
            assert each.subscriber.closed == [CloseReason.SLOW_CONSUMER] * each.ended

    def teardown(self) -> None:
        for each in self.live:
            each.subscriber.subscription.__exit__(None, None, None)
        assert (self.hub.subscriptions, self.hub.buffered_bytes) == (0, 0)


TestHub = HubMachine.TestCase
TestHub.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
