"""A topic as the hub has it: its rules, its live subscriptions, and the pass that tells them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import trio

from ..transport import Sent
from .message import Burst, Gap, Message, Notice, in_bursts
from .rules import TopicRules
from .subscription import Subscription

Group = dict[Subscription, None]
"""Subscriptions in the order they came.  A dict for its order and its cheap removal; the values say nothing.
"""


class Topic:
    """One topic of this process."""

    __slots__ = ("direct", "groups", "name", "publishing", "readers", "rules", "tap", "unwatched", "watched")

    def __init__(self, name: str, rules: TopicRules) -> None:
        self.name = name
        self.rules = rules
        self.readers = 0
        """Who keeps it from being forgotten: open subscriptions that named it, those that still catch up
        among them, and publishers that wait.
        """
        self.direct: Group = {}
        """Live subscriptions that named it."""
        self.groups: list[Group] = []
        """Live subscriptions by each pattern that stands for it."""
        self.watched: trio.Event | None = None
        self.unwatched: trio.Event | None = None
        self.tap: Callable[[Message], object] | None = None
        self.publishing = trio.Lock()
        """Held while a publisher waits for room, where the topic blocks."""

    def is_unused(self) -> bool:
        """Whether nobody would miss it, as far as is known here."""
        return not self.readers and self.watched is None and self.unwatched is None and self.tap is None

    def release(self) -> None:
        """One of `readers` lets go."""
        self.readers -= 1

    def tell_watched(self) -> None:
        """Somebody has come: wake who waits for that."""
        if self.watched is not None:
            self.watched.set()
            self.watched = None

    def tell_unwatched(self) -> None:
        """Somebody has left: wake who waits for the last one to."""
        if self.unwatched is not None and not self.watchers:
            self.unwatched.set()
            self.unwatched = None

    @property
    def watchers(self) -> int:
        """How many live subscriptions it has."""
        return len(self.direct) + sum(map(len, self.groups))

    def subscriptions(self) -> Iterator[Subscription]:
        """The live subscriptions as they are now: one that ends meanwhile may leave."""
        yield from tuple(self.direct)
        # A copy of these too: the last one of a pattern that leaves takes its group along.
        for group in tuple(self.groups):
            yield from tuple(group)

    def tell(self, item: Message | Burst | Notice | Gap, but: Collection[Subscription] = ()) -> int:
        """One pass over the subscriptions, `but` left out; how many took it.  Awaits nothing."""
        told = 0
        form, frame = None, b""
        # As bare as it can be: this is where the time goes with many who listen.
        for subscription in self.subscriptions() if self.groups else tuple(self.direct):
            if subscription in but:
                continue
            sent = None
            if subscription.idle:
                if subscription.form is not form:
                    form = subscription.form
                    frame = item.frame(form)
                sent = subscription.try_send(frame)
                if sent is Sent.SENT:
                    subscription.touched = True
                    told += 1
                    continue
            if subscription.go_on(self.name, self.rules, item, sent):
                told += 1
        return told

    async def wait_room(self, count: int, size: int) -> bool:
        """Wait until every live subscription has room for `count` messages of `size` bytes together; whether
        one had not.
        """
        waited = False
        while any([await self._wait_room_in(each, count, size) for each in self.subscriptions()]):
            waited = True
        return waited

    async def _wait_room_in(self, subscription: Subscription, count: int, size: int) -> bool:
        if subscription.has_room(self.name, count, size):
            return False
        await subscription.wait_room(self.name, count, size)
        return True


def tell_across(topics: Mapping[str, Topic], messages: Sequence[Message]) -> int:
    """One pass with `messages` of several topics; how many were taken, over all subscriptions.

    Message by message, a batch whose topics take turns would be a write for each message and subscription,
    in one step: seconds in which nothing else runs.  So subscriptions to the same of these topics share
    bursts of them, and those of one set are let go before the next are made.  They are told burst by burst,
    as of a single topic: while others have theirs, a reader that keeps up takes what it was sent.
    """
    heard: dict[Subscription, list[str]] = {}
    for name, topic in topics.items():
        for subscription in topic.subscriptions():
            heard.setdefault(subscription, []).append(name)
    audiences: dict[tuple[str, ...], list[Subscription]] = {}
    for subscription, names in heard.items():
        audiences.setdefault(tuple(names), []).append(subscription)
    by_topic: dict[str, list[Message]] = {name: [] for name in topics}
    for message in messages:
        by_topic[message.topic].append(message)
    told = 0
    for selected, audience in audiences.items():
        if len(selected) == len(topics):
            wanted = messages
        else:
            wanted = sorted((each for name in selected for each in by_topic[name]), key=_offset_of)
        for burst in in_bursts(wanted):
            told += sum(_tell_burst(topics, burst, subscription) for subscription in audience)
    return told


def _offset_of(message: Message) -> int:
    return message.id.offset


def _tell_burst(topics: Mapping[str, Topic], burst: Message | Burst, subscription: Subscription) -> int:
    """Offer `burst` to one subscription; how many messages it took: all, or none where it ended."""
    messages = burst.messages if isinstance(burst, Burst) else (burst,)
    sent = subscription.try_send(burst.frame(subscription.form)) if subscription.idle else None
    if sent is Sent.SENT:
        subscription.touched = True
        taken = True
    elif sent is Sent.KEPT or sent is Sent.GONE:
        # Nothing of it is queued, so that the topic does not matter.
        topic = topics[messages[0].topic]
        taken = subscription.go_on(topic.name, topic.rules, burst, sent)
    else:
        taken = all(
            subscription.go_on(message.topic, topics[message.topic].rules, message, sent)
            for message in messages
        )
    return len(messages) if taken else 0
