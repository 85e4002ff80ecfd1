"""The hub: every topic of this process, who listens to it, and the loop that tells them.

Delivery is one synchronous pass over a topic's subscriptions.  It awaits nothing and nobody, so no
subscription, however slow, holds up another one or the publisher.  The one exception is asked for: where a
topic's overflow is `block`, a publisher waits before the pass, and no longer than the write deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

import trio

from ..lifecycle import CloseReason
from .broker import Broker, Excerpt, TopicsFullError
from .cursor import Cursor
from .message import Burst, Draft, Form, Message, Notice, in_bursts, reckoned_size
from .rules import Overflow, TopicRules
from .selection import Selection, matches
from .start import Start
from .subscription import Sink, Subscription
from .topic import Group, Topic, tell_across

_FORGET_PAUSE = 1.0
"""Seconds between two searches for topics that can be forgotten, since each looks at all of them."""


_MOST_TIMES = 16
"""A message is reckoned at less than so many times its characters, and what it costs beyond its text."""


class MessageTooLargeError(Exception):
    """A message is reckoned at more bytes than may wait for any subscription."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"a message of {size} bytes, where {limit} may wait")
        self.size = size
        self.limit = limit


class BatchTooLargeError(Exception):
    """A topic whose overflow is `block` was to take more at once than may wait for a reader: messages, or
    bytes that they are reckoned at.
    """

    def __init__(self, topic: str, capacity: int, capacity_bytes: int) -> None:
        super().__init__(f"{topic} takes {capacity} messages or {capacity_bytes} bytes at once")
        self.topic = topic
        self.capacity = capacity
        self.capacity_bytes = capacity_bytes


