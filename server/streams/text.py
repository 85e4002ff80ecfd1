"""Topics as plain text: a line for each message, for `curl -N` and pipes.

What stands beside the messages (a gap, the end) is a line that begins with `#`.  Silence has no form here:
there is no heartbeat, and a client that vanished without a word is found by the kernel's keep-alive.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from ..hub import Form, Gap, Heartbeat, Message, Notice, Selection, Start, TopicsFullError, joined
from ..lifecycle import CloseReason, OpenStream, RequestHead
from ..transport import ByteStream, Framing
from ..wire import sse
from .events import EventServices
from .forms import framed


@dataclass(frozen=True, slots=True)
class TopicText:
    """One reader of the topics of `selection`, from `start` on."""

    services: EventServices
    head: RequestHead
    selection: Selection
    start: Start

    async def run(self, stream: ByteStream) -> None:
        """Write the lines until the stream ends.  Returning means that the answer is complete.

        Raises:
            trio.BrokenResourceError: the client is gone, or was too slow; the answer is to be cut off.
        """
        with self.services.registry.open_stream("text", self.head) as opened:
            try:
                try:
                    await self._follow(stream, opened)
                except TopicsFullError:
                    opened.reason = opened.reason or CloseReason.LIMIT
                reason = opened.reason or CloseReason.COMPLETED
                await stream.send_all(framed(f"# closing: {reason}\n".encode(), stream.framing))
            finally:
                opened.bytes_sent = stream.bytes_sent
        if opened.scope.cancelled_caught:
            raise trio.BrokenResourceError(f"the stream was ended: {opened.reason}")

    async def _follow(self, stream: ByteStream, opened: OpenStream) -> None:
        form = TEXT_FORMS[stream.framing]
        with (
            opened.hold("subscription"),
            self.services.hub.subscribe(
                self.selection, self.start, form=form, sink=stream, close=opened.close
            ) as subscription,
        ):
            opened.on_end(subscription.end)
            # The head, at once: the first line may be long in coming.
            await stream.send_all(b"")
            async for batch in subscription:
                for write in joined(batch, form):
                    await stream.send_all(write)


def line(item: Message | Notice | Gap | Heartbeat) -> bytes:
    """`item` as a line: a message as it was published, which, if that was text, may be several lines."""
    match item:
        case Message():
            return item.data.encode() + b"\n"
        case Gap():
            missed = [count for _, count in item.topics if count is not None]
            # A number only where all of them are known.
            known = f", {sum(missed)} missed" if len(missed) == len(item.topics) else ""
            return f"# gap: {item.reason}{known}\n".encode()
        case _:
            raise TypeError("topics as text have neither notices nor heartbeats")


def line_chunk(item: Message | Notice | Gap | Heartbeat) -> bytes:
    """`line` in a chunk of its own."""
    return sse.chunk(line(item))


TEXT_FORMS: dict[Framing, Form] = {Framing.IDENTITY: line, Framing.CHUNKED: line_chunk}
