"""The hub: every topic of this process, who listens to it, and the loop that tells them.

Delivery is one synchronous pass over a topic's subscriptions.  It awaits nothing and nobody, so no
subscription, however slow, holds up another one or the publisher.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import trio

from ..lifecycle import CloseReason
from .broker import Page, TopicsFullError
from .brokers.memory import MemoryBroker
from .cursor import Cursor
from .message import Draft, Form, Message, Notice
from .subscription import Sink, Subscription

_FORGET_PAUSE = 1.0
"""Seconds between two searches for topics that can be forgotten, since each looks at all of them."""


@dataclass(frozen=True, slots=True)
class HubLimits:
    """What a subscription may have waiting, and how many topics there may be."""

    capacity: int = 1000
    capacity_bytes: int = 1024 * 1024
    max_topics: int = 10_000


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic as it stands."""

    topic: str
    subscribers: int
    first: Cursor | None
    last: Cursor | None
    buffered: int


class _Topic:
    __slots__ = ("name", "readers", "subscriptions", "tap", "watched")

    def __init__(self, name: str) -> None:
        self.name = name
        # Subscriptions that are open, among them those that still catch up and are not live.
        self.readers = 0
        # A dict for its order and its cheap removal; the values say nothing.
        self.subscriptions: dict[Subscription, None] = {}
        self.watched: trio.Event | None = None
        self.tap: Callable[[Message], object] | None = None

    def is_unused(self) -> bool:
        """Whether nobody would miss it, as far as is known here."""
        return not self.readers and self.watched is None and self.tap is None

    def tell(self, item: Message | Notice, but: Subscription | None = None) -> int:
        """One pass over the subscriptions, `but` left out; how many took it.

        Those that could not go on are dropped.
        """
        told = 0
        ended = []
        for subscription in self.subscriptions:
            if subscription is but:
                continue
            if subscription.offer(item):
                told += 1
            else:
                ended.append(subscription)
        for subscription in ended:
            del self.subscriptions[subscription]
        return told


