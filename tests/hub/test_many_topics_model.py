"""Many topics on one connection, against a simple model: the list of all that was published.

A client gets each message of its topics once and in the order of ids, or was told before anything that stands
behind it; cut off wherever, it comes back with the last id it has, and no loss goes untold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import hypothesis.strategies as st
import trio
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from trio.testing import MockClock, wait_all_tasks_blocked

from server.hub import (
    After,
    Cursor,
    Draft,
    Earliest,
    Gap,
    HistoryLimits,
    Live,
    MemoryBroker,
    Message,
    Overflow,
    ReplayLimits,
    Rewind,
    Selection,
    Start,
    TopicRules,
    TopicsFullError,
)
from server.hub.broker import Replay
from server.lifecycle import CloseReason
from server.transport import Sent
from tests.hub.readers import Sink, Subscriber, full_form
from tests.support.hubs import open_hub

TOPICS = ("a.1", "a.2", "b", "b.1", "rooms/a.1")
ENTRIES = (*TOPICS, "a.*", "b*", "*", "never.*", "never")
KEPT = 4
CAPACITY = 3
SECONDS = 60.0
REPLAYED = 9
PAGE = 3
ANSWERS = st.lists(st.sampled_from([Sent.SENT, Sent.KEPT, Sent.BUSY]), min_size=1, max_size=5)
POLICIES = [Overflow.DISCONNECT, Overflow.DROP_OLDEST, Overflow.LATEST, Overflow.BLOCK]


FOREIGN = Cursor("foreign", 1)


class SmallPages(MemoryBroker):
    """Reads pages of `PAGE` messages, whatever is asked for: page boundaries come to stand anywhere."""

    def open_replay(self, selection: Selection, start: Start) -> Any:
        return _SmallPages(super().open_replay(selection, start))


class _SmallPages:
    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self.start = replay.start
        self.needed = replay.needed

    async def read(self, limit: int) -> list[Message | Gap]:
        items = await self._replay.read(min(limit, PAGE))
        assert sum(isinstance(item, Message) for item in items) <= PAGE
        return items


@dataclass
class Told:
    """What a client was told of a topic since the last message of it: how many are missing, and why."""

    missed: int | None = 0
    reasons: set[str] = field(default_factory=set)


@dataclass(eq=False)
class Client:
    """A connection, and what the model makes of what arrived."""

    subscriber: Subscriber
    selection: Selection
    begin: dict[str, int]
    """Up to which offset the client has, or does not want, each topic."""
    unknown: set[str]
    """Topics of which the number that the client misses cannot be known."""
    read: int = 0
    last: int = 0
    told: dict[str, Told] = field(default_factory=lambda: defaultdict(Told))


class ManyTopics(RuleBasedStateMachine):
    """All rules run in one virtual time; neither hub nor subscriptions hold anything of a run."""

    clients = Bundle("clients")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.log: dict[str, list[tuple[int, float]]] = {topic: [] for topic in TOPICS}
        self.purged: dict[str, int] = dict.fromkeys(TOPICS, 0)
        self.open: list[Client] = []
        self.forgot = False
        self.purges = 0

    @initialize(policies=st.lists(st.sampled_from(POLICIES), min_size=5, max_size=5), few=st.booleans())
    def start(self, policies: list[Overflow], few: bool) -> None:
        self.policies = dict(zip(TOPICS, policies, strict=True))

        def rules_of(topic: str) -> TopicRules:
            overflow = self.policies.get(topic, Overflow.DISCONNECT)
            return TopicRules(CAPACITY, 2**20, overflow, HistoryLimits(messages=KEPT, seconds=SECONDS))

        self.hub = open_hub(
            rules_of=rules_of,
            broker=SmallPages,
            replay=ReplayLimits(messages=REPLAYED),
            max_topics=3 if few else 100,
            block_seconds=0.0,
        )

    def run(self, fn: Callable[..., Coroutine[Any, Any, object]], *args: object) -> None:
        clock = MockClock()
        clock.jump(self.now)
        trio.run(fn, *args, clock=clock)

    # The model

    def kept(self, topic: str) -> list[int]:
        newest = self.log[topic][-KEPT:]
        return [offset for offset, at in newest if at >= self.now - SECONDS and offset > self.purged[topic]]

    def gone_to(self, topic: str) -> int:
        kept = self.kept(topic)
        gone = [offset for offset, _ in self.log[topic] if not kept or offset < kept[0]]
        return gone[-1] if gone else 0

    def is_latest(self, topic: str) -> bool:
        return self.policies[topic] is Overflow.LATEST

    def look(self, client: Client) -> None:
        """Follow what has arrived at `client`, item by item: each could have been its last."""
        lines = client.subscriber.wire[client.read :]
        client.read += len(lines)
        for line in lines:
            kind, offset, *rest = line.split(" ")
            assert int(offset) >= client.last, "ids go back"
            client.last = int(offset)
            if kind == "message":
                self.look_at_message(client, rest[0], int(offset))
            else:
                assert kind == "gap"
                self.look_at_gap(client, rest[0], rest[1])
            self.nothing_before_is_untold(client)

    def look_at_message(self, client: Client, topic: str, offset: int) -> None:
        assert topic in client.selection
        assert offset > client.begin[topic], "doubled"
        assert offset in [each for each, _ in self.log[topic]]
        self.settle(client, topic, offset)
        client.begin[topic] = offset

    def look_at_gap(self, client: Client, reason: str, topics: str) -> None:
        for each in topics.split(","):
            entry, count = each.split("=")
            named = [topic for topic in TOPICS if topic in Selection.of([entry])]
            assert entry in client.selection or entry in set(client.selection)
            for topic in named:
                told = client.told[topic]
                told.reasons.add(reason)
                if count == "None" or told.missed is None:
                    told.missed = None
                else:
                    assert int(count) > 0 or reason == "purged"
                    told.missed += int(count)

    def missing(self, client: Client, topic: str, before: int) -> list[int]:
        return [offset for offset, _ in self.log[topic] if client.begin[topic] < offset < before]

    def settle(self, client: Client, topic: str, before: int) -> None:
        """What was told of `topic` is what is missing of it before this offset, and had to be missing."""
        told = client.told.pop(topic, Told())
        if self.is_latest(topic):
            return
        missing = self.missing(client, topic, before)
        if told.missed is None:
            assert "epoch" in told.reasons or self.forgot or (missing and topic in client.unknown)
        else:
            assert told.missed == len(missing), (topic, told, missing)
        if told.reasons <= {"evicted", "purged", "epoch"}:
            assert not set(missing) & set(self.kept(topic)), "what is kept was not given"
        if told.reasons == {"overflow"} and not self.purged[topic]:
            # A gap that says that the topic was emptied takes a place as well.
            assert not set(missing) & {offset for offset, _ in self.log[topic][-CAPACITY:]}

    def nothing_before_is_untold(self, client: Client) -> None:
        for topic in client.begin:
            missed = client.told[topic].missed
            if missed is None or self.is_latest(topic):
                continue
            # Of what is gone beyond that, coming back with this id tells it: how many, it cannot know.
            if self.gone_to(topic) <= client.last:
                assert len(self.missing(client, topic, client.last + 1)) <= missed, f"untold: {topic}"

    # What happens

    @rule(topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=7))
    def publish(self, topics: list[str]) -> None:
        async def run() -> None:
            before = set(self.hub.topic_names())
            try:
                messages = await self.hub.publish([Draft(topic, "x") for topic in topics])
            except TopicsFullError:
                return
            finally:
                self.forgot |= not before <= set(self.hub.topic_names())
            for message in messages:
                self.log[message.topic].append((message.id.offset, self.now))

        if any(self.policies[topic] is Overflow.BLOCK for topic in topics):
            # No more of one that blocks than may wait.
            topics = list(dict.fromkeys(topics))
        self.run(run)

    @rule(
        target=clients,
        entries=st.lists(st.sampled_from(ENTRIES), min_size=1, max_size=4),
        how=st.sampled_from(["live", "earliest", "rewind", "after", "after", "foreign"]),
        data=st.data(),
    )
    def connect(self, entries: list[str], how: str, data: st.DataObject) -> Client | None:
        return self.subscribe(Selection.of(entries), how, data)

    @rule(
        target=clients,
        client=consumes(clients),
        entries=st.none() | st.lists(st.sampled_from(ENTRIES), min_size=1, max_size=4),
        data=st.data(),
    )
    def cut_and_reconnect(
        self, client: Client | None, entries: list[str] | None, data: st.DataObject
    ) -> Client | None:
        """With the last id it has, or the one it began with; at times to other topics."""
        if client is None:
            return None
        self.leave(client)
        selection = Selection.of(entries) if entries else client.selection
        still_foreign = client.subscriber.subscription.start == FOREIGN and not client.read
        return self.subscribe(selection, "foreign" if still_foreign else client.last, data)

    def subscribe(self, selection: Selection, how: str | int, data: st.DataObject) -> Client | None:
        head = self.hub.head
        topics = [topic for topic in TOPICS if topic in selection]
        gone = {topic: self.gone_to(topic) for topic in topics}
        begin = dict(gone)
        unknown: set[str] = set()
        start: Start
        if how == "live":
            start = Live()
            for topic in topics:
                kept = self.kept(topic)
                begin[topic] = kept[-1] - 1 if kept and self.is_latest(topic) else head.offset
        elif how == "rewind":
            start = Rewind(count := data.draw(st.integers(1, KEPT)))
            for topic in topics:
                begin[topic] = (
                    max([*self.kept(topic)[-count:][:1], 1]) - 1 if self.kept(topic) else gone[topic]
                )
        elif how in ("earliest", "foreign"):
            start = Earliest() if how == "earliest" else After(FOREIGN)
        else:
            offset = how if isinstance(how, int) else data.draw(st.integers(0, head.offset))
            start = After(Cursor(head.epoch, offset))
            for topic in topics:
                begin[topic] = offset
                first = self.log[topic][0][0] if self.log[topic] else offset
                if first <= offset < gone[topic]:
                    unknown.add(topic)
        answers = data.draw(
            st.lists(st.sampled_from([Sent.SENT, Sent.KEPT, Sent.BUSY]), min_size=1, max_size=5)
        )
        made: list[Subscriber] = []

        async def run() -> None:
            before = set(self.hub.topic_names())
            try:
                made.append(
                    Subscriber(self.hub, Sink(cycle(answers), form=full_form), *selection, start=start)
                )
            except TopicsFullError:
                return
            finally:
                self.forgot |= not before <= set(self.hub.topic_names())
            made[0].subscription.__enter__()

        self.run(run)
        if not made:
            return None
        start_id = made[0].subscription.start
        began = 0 if start_id == FOREIGN else start_id.offset
        # Cut now, it would come back with this.
        assert all(offset > began for topic in topics for offset in self.wanted(topic, begin[topic]))
        client = Client(made[0], selection, begin, unknown, last=began)
        self.open.append(client)
        return client

    def wanted(self, topic: str, begin: int) -> list[int]:
        kept = self.kept(topic)
        return [offset for offset in (kept[-1:] if self.is_latest(topic) else kept) if offset > begin]

    @rule(client=clients)
    def read_once(self, client: Client | None) -> None:
        async def run() -> None:
            assert client is not None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(write_once, client.subscriber)
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()

        if client in self.open:
            self.run(run)
            self.look(client)

    @rule(client=clients)
    def read_all(self, client: Client | None) -> None:
        if client not in self.open:
            return
        assert client is not None
        self.run(client.subscriber.write_what_waits)
        self.look(client)
        if client.subscriber.closed:
            return
        head = self.hub.head.offset
        for topic in client.begin:
            if self.is_latest(topic):
                kept = self.kept(topic)
                assert not kept or client.begin[topic] >= kept[-1], "the newest was not given"
            else:
                self.settle(client, topic, head + 1)
                client.begin[topic] = max(client.begin[topic], head)

    @rule(client=consumes(clients))
    def leave(self, client: Client | None) -> None:
        if client in self.open:
            assert client is not None
            client.subscriber.subscription.__exit__(None, None, None)
            self.open.remove(client)

    @rule(seconds=st.sampled_from([1.0, 20.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(topic=st.sampled_from(TOPICS))
    def purge(self, topic: str) -> None:
        async def run() -> None:
            self.purges += 1
            if self.hub.purge(topic) and self.log[topic]:
                self.purged[topic] = self.log[topic][-1][0]

        self.run(run)

    # What always holds

    @invariant()
    def what_is_counted_is_what_waits(self) -> None:
        total = 0
        for client in self.open:
            subscription = client.subscriber.subscription
            lanes = subscription._lanes.values()
            assert subscription._queued == sum(lane.count for lane in lanes)
            assert subscription._queued_bytes == sum(lane.size for lane in lanes)
            assert all(lane.count <= CAPACITY and lane.has_any() for lane in lanes)
            total += subscription._queued_bytes + subscription._in_flight
        if hasattr(self, "hub"):
            assert self.hub.buffered_bytes == total

    @invariant()
    def only_who_fell_behind_was_ended(self) -> None:
        for client in self.open:
            if client.subscriber.closed:
                assert client.subscriber.closed == [CloseReason.SLOW_CONSUMER]
                assert any(
                    self.policies[topic] in (Overflow.DISCONNECT, Overflow.BLOCK)
                    and len(self.log[topic]) + self.purges > CAPACITY
                    for topic in client.begin
                )

    def teardown(self) -> None:
        for client in list(self.open):
            self.leave(client)
        assert (self.hub.subscriptions, self.hub.buffered_bytes) == (0, 0)


async def write_once(subscriber: Subscriber) -> None:
    try:
        await subscriber.write_once()
    except StopAsyncIteration:
        return


TestManyTopics = ManyTopics.TestCase
TestManyTopics.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
