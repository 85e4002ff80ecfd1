"""Faults to find: the server broken on purpose, each in one way, for as long as a block lasts.

Nothing here is a mistake that anybody would make twice; together they are the promises that the simulation
claims to watch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import trio

from server.hub import Cursor, Gap, Hub, Message, Subscription, TopicRules
from server.hub.brokers.memory_replay import MemoryReplay
from server.hub.lane import Lane
from server.hub.message import Flush
from server.hub.topic import Topic
from server.lifecycle.registry import OpenStream
from server.transport import DrainGate, OrderedStream, Sent
from server.transport.sockets import TcpStream

Patch = pytest.MonkeyPatch
Fault = Callable[[Patch], None]
_FAULTS: dict[str, Fault] = {}


def fault(fn: Fault) -> Fault:
    """Add `fn` under its name."""
    _FAULTS[fn.__name__] = fn
    return fn


def names() -> list[str]:
    """Every fault."""
    return list(_FAULTS)


@contextmanager
def _broken(name: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        _FAULTS[name](patch)
        yield


def broken(name: str) -> AbstractContextManager[None]:
    """The server has the fault `name` in the block."""
    return _broken(name)


@fault
def a_kept_rest_is_forgotten(patch: Patch) -> None:
    """What the kernel did not take of a frame is thrown away."""
    old = OrderedStream.try_send

    def try_send(self: OrderedStream, frame: bytes) -> Sent:
        sent = old(self, frame)
        if sent is Sent.KEPT:
            self._rest = b""
        return sent

    patch.setattr(OrderedStream, "try_send", try_send)


@fault
def a_message_is_lost_when_a_rest_is_kept(patch: Patch) -> None:
    """The frame is taken, and the next one with it."""
    old = Subscription.go_on

    def go_on(self: Subscription, topic: str, rules: TopicRules, item: Any, sent: Sent | None) -> bool:
        return (sent is None and isinstance(self._first, Flush)) or old(self, topic, rules, item, sent)

    patch.setattr(Subscription, "go_on", go_on)


@fault
def a_page_skips_an_item(patch: Patch) -> None:
    """The last of a full page never comes."""
    old = MemoryReplay._read

    def read(self: MemoryReplay, limit: int) -> list[Message | Gap]:
        items = old(self, limit)
        return items[:-1] if len(items) == limit else items

    patch.setattr(MemoryReplay, "_read", read)


@fault
def a_page_is_read_twice(patch: Patch) -> None:
    """A topic's place is not moved by its only message in a page."""
    old = MemoryReplay._read

    def read(self: MemoryReplay, limit: int) -> list[Message | Gap]:
        items = old(self, limit)
        if len(items) == 3 and isinstance(items[0], Message):
            self._places[items[0].topic].offset = items[0].id.offset - 1
        return items

    patch.setattr(MemoryReplay, "_read", read)


@fault
def the_live_end_is_joined_too_late(patch: Patch) -> None:
    """The live topics are joined only when the reader asks again: what is published meanwhile is lost."""

    async def read_page(self: Subscription, replay: Any) -> Any:
        items = await replay.read(64)
        if items:
            return items
        await trio.sleep(0.5)
        self._replay = None
        if not self._ending:
            self._topics.join(self)
        return []

    patch.setattr(Subscription, "_read_page", read_page)


@fault
def a_gap_counts_one_too_few(patch: Patch) -> None:
    """Of dropped messages."""
    old = Lane.take_gap

    def take_gap(self: Lane, following: float) -> Gap:
        self.missed -= 1
        return old(self, following)

    patch.setattr(Lane, "take_gap", take_gap)


@fault
def an_eviction_is_not_told(patch: Patch) -> None:
    """What is gone from history is passed over."""
    patch.setattr("server.hub.brokers.memory_replay._gone", lambda topic, history, place: None)


@fault
def lanes_are_not_merged(patch: Patch) -> None:
    """Each topic's messages leave together."""
    patch.setattr(Lane, "offset", lambda self: 0)


@fault
def who_leaves_stays_subscribed(patch: Patch) -> None:
    """To its first topic."""
    old = Hub.leave

    def leave(self: Hub, subscription: Subscription) -> None:
        first = subscription.selection.names[:1]
        was = [name for name in first if subscription in self._topics[name].direct]
        old(self, subscription)
        for name in was:
            self._topics[name].direct[subscription] = None

    patch.setattr(Hub, "leave", leave)


@fault
def a_pass_loses_a_pattern(patch: Patch) -> None:
    """As it did once: a group that leaves in the middle of a pass takes the next one's turn."""

    def subscriptions(self: Topic) -> Iterator[Subscription]:
        yield from tuple(self.direct)
        for group in self.groups:
            yield from tuple(group)

    patch.setattr(Topic, "subscriptions", subscriptions)


@fault
def a_foreign_cursor_is_forgotten_too_early(patch: Patch) -> None:
    """As it was once: the first block has an id of the new store, before the gap."""
    old = MemoryReplay.__init__

    def init(self: MemoryReplay, broker: Any, selection: Any, start: Any) -> None:
        old(self, broker, selection, start)
        if self.start.epoch != broker.epoch:
            self.start = Cursor(broker.epoch, 0)

    patch.setattr(MemoryReplay, "__init__", init)


@fault
def a_full_lane_drops_in_silence(patch: Patch) -> None:
    """Where the topic says that the subscriber is to be disconnected."""

    def give_up(self: Subscription, reason: object) -> None:
        pass

    patch.setattr(Subscription, "_give_up", give_up)


@fault
def a_reader_may_take_nothing_for_ever(patch: Patch) -> None:
    """There is no write deadline."""
    old = TcpStream.__init__

    def init(self: TcpStream, sock: Any, write_deadline: float) -> None:
        old(self, sock, write_deadline * 1000)

    patch.setattr(TcpStream, "__init__", init)


@fault
def a_hangup_is_not_heard(patch: Patch) -> None:
    """A client that is gone is found out only when something is written to it."""

    async def read_until_hangup(stream: object, work: Callable[[], Any]) -> bool:
        await work()
        return True

    patch.setattr("server.transport.server.read_until_hangup", read_until_hangup)


@fault
def bytes_are_not_given_back(patch: Patch) -> None:
    """Of what was given out when a reader leaves."""
    old = Subscription.__exit__

    def leave(self: Subscription, *exc_info: Any) -> None:
        self._in_flight = 0
        old(self, *exc_info)

    patch.setattr(Subscription, "__exit__", leave)


@fault
def a_draining_server_says_nothing(patch: Patch) -> None:
    """Streams are cut rather than ended."""

    def end(self: OpenStream, reason: Any) -> None:
        self.close(reason)

    patch.setattr(OpenStream, "end", end)


@fault
def a_draining_server_takes_no_end(patch: Patch) -> None:
    """New streams are opened while it drains."""
    patch.setattr(DrainGate, "draining", False)