class Hub:
    """Publish and subscribe.  Holds nothing open: it needs no closing."""

    def __init__(self, broker: MemoryBroker, limits: HubLimits) -> None:
        self._broker = broker
        self._limits = limits
        self._topics: dict[str, _Topic] = {}
        self._forget_at = 0.0
        self.published = 0
        self.delivered = 0
        """Messages given to a subscription, counted for each."""
        self.dropped = 0
        """Messages that ended a subscription since they did not fit, counted for each."""
        self.buffered_bytes = 0
        """Bytes waiting for subscribers, over all subscriptions."""
        broker.attach(self._deliver)

    def admit(self, *names: str) -> None:
        """Make sure that there are topics `names`, forgetting some that nobody uses if need be: all or none.

        Raises:
            TopicsFullError: there is no room for them.
        """
        new = {name for name in names if name not in self._topics}
        if not new:
            return
        room = self._limits.max_topics - len(new)
        if len(self._topics) > room:
            self._forget_unused(keep=names)
        if len(self._topics) > room:
            raise TopicsFullError(*new)
        self._topics.update((name, _Topic(name)) for name in new)

    # Publishing

    async def publish(self, drafts: Sequence[Draft]) -> list[Message]:
        """Publish `drafts` in order, all or nothing.  They are in history and on their way when it returns.

        A cancellation takes effect before anything is published, or not at all: what is returned was
        published.

        Raises:
            TopicsFullError: a topic is new and there is no room for it.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self.admit(*(draft.topic for draft in drafts))
        messages = await self._broker.publish(drafts)
        # The pass may have been long: let others run, though not be cancelled between a message and its
        # answer.
        await trio.lowlevel.cancel_shielded_checkpoint()
        return messages

    def _deliver(self, messages: Sequence[Message]) -> None:
        self.published += len(messages)
        for message in messages:
            topic = self._topics[message.topic]
            if topic.tap is not None:
                topic.tap(message)
            self.delivered += topic.tell(message)

    def announce(self, topic: str, notice: Notice, *, but: Subscription | None = None) -> None:
        """Give `notice` to every subscription of `topic`, apart from `but`.  Never waits."""
        self._topics[topic].tell(notice, but)

    def set_tap(self, topic: str, callback: Callable[[Message], object] | None) -> None:
        """Let `callback`, the one tap of `topic`, see each message before any subscription does; None ends
        it.

        It must neither wait nor raise.
        """
        self.admit(topic)
        self._topics[topic].tap = callback

    # Subscribing

    def subscribe(
        self,
        topic: str,
        *,
        after: Cursor | None,
        catch_up: bool,
        form: Form,
        visible_heartbeat: bool = False,
        sink: Sink,
        close: Callable[[CloseReason], object],
    ) -> Subscription:
        """A subscription to `topic`, to be entered with `with`.

        Args:
            after: with `catch_up`, the cursor behind which it begins; None for the beginning of history.
            catch_up: whether to read history first.  Otherwise it begins with what is published from now on.
            form: how items are turned into bytes for `sink`.
            visible_heartbeat: whether heartbeats say where the stream stands.
            sink: where frames may leave without waiting, while nothing is queued.
            close: called at most a few times, with the reason, when the subscription cannot go on.  Must not
            wait.

        Raises:
            TopicsFullError: the topic is new and there is no room for it.
        """
        self.admit(topic)
        return Subscription(
            self,
            topic,
            after,
            catch_up=catch_up,
            start=self._start(topic, after) if catch_up else self._broker.head,
            form=form,
            visible_heartbeat=visible_heartbeat,
            sink=sink,
            close=close,
            capacity=self._limits.capacity,
            capacity_bytes=self._limits.capacity_bytes,
        )

    def _start(self, topic: str, after: Cursor | None) -> Cursor:
        head = self._broker.head
        if after is not None and after.epoch == head.epoch and after.offset <= head.offset:
            return after
        first = self._broker.history(topic).first
        return Cursor(head.epoch, first.offset - 1) if first else head

    def rewound(self, topic: str, count: int) -> Cursor:
        """Behind which the newest `count` messages of `topic` begin; the head where nothing is kept."""
        return self._broker.rewound(topic, count)

    async def _replay(self, topic: str, after: Cursor | None, limit: int) -> Page:
        return await self._broker.replay(topic, after, limit)

    def _open(self, subscription: Subscription) -> None:
        self.admit(subscription.topic)
        self._topics[subscription.topic].readers += 1

    def _join(self, subscription: Subscription) -> None:
        topic = self._topics[subscription.topic]
        topic.subscriptions[subscription] = None
        if topic.watched is not None:
            topic.watched.set()
            topic.watched = None

    def _leave(self, subscription: Subscription) -> None:
        self._topics[subscription.topic].subscriptions.pop(subscription, None)

    def _close(self, subscription: Subscription) -> None:
        self._leave(subscription)
        self._topics[subscription.topic].readers -= 1

    async def wait_watched(self, topic: str) -> None:
        """Wait until somebody is subscribed to `topic`."""
        self.admit(topic)
        entry = self._topics[topic]
        if entry.subscriptions:
            await trio.lowlevel.checkpoint()
            return
        if entry.watched is None:
            entry.watched = trio.Event()
        await entry.watched.wait()

    # Looking

    @property
    def subscriptions(self) -> int:
        """How many subscriptions are live."""
        return sum(len(topic.subscriptions) for topic in self._topics.values())

    @property
    def history_bytes(self) -> int:
        """Bytes that all histories together are reckoned at."""
        return self._broker.size

    def watchers(self, topic: str) -> int:
        """How many subscriptions `topic` has."""
        entry = self._topics.get(topic)
        return len(entry.subscriptions) if entry else 0

    def topic(self, name: str) -> TopicInfo | None:
        """The topic as it stands, None where it has never been used."""
        if name not in self._topics:
            return None
        kept = self._broker.history(name)
        return TopicInfo(name, self.watchers(name), kept.first, kept.last, kept.buffered)

    def topic_names(self) -> Iterator[str]:
        """Every topic in use, in no order."""
        return iter(self._topics)

    def _forget_unused(self, keep: Collection[str]) -> None:
        if trio.current_time() < self._forget_at:
            return
        self._forget_at = trio.current_time() + _FORGET_PAUSE
        unused = [t.name for t in self._topics.values() if t.is_unused()]
        for name in unused:
            if name not in keep and self._broker.forget(name):
                del self._topics[name]
