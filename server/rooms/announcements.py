"""What is told of presence in a room: at once where little happens, together where much does.

Each that comes or goes is a frame to every other member: a hundred a second in a room of a thousand are a
hundred thousand writes.  So what happens within a moment after something was told waits for the end of that
moment, and leaves as one write, in which each is still a frame of its own.  Order stays among all that is
told; whoever speaks has been introduced; and a connection is told of nothing that its welcome has had.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import trio

from ..hub import Hub, Notice, Subscription
from .forms import Together

TOGETHER_SECONDS = 0.1
"""How long a moment is."""
MOST_TOGETHER = 100
"""Frames that wait at most."""


class _Waiting(NamedTuple):
    member: str | None
    notice: Notice
    but: Collection[Subscription]


class Announcements:
    """Those of one room, whose topic is `topic`."""

    def __init__(self, hub: Hub, topic: str, flush_later: Callable[[Announcements], object]) -> None:
        """`flush_later` is to have `flush` called when `TOGETHER_SECONDS` are over."""
        self._hub = hub
        self._topic = topic
        self._flush_later = flush_later
        self._told_at = -TOGETHER_SECONDS
        self._waiting: list[_Waiting] = []
        # Who came while something waited, and how much that was.
        self._since: dict[Subscription, int] = {}
        # Those that still catch up: they are not among the topic's subscriptions yet.
        self._arriving: dict[Subscription, None] = {}

    def begin(self, subscription: Subscription) -> None:
        """A connection that is to be told of all that happens from now on."""
        if subscription.is_catching_up:
            self._arriving[subscription] = None
        if self._waiting:
            self._since[subscription] = len(self._waiting)

    def end(self, subscription: Subscription) -> None:
        """A connection that is gone."""
        self._arriving.pop(subscription, None)
        self._since.pop(subscription, None)

    def tell(self, member: str | None, notice: Notice, but: Collection[Subscription] = ()) -> None:
        """Tell `notice`, which is about `member`, to every connection apart from `but`, now or in a moment.
        Never waits.
        """
        self._waiting.append(_Waiting(member, notice, but))
        is_first = trio.current_time() >= self._told_at + TOGETHER_SECONDS
        if is_first or len(self._waiting) >= MOST_TOGETHER:
            self.flush()
        else:
            self._flush_later(self)

    def introduce(self, member: str | None) -> None:
        """See to it that all that happened to `member` has been told.  Never waits."""
        if any(each.member == member for each in self._waiting):
            self.flush()

    def flush(self) -> None:
        """Tell what waits.  Never waits."""
        if not self._waiting:
            return
        self._told_at = trio.current_time()
        waiting, self._waiting = self._waiting, []
        since, self._since = self._since, {}
        apart = set(since).union(*(each.but for each in waiting))
        self._tell_all(_together([each.notice for each in waiting]), apart)
        for subscription in apart:
            concerned = [
                each.notice for each in waiting[since.get(subscription, 0) :] if subscription not in each.but
            ]
            if concerned:
                subscription.tell(_together(concerned))

    def _tell_all(self, notice: Notice, but: Collection[Subscription]) -> None:
        self._hub.announce(self._topic, notice, but=but)
        for subscription in tuple(self._arriving):
            if not subscription.is_catching_up:
                del self._arriving[subscription]
            elif subscription not in but:
                subscription.tell(notice)


def _together(notices: list[Notice]) -> Notice:
    if len(notices) == 1:
        return notices[0]
    return Notice(Together(tuple(notices)), sum(notice.size for notice in notices))