@dataclass(frozen=True, slots=True)
class HubLimits:
    """How many topics there may be, what all topics of one subscription may have waiting together, and how
    long a publisher waits for a subscription where the topic says so (seconds).
    """

    max_topics: int = 10_000
    max_queued: int = 10_000
    max_queued_bytes: int = 4 * 1024 * 1024
    block_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic as it stands."""

    topic: str
    subscribers: int
    first: Cursor | None
    last: Cursor | None
    buffered: int
    rules: TopicRules


class Hub:
    """Publish and subscribe.  Holds nothing open: it needs no closing."""

    def __init__(self, broker: Broker, limits: HubLimits) -> None:
        self._broker = broker
        self._limits = limits
        self._topics: dict[str, Topic] = {}
        self._groups: dict[str, Group] = {}
        self._forget_at = 0.0
        self._kept: set[str] = set()
        self.subscriptions = 0
        """How many are open, among them those that still catch up."""
        self.published = 0
        self.delivered = 0
        """Messages given to a subscription, counted for each."""
        self.dropped = 0
        """Messages that did not fit into a subscription, counted for each."""
        self.buffered_bytes = 0
        """Bytes waiting for subscribers, over all subscriptions."""
        self.max_queued = limits.max_queued
        self.max_queued_bytes = limits.max_queued_bytes
        broker.attach(self._deliver)

    @property
    def head(self) -> Cursor:
        """Behind the newest message there is."""
        return self._broker.head

    def admit(self, *names: str) -> None:
        """Make sure that there are topics `names`, forgetting some that nobody uses if need be: all or none.

        Raises:
            TopicsFullError: there is no room for them.
        """
        new = {name for name in names if name not in self._topics}
        if not new:
            return
        # What the server keeps for itself takes nobody's place.
        room = self._limits.max_topics + len(self._kept) - len(new)
        if len(self._topics) > room:
            self._forget_unused(keep=names)
        if len(self._topics) > room:
            raise TopicsFullError(*new)
        for name in new:
            self._add(name)

    def _add(self, name: str) -> Topic:
        topic = self._topics[name] = Topic(name, self._broker.rules_of(name))
        topic.groups = [group for prefix, group in self._groups.items() if matches(prefix, name)]
        return topic

    @contextmanager
    def keep(self, name: str) -> Iterator[None]:
        """As long as the block is open there is a topic `name`, whatever the limit."""
        topic = self._topics.get(name) or self._add(name)
        topic.readers += 1
        self._kept.add(name)
        try:
            yield
        finally:
            topic.readers -= 1
            self._kept.remove(name)

    # Publishing

    async def publish(self, drafts: Sequence[Draft]) -> list[Message]:
        """Publish `drafts` in order, all or nothing.  They are in history and on their way when it returns.

        A cancellation takes effect before anything is published, or not at all: what is returned was
        published.  Where a topic's overflow is `block` it waits for room first, at most `block_seconds`.

        Raises:
            TopicsFullError: a topic is new and there is no room for it.
            MessageTooLargeError: one that no subscription could have waiting.
            BatchTooLargeError: more for a topic that blocks than can ever wait.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        for draft in drafts:
            # Reckoned with care only where it may be too large: it is again when it becomes a message.
            if len(draft.data) * _MOST_TIMES > self.max_queued_bytes:
                size = reckoned_size(draft.data)
                if size > self.max_queued_bytes:
                    raise MessageTooLargeError(size, self.max_queued_bytes)
        self.admit(*(draft.topic for draft in drafts))
        blocking = {
            draft.topic for draft in drafts if self._topics[draft.topic].rules.overflow is Overflow.BLOCK
        }
        if blocking:
            return await self._publish_in_turn(sorted(blocking), drafts)
        return await self._publish_now(drafts)

    async def _publish_now(self, drafts: Sequence[Draft]) -> list[Message]:
        messages = await self._broker.publish(drafts)
        # The pass may have been long: let others run, though not be cancelled between a message and its
        # answer.
        await trio.lowlevel.cancel_shielded_checkpoint()
        return messages

    async def _publish_in_turn(self, blocking: list[str], drafts: Sequence[Draft]) -> list[Message]:
        # In one order everywhere, so that two publishers cannot wait for each other.
        topics = [self._topics[name] for name in blocking]
        wanted = []
        for topic in topics:
            sizes = [reckoned_size(draft.data) for draft in drafts if draft.topic == topic.name]
            rules = topic.rules
            if len(sizes) > rules.capacity or (len(sizes) > 1 and sum(sizes) > rules.capacity_bytes):
                raise BatchTooLargeError(topic.name, rules.capacity, rules.capacity_bytes)
            wanted.append((len(sizes), sum(sizes)))
        async with AsyncExitStack() as stack:
            for name in {draft.topic for draft in drafts}:
                # While this waits, all of them are in use: none must be forgotten.
                self._topics[name].readers += 1
                stack.callback(self._topics[name].release)
            for topic in topics:
                await stack.enter_async_context(topic.publishing)
            with trio.move_on_after(self._limits.block_seconds):
                waited = True
                while waited:
                    # What other topics queue while this waits for one takes room from another.
                    waited = False
                    for topic, (count, size) in zip(topics, wanted, strict=True):
                        waited = await topic.wait_room(count, size) or waited
            # Who has no room yet ends as too slow.
            return await self._publish_now(drafts)

    def _deliver(self, messages: Sequence[Message]) -> None:
        self.published += len(messages)
        topics = {name: self._topics[name] for name in dict.fromkeys(message.topic for message in messages)}
        for message in messages:
            tap = topics[message.topic].tap
            if tap is not None:
                tap(message)
        if len(topics) > 1:
            self.delivered += tell_across(topics, messages)
            return
        for topic in topics.values():
            for item in in_bursts(messages):
                count = len(item.messages) if isinstance(item, Burst) else 1
                self.delivered += topic.tell(item) * count

    def announce(self, topic: str, notice: Notice, *, but: Collection[Subscription] = ()) -> None:
        """Give `notice` to every subscription of `topic`, apart from `but`.  Never waits."""
        self._topics[topic].tell(notice, but)

    def tell(self, topic: str, notice: Notice, subscription: Subscription) -> None:
        """Give `notice` to one subscription of `topic`, in order with all else.  Never waits."""
        subscription.offer(topic, self._topics[topic].rules, notice)

    def purge(self, name: str) -> bool:
        """Empty the topic, and tell its subscriptions; False where it has never been used."""
        topic = self._topics.get(name)
        if topic is None:
            return False
        topic.tell(self._broker.purge(name))
        return True

    def drop(self, name: str) -> None:
        """Forget the topic with all that is kept of it, for good: its name must never be used again.

        Nobody may be subscribed to it, or keep it.
        """
        topic = self._topics.get(name)
        assert topic is None or topic.is_unused(), f"{name} is in use"
        self._topics.pop(name, None)
        self._broker.drop(name)

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
        selection: Selection,
        start: Start,
        *,
        form: Form,
        visible_heartbeat: bool = False,
        sink: Sink,
        close: Callable[[CloseReason], object],
    ) -> Subscription:
        """A subscription to `selection`, to be entered with `with`.

        Args:
            start: where it begins.
            form: how items are turned into bytes for `sink`.
            visible_heartbeat: whether heartbeats say where the stream stands.
            sink: where frames may leave without waiting, while nothing is queued.
            close: called at most a few times, with the reason, when the subscription cannot go on.  Must not
            wait.

        Raises:
            TopicsFullError: a topic is new and there is no room for it.
        """
        self.admit(*selection.names)
        return Subscription(
            self,
            selection,
            self._broker.open_replay(selection, start),
            form=form,
            visible_heartbeat=visible_heartbeat,
            sink=sink,
            close=close,
        )

    def rules(self, topic: str) -> TopicRules:
        """The rules of `topic`, used or not."""
        return self._broker.rules_of(topic)

    def open(self, subscription: Subscription) -> None:
        """See `LiveTopics`."""
        self.admit(*subscription.selection.names)
        for name in subscription.selection.names:
            self._topics[name].readers += 1
        self.subscriptions += 1

    def join(self, subscription: Subscription) -> None:
        """See `LiveTopics`."""
        for name in subscription.selection.names:
            topic = self._topics[name]
            topic.direct[subscription] = None
            topic.tell_watched()
        for prefix in subscription.selection.prefixes:
            group = self._groups.get(prefix)
            if group is None:
                group = self._groups[prefix] = {}
                for topic in self._matching(prefix):
                    topic.groups.append(group)
            group[subscription] = None
            for topic in self._matching(prefix):
                topic.tell_watched()

    def leave(self, subscription: Subscription) -> None:
        """See `LiveTopics`."""
        for name in subscription.selection.names:
            topic = self._topics[name]
            topic.direct.pop(subscription, None)
            topic.tell_unwatched()
        for prefix in subscription.selection.prefixes:
            group = self._groups.get(prefix)
            if group is None or subscription not in group:
                continue
            del group[subscription]
            if not group:
                del self._groups[prefix]
                for topic in self._matching(prefix):
                    topic.groups.remove(group)
                    topic.tell_unwatched()

    def close(self, subscription: Subscription) -> None:
        """See `LiveTopics`."""
        self.leave(subscription)
        for name in subscription.selection.names:
            self._topics[name].readers -= 1
        self.subscriptions -= 1

    def _matching(self, prefix: str) -> list[Topic]:
        return [topic for name, topic in self._topics.items() if matches(prefix, name)]

    async def wait_watched(self, topic: str) -> None:
        """Wait until somebody is subscribed to `topic`."""
        self.admit(topic)
        entry = self._topics[topic]
        if entry.watchers:
            await trio.lowlevel.checkpoint()
            return
        if entry.watched is None:
            entry.watched = trio.Event()
        await entry.watched.wait()

    async def wait_unwatched(self, topic: str) -> None:
        """Wait until nobody is subscribed to `topic`, which must be there (`keep`)."""
        entry = self._topics[topic]
        if not entry.watchers:
            await trio.lowlevel.checkpoint()
            return
        if entry.unwatched is None:
            entry.unwatched = trio.Event()
        await entry.unwatched.wait()

    # Looking

    @property
    def history_bytes(self) -> int:
        """Bytes that all histories together are reckoned at."""
        return self._broker.size

    def watchers(self, topic: str) -> int:
        """How many live subscriptions `topic` has."""
        entry = self._topics.get(topic)
        return entry.watchers if entry else 0

    def topic(self, name: str) -> TopicInfo | None:
        """The topic as it stands, None where it has never been used."""
        topic = self._topics.get(name)
        if topic is None or not self._is_used(topic):
            return None
        kept = self._broker.history(name)
        return TopicInfo(name, topic.watchers, kept.first, kept.last, kept.buffered, topic.rules)

    def topic_names(self) -> Iterator[str]:
        """Every topic in use, in no order."""
        return (name for name, topic in self._topics.items() if self._is_used(topic))

    def _is_used(self, topic: Topic) -> bool:
        return (
            topic.name not in self._kept
            or topic.watchers > 0
            or self._broker.history(topic.name).last is not None
        )

    def excerpt(self, topic: str, after: Cursor | None, before: Cursor | None, limit: int) -> Excerpt:
        """A stretch of the topic's history; see `Broker.excerpt`."""
        return self._broker.excerpt(topic, after, before, limit)

    def _forget_unused(self, keep: Collection[str]) -> None:
        if trio.current_time() < self._forget_at:
            return
        self._forget_at = trio.current_time() + _FORGET_PAUSE
        unused = [topic.name for topic in self._topics.values() if topic.is_unused()]
        for name in unused:
            if name not in keep and self._broker.forget(name):
                del self._topics[name]
