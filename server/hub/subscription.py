"""A subscription: one reader of one or many topics, from where it starts to the live end and along with it.

The model, once.  A subscription first catches up: it reads history page by page, as fast as its reader takes
them, and nothing live is kept for it meanwhile.  When a page comes back empty it joins the live ones in the
same step, so that nothing can fall between.  From then on the hub offers it every message:

- while it is *idle* (its reader waits, nothing is queued) the frame is offered straight to the kernel
  (`try_send`);
- what the kernel does not take, and all that follows, goes into lanes, one a topic, which the reader drains
  in the order of ids, a write's worth at a time;
- what does not fit into its lane is dealt with as the topic's `overflow` says.  Nobody waits for it, except
  where the topic says `block`.

It becomes idle again only inside `__anext__`, right before it waits: then everything before has been written.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heapreplace
from math import inf
from types import TracebackType
from typing import Protocol, Self

import trio

from ..lifecycle import CloseReason
from ..transport import Sent
from .broker import Replay
from .cursor import Cursor
from .lane import Lane, Waiting
from .message import JOINED_BYTES, Burst, Flush, Form, Heartbeat, Item, Message, Notice
from .rules import Overflow, TopicRules
from .selection import Selection

PAGE = 64
"""Messages read from history at once while catching up with few topics."""
WIDE_PAGE = 512
"""The same with many: each page looks at all of them."""
WIDE = 16
"""Topics that are many."""

_FLUSH = Flush()


def _nobody(_: CloseReason) -> None:
    """Whom to tell of the end once it has been left."""


class Sink(Protocol):
    """Where ready-made frames may leave without waiting (`transport.OrderedStream`)."""

    def try_send(self, frame: bytes) -> Sent:
        """Offer one frame; never waits, never raises."""


class LiveTopics(Protocol):
    """What a subscription has of the hub: the live topics that it joins, and what is counted over all."""

    buffered_bytes: int
    dropped: int
    max_queued: int
    max_queued_bytes: int

    @property
    def head(self) -> Cursor:
        """Behind the newest message there is."""

    def open(self, subscription: Subscription) -> None:
        """Keep its topics from being forgotten."""

    def join(self, subscription: Subscription) -> None:
        """Offer it everything from now on."""

    def leave(self, subscription: Subscription) -> None:
        """Offer it nothing more.  Safe to call again."""

    def close(self, subscription: Subscription) -> None:
        """`leave`, and let go of its topics."""

    def tell(self, topic: str, notice: Notice, subscription: Subscription) -> None:
        """Offer `notice` of `topic` to it alone."""


class Subscription:
    """One reader.  Made by `Hub.subscribe`; entered with `with`; iterated by one task for batches of items.

    After the end was asked for (`end`), what is queued is still given out, then the iteration stops.
    """

    __slots__ = (
        "_close",
        "_drained",
        "_ending",
        "_first",
        "_in_flight",
        "_lanes",
        "_queued",
        "_queued_bytes",
        "_replay",
        "_topics",
        "_visible_heartbeat",
        "_wake",
        "form",
        "idle",
        "selection",
        "silent_ticks",
        "start",
        "touched",
        "try_send",
    )

    def __init__(
        self,
        topics: LiveTopics,
        selection: Selection,
        replay: Replay,
        *,
        form: Form,
        visible_heartbeat: bool,
        sink: Sink,
        close: Callable[[CloseReason], object],
    ) -> None:
        self.selection = selection
        self.start = replay.start
        """Where it begins: the id that makes a client which got nothing yet resume rightly."""
        self.touched = True
        """Set whenever bytes are sent; the heartbeat's ticker clears it."""
        self.silent_ticks = 0
        """Of the heartbeat's ticker."""
        self._topics = topics
        self._replay: Replay | None = replay if replay.needed else None
        self._visible_heartbeat = visible_heartbeat
        self._close = close
        self.form = form
        """How items become bytes."""
        self.try_send = sink.try_send
        """Offers a frame straight to the connection.  Only while `idle`."""
        self.idle = False
        """Whether all that was offered has left, and the reader waits."""
        self._ending = False
        self._first: Flush | Heartbeat | None = None
        self._lanes: dict[str, Lane] = {}
        self._queued = 0
        self._queued_bytes = 0
        self._in_flight = 0
        self._wake: trio.Event | None = None
        self._drained: trio.Event | None = None

    def __enter__(self) -> Self:
        self._topics.open(self)
        if self._replay is None:
            self._topics.join(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._topics.close(self)
        self._stop_taking()
        self._written()
        self.discard()
        # It may well hold this subscription, and a cycle would have to be looked for.
        self._close = _nobody

    @property
    def is_catching_up(self) -> bool:
        """Whether it still reads history."""
        return self._replay is not None

    def end(self) -> None:
        """Take no more messages; let the reader have what is queued, and stop.

        Never waits; safe to call again.
        """
        self._topics.leave(self)
        self._stop_taking()

    # Called by the hub, which never waits

    def offer(self, topic: str, rules: TopicRules, item: Waiting | Burst) -> bool:
        """Called with each item of a topic, in order: send or queue it.

        False where it ended the subscription, or where that has ended before.
        """
        sent = self.try_send(item.frame(self.form)) if self.idle else None
        if sent is Sent.SENT:
            self.touched = True
            return True
        return self.go_on(topic, rules, item, sent)

    def go_on(self, topic: str, rules: TopicRules, item: Waiting | Burst, sent: Sent | None) -> bool:
        """The rest of `offer`, after `try_send` said `sent`, or None where it was not idle."""
        if self._ending:
            return False
        self.idle = False
        if sent is Sent.KEPT:
            self._put_first(_FLUSH)
            return True
        if sent is Sent.GONE:
            self._give_up(CloseReason.CLIENT_DISCONNECTED)
            return False
        if isinstance(item, Burst):
            return all(self._queue(topic, rules, message) for message in item.messages)
        return self._queue(topic, rules, item)

    def tell(self, notice: Notice) -> None:
        """Give `notice` to this reader alone, in order with what its topic, the only one, brings.

        Never waits.
        """
        (topic,) = self.selection.names
        self._topics.tell(topic, notice, self)

    def heartbeat(self) -> None:
        """Send a sign of life, where nothing else is waiting to be sent."""
        if not self.idle:
            return
        self.touched = True
        # Idle, it has been sent everything there is.
        heartbeat = Heartbeat(self._topics.head if self._visible_heartbeat else None)
        sent = self.try_send(heartbeat.frame(self.form))
        if sent is Sent.GONE:
            self._give_up(CloseReason.CLIENT_DISCONNECTED)
        elif sent is not Sent.SENT:
            self.idle = False
            self._put_first(_FLUSH if sent is Sent.KEPT else heartbeat)

    def discard(self) -> None:
        """Throw away what is queued and not given out, as for a reader that is too slow for it."""
        for lane in self._lanes.values():
            lane.close()
        self._lanes.clear()
        self._topics.buffered_bytes -= self._queued_bytes
        self._queued = self._queued_bytes = 0
        self._tell_drained()

    def _queue(self, topic: str, rules: TopicRules, item: Waiting) -> bool:
        lane = self._lanes.get(topic)
        if lane is None:
            lane = Lane(topic, rules)
        count, size = lane.count, lane.size
        if not self._put(lane, item):
            if topic not in self._lanes:
                lane.close()
            self._topics.dropped += 1
            self._give_up(CloseReason.SLOW_CONSUMER)
            return False
        if lane.has_any():
            self._lanes[topic] = lane
        else:
            self._lanes.pop(topic, lane).close()
        size = lane.size - size
        self._queued += lane.count - count
        self._queued_bytes += size
        self._topics.buffered_bytes += size
        self._wake_reader()
        return True

    def _put(self, lane: Lane, item: Waiting) -> bool:
        """Queue `item`, whatever that takes; False where the subscription cannot go on."""
        others = self._queued - lane.count
        others_bytes = self._held_bytes - lane.size

        def fits() -> bool:
            return lane.has_room(1, item.size) and self._fits_beside(
                others, others_bytes, lane.count + 1, lane.size + item.size
            )

        if isinstance(item, Notice) and item.droppable:
            if lane.has_room_to_spare(item.size) and fits():
                lane.put(item)
            else:
                self._topics.dropped += 1
            return True
        if lane.overflow is Overflow.LATEST and not isinstance(item, Notice):
            lane.drop_messages()
        if not fits():
            self._topics.dropped += lane.drop_signals()
            if lane.overflow is Overflow.DROP_OLDEST:
                while lane.messages and not fits():
                    self._topics.dropped += lane.drop_oldest()
            if not fits():
                return self._miss(lane, item)
        lane.put(item)
        return True

    def _miss(self, lane: Lane, item: Waiting) -> bool:
        """There is no room for `item`: whether it can do without."""
        if lane.overflow is not Overflow.DROP_OLDEST or isinstance(item, Notice):
            return False
        # A gap for live readers says that nothing is missing: nobody needs to be told that it is.
        if isinstance(item, Message):
            self._topics.dropped += 1
            lane.miss(item)
        return True

    @property
    def _held_bytes(self) -> int:
        """Bytes that count towards what all topics together may have: what is queued, and of what is being
        written, one large message say, that which is more than a usual write.
        """
        return self._queued_bytes + max(0, self._in_flight - JOINED_BYTES)

    def _fits_beside(self, others: int, others_bytes: int, count: int, size: int) -> bool:
        """Whether a topic may have `count` items of `size` bytes waiting while so much else is held.

        All topics together have a bound too: otherwise what one connection can hold would not be known.
        """
        if others_bytes and others_bytes + size > self._topics.max_queued_bytes:
            return False
        return not others or others + count <= self._topics.max_queued

    def _give_up(self, reason: CloseReason) -> None:
        self._topics.leave(self)
        self.idle = False
        self._ending = True
        self._close(reason)
        self._tell_drained()
        self._wake_reader()

    def _stop_taking(self) -> None:
        self.idle = False
        self._ending = True
        self._tell_drained()
        self._wake_reader()

    def _put_first(self, item: Flush | Heartbeat) -> None:
        self._first = item
        self._wake_reader()

    def _wake_reader(self) -> None:
        if self._wake is not None:
            self._wake.set()

    # Called by publishers of topics that block

    def has_room(self, topic: str, count: int, size: int) -> bool:
        """Whether that much more of `topic` can be queued, or need not be."""
        if self._ending:
            return True
        lane = self._lanes.get(topic)
        if lane is None:
            return self._fits_beside(self._queued, self._held_bytes, count, size)
        return lane.has_room(count, size) and self._fits_beside(
            self._queued - lane.count, self._held_bytes - lane.size, lane.count + count, lane.size + size
        )

    async def wait_room(self, topic: str, count: int, size: int) -> None:
        """Wait until `has_room`."""
        while not self.has_room(topic, count, size):
            if self._drained is None:
                self._drained = trio.Event()
            await self._drained.wait()

    def _tell_drained(self) -> None:
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    # Called by the reader

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Item]:
        """What is to be written next, about a write's worth; calling it again says that it has been.

        Cancelling it loses nothing that had not been given out.
        """
        self._written()
        if self._replay is not None:
            page = await self._read_page(self._replay)
            if page:
                # What it alone has been told meanwhile may speak of a message in this page, and never of one
                # in a page before.
                return [*self._take(inf), *page]
        while not self._lanes and self._first is None:
            if self._ending:
                raise StopAsyncIteration
            self.idle = True
            self._wake = trio.Event()
            await self._wake.wait()
        self._wake = None
        self.touched = True
        return self._take(JOINED_BYTES)

    async def _read_page(self, replay: Replay) -> list[Item]:
        if self._ending:
            self._replay = None
            return []
        wide = self.selection.prefixes or len(self.selection.names) > WIDE
        items = await replay.read(WIDE_PAGE if wide else PAGE)
        self.touched = True
        if not items and not self._ending:
            # No checkpoint since the page was read: nothing was published between it and this.
            self._replay = None
            self._topics.join(self)
        return list(items)

    def _take(self, limit: float) -> list[Item]:
        """What waits, oldest first, up to about `limit` bytes."""
        batch: list[Item] = []
        if self._first is not None:
            batch.append(self._first)
            self._first = None
        size = 0
        waiting = [(lane.offset(), topic) for topic, lane in self._lanes.items()]
        heapify(waiting)
        while waiting and size < limit:
            topic = waiting[0][1]
            lane = self._lanes[topic]
            if lane.missed:
                item: Waiting = lane.take_gap(min(waiting[1:3], default=(inf, ""))[0])
            else:
                item = lane.take()
            batch.append(item)
            size += item.size
            if lane.has_any():
                heapreplace(waiting, (lane.offset(), topic))
            else:
                heappop(waiting)
                self._lanes.pop(topic).close()
        lanes = self._lanes.values()
        self._queued = sum(lane.count for lane in lanes)
        queued_bytes = sum(lane.size for lane in lanes)
        # What is given out is held until it has been written.
        self._in_flight = self._queued_bytes - queued_bytes
        self._queued_bytes = queued_bytes
        self._tell_drained()
        return batch

    def _written(self) -> None:
        if self._in_flight:
            self._topics.buffered_bytes -= self._in_flight
            self._in_flight = 0
            self._tell_drained()
