"""A subscription: one reader of a topic, from where it stands to the live end and along with it.

The model, once.  A subscription first catches up: it reads history page by page, as fast as its reader takes
them, and nothing live is kept for it meanwhile.  When a page comes back empty it joins the live ones in the
same step, so that
nothing can fall between.  From then on the hub offers it every message:

- while it is *idle* (its reader waits, nothing is queued) the frame is offered straight to the kernel
  (`try_send`);
- what the kernel does not take, and all that follows, goes into a memory channel of fixed capacity, which
  the reader drains in batches;
- what does not fit ends it as a slow consumer.  Nobody waits for it.

It becomes idle again only inside `__anext__`, right before it waits: then everything before has been written.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import trio

from ..lifecycle import CloseReason
from ..transport import Sent
from .cursor import Cursor
from .message import Flush, Form, Heartbeat, Item, Message, Notice

if TYPE_CHECKING:
    from .hub import Hub

PAGE = 64
"""Messages read from history at once while catching up."""

_FLUSH = Flush()


class Sink(Protocol):
    """Where ready-made frames may leave without waiting (`transport.OrderedStream`)."""

    def try_send(self, frame: bytes) -> Sent:
        """Offer one frame; never waits, never raises."""


class Subscription:
    """One reader of one topic.  Made by `Hub.subscribe`; entered with `with`; iterated by one task for
    batches of items.

    After the end was asked for (`end`), what is queued is still given out, then the iteration stops.
    """

    __slots__ = (
        "_after",
        "_batch_size",
        "_capacity",
        "_capacity_bytes",
        "_catching_up",
        "_close",
        "_ending",
        "_form",
        "_hub",
        "_idle",
        "_pending",
        "_pending_bytes",
        "_position",
        "_receive",
        "_send",
        "_sink",
        "_visible_heartbeat",
        "start",
        "topic",
        "touched",
    )

    def __init__(
        self,
        hub: Hub,
        topic: str,
        after: Cursor | None,
        *,
        catch_up: bool,
        start: Cursor,
        form: Form,
        visible_heartbeat: bool,
        sink: Sink,
        close: Callable[[CloseReason], object],
        capacity: int,
        capacity_bytes: int,
    ) -> None:
        self.topic = topic
        self.start = start
        """Where it begins: the id that makes a client which got nothing yet resume rightly."""
        self.touched = True
        """Set whenever bytes are sent; the heartbeat's ticker clears it."""
        self._hub = hub
        self._after = after
        self._catching_up = catch_up
        self._form = form
        self._visible_heartbeat = visible_heartbeat
        self._position = start
        self._sink = sink
        self._close = close
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._idle = False
        self._ending = False
        self._pending = 0
        self._pending_bytes = 0
        self._batch_size = (0, 0)
        # One place more than the capacity: a flush that follows a frame which the kernel took in part.
        self._send, self._receive = trio.open_memory_channel[Item](capacity + 1)

    def __enter__(self) -> Self:
        self._hub._open(self)
        if not self._catching_up:
            self._hub._join(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._hub._close(self)
        self._hub.buffered_bytes -= self._pending_bytes
        self._pending_bytes = 0
        self._idle = False
        self._ending = True
        self._send.close()
        self._receive.close()

    @property
    def is_idle(self) -> bool:
        """Whether all that was offered has left, and the reader waits."""
        return self._idle

    def end(self) -> None:
        """Take no more messages; let the reader have what is queued, and stop.

        Never waits; safe to call again.
        """
        self._ending = True
        self._idle = False
        self._hub._leave(self)
        self._send.close()

    def offer(self, message: Message | Notice) -> bool:
        """Called with each message and notice, in order: send or queue it.

        False where it ended the subscription.
        """
        if isinstance(message, Message):
            self._position = message.id
        if self._idle:
            sent = self._sink.try_send(message.frame(self._form))
            if sent is Sent.SENT:
                self.touched = True
                return True
            self._idle = False
            if sent is Sent.KEPT:
                self._queue(_FLUSH)
                return True
            if sent is Sent.GONE:
                self._close(CloseReason.CLIENT_DISCONNECTED)
                return False
        if self._pending >= self._capacity or (
            self._pending and self._pending_bytes + message.size > self._capacity_bytes
        ):
            self._hub.dropped += 1
            self._close(CloseReason.SLOW_CONSUMER)
            return False
        self._queue(message)
        return True

    def discard(self) -> None:
        """Throw away what is queued and not given out, as for a reader that is too slow for it."""
        while True:
            try:
                item = self._receive.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                return
            self._pending -= 1
            self._pending_bytes -= item.size
            self._hub.buffered_bytes -= item.size

    def heartbeat(self) -> None:
        """Send a sign of life, where nothing else is waiting to be sent."""
        if not self._idle:
            return
        self.touched = True
        heartbeat = Heartbeat(self._position if self._visible_heartbeat else None)
        sent = self._sink.try_send(heartbeat.frame(self._form))
        if sent is Sent.GONE:
            self._close(CloseReason.CLIENT_DISCONNECTED)
        elif sent is not Sent.SENT:
            self._idle = False
            self._queue(_FLUSH if sent is Sent.KEPT else heartbeat)

    def _queue(self, item: Item) -> None:
        self._pending += 1
        self._pending_bytes += item.size
        self._hub.buffered_bytes += item.size
        self._send.send_nowait(item)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Item]:
        """What is to be written next; calling it again says that it has been.

        Cancelling it loses nothing that had not been given out.
        """
        self._settle()
        if self._catching_up:
            items = await self._read_page()
            if items:
                return items
        if self._pending == 0 and not self._ending:
            self._idle = True
        try:
            batch = [await self._receive.receive()]
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        self.touched = True
        try:
            while True:
                batch.append(self._receive.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            pass
        self._batch_size = (len(batch), sum(item.size for item in batch))
        return batch

    async def _read_page(self) -> list[Item]:
        if self._ending:
            self._catching_up = False
            return []
        page = await self._hub._replay(self.topic, self._after, PAGE)
        self.touched = True
        items: list[Item] = [page.gap, *page.messages] if page.gap else [*page.messages]
        if page.messages:
            self._after = self._position = page.messages[-1].id
        elif page.gap:
            self._after = self._position = page.gap.id
        else:
            # No checkpoint since the page was read: nothing was published between it and this.
            self._catching_up = False
            self._hub._join(self)
        return items

    def _settle(self) -> None:
        count, size = self._batch_size
        if count:
            self._pending -= count
            self._pending_bytes -= size
            self._hub.buffered_bytes -= size
            self._batch_size = (0, 0)
