"""The hub against a simple model: a list of what was published, and a place in it for each subscriber."""

from __future__ import annotations

from dataclasses import dataclass

import hypothesis.strategies as st
import trio
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from trio.testing import MockClock

from server.hub import Cursor, HistoryLimits, Hub, HubLimits, MemoryBroker
from server.lifecycle import CloseReason
from server.transport import Sent
from tests.hub.readers import Sink, Subscriber, drafts

KEPT = 5
CAPACITY = 8
SECONDS = 60.0


@dataclass
class Expected:
    """A subscriber, and what it has to receive from now on."""

    subscriber: Subscriber
    wanted: list[str]
    queued: int = 0
    writing: int = 0
    ended: bool = False

    def offer(self, text: str) -> None:
        if self.ended:
            return
        if self.queued + self.writing == CAPACITY:
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
        self.hub = Hub(
            MemoryBroker(HistoryLimits(messages=KEPT, seconds=SECONDS)), HubLimits(capacity=CAPACITY)
        )

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
            after: Cursor | None = None
            wanted = [text for text, _, _ in kept]
            if how == "live":
                wanted = []
            elif how == "foreign":
                after = Cursor("foreign", 3)
                wanted = ["gap epoch", *wanted]
            elif how == "after" and self.log:
                index = data.draw(st.integers(0, len(self.log) - 1))
                after = self.log[index][1]
                missing = len(self.log) - 1 - index
                lost = missing > len(wanted)
                wanted = ["gap evicted", *wanted] if lost else wanted[len(wanted) - missing :]
            subscriber = Subscriber(self.hub, Sink(then=Sent.BUSY), after=after, catch_up=how != "live")
            subscriber.subscription.__enter__()
            made.append(Expected(subscriber, wanted))
            if how != "live":
                # Read up to the live end: from there on everything is queued.
                while subscriber.subscription._catching_up:
                    with trio.move_on_after(0) as scope:
                        scope.cancel()
                        await subscriber.write_once()
                assert subscriber.wire == wanted

        self.step(run)
        self.live += made
        return made[0]

    @rule(each=subscribers)
    def read(self, each: Expected) -> None:
        async def run() -> None:
            if each.queued:
                await each.subscriber.write_once()
                each.queued, each.writing = 0, each.queued

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
