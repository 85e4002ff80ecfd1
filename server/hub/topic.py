"""A topic as the hub has it: its rules, its live subscriptions, and the pass that tells them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import trio

from ..transport import Sent
from .message import Burst, Gap, Message, Notice
from .rules import TopicRules
from .subscription import Subscription

Group = dict[Subscription, None]
"""Subscriptions in the order they came.  A dict for its order and its cheap removal; the values say nothing.
"""


class Topic:
    """One topic of this process."""

    __slots__ = ("direct", "groups", "name", "publishing", "readers", "rules", "tap", "watched")

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
        self.tap: Callable[[Message], object] | None = None
        self.publishing = trio.Lock()
        """Held while a publisher waits for room, where the topic blocks."""

    def is_unused(self) -> bool:
        """Whether nobody would miss it, as far as is known here."""
        return not self.readers and self.watched is None and self.tap is None

    def release(self) -> None:
        """One of `readers` lets go."""
        self.readers -= 1

    def tell_watched(self) -> None:
        """Somebody has come: wake who waits for that."""
        if self.watched is not None:
            self.watched.set()
            self.watched = None

    @property
    def watchers(self) -> int:
        """How many live subscriptions it has."""
        return len(self.direct) + sum(map(len, self.groups))

    def subscriptions(self) -> Iterator[Subscription]:
        """The live subscriptions as they are now: one that ends meanwhile may leave."""
        yield from tuple(self.direct)
        for group in self.groups:
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

    async def wait_room(self, count: int, size: int) -> None:
        """Wait until every live subscription has room for `count` messages of `size` bytes together."""
        waited = True
        while waited:
            waited = False
            for subscription in self.subscriptions():
                if not subscription.has_room(self.name, count, size):
                    waited = True
                    await subscription.wait_room(self.name, count, size)
