"""A generation as the body of an HTTP answer, in any form, from its start or from where a viewer was.

Every viewer has an encoder of its own, which is fed all deltas from the first on; what comes out for those
that the viewer has seen is dropped.  While the viewer keeps up, each delta is encoded in the hub's pass and
offered straight to the connection; what waits for one that does not is joined: one piece of text in place of
many.  It is never cut off for being behind, only for taking nothing at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import trio

from ..hub import Cursor, Earliest, Heartbeat, Item, Message, Selection
from ..lifecycle import CloseReason, OpenStream, RequestHead
from ..streams import EventServices, framed
from ..transport import ByteStream, Sent
from ..wire.deltas import Delta, Encoder, Failure, Finish, Text
from .generation import Generation
from .log import delta_of, is_heartbeat, record, text_of


@dataclass(frozen=True, slots=True)
class GenerationStream:
    """One viewer over HTTP: of `generation`, in the form of `encoder`.

    `after` is the id of what the viewer had last, None from the start.  `preamble` goes before all else.
    With `joined` false every delta is encoded by itself, as an encoder needs that drops by its own numbers.
    """

    services: EventServices
    head: RequestHead
    generation: Generation
    encoder: Encoder
    after: Cursor | None = None
    preamble: bytes = b""
    joined: bool = True

    async def run(self, stream: ByteStream) -> None:
        """Write the stream until the generation ends.  Returning means that the answer is complete.

        Raises:
            trio.BrokenResourceError: the client is gone, or was too slow; the answer is to be cut off.
        """
        with self.services.registry.open_stream("generation", self.head) as opened:
            try:
                await self._show(stream, opened)
            finally:
                opened.bytes_sent = stream.bytes_sent
        if opened.scope.cancelled_caught:
            raise trio.BrokenResourceError(f"the viewer was cut off: {opened.reason}")

    async def _show(self, stream: ByteStream, opened: OpenStream) -> None:
        generation, services = self.generation, self.services
        writer = _Writer(stream, self.encoder, self.after, joined=self.joined)
        if generation.is_erased:
            # Its topic must not be made anew.
            await writer.send(self.preamble + writer.begin() + self.encoder.end())
            opened.reason = opened.reason or CloseReason.CLIENT_STOPPED
            return
        with (
            opened.hold("subscription"),
            services.hub.subscribe(
                Selection((generation.topic,)),
                Earliest(),
                form=record,
                sink=writer,
                close=opened.close,
            ) as subscription,
            services.heartbeats.keep(subscription),
            generation.watched(subscription.end),
        ):

            def end() -> None:
                # A drain waits for generations: the service ends them in time.
                if opened.reason is not CloseReason.SERVER_DRAINING:
                    subscription.end()

            opened.on_end(end)
            await writer.send(self.preamble + writer.begin())
            async for batch in subscription:
                await writer.send(writer.encode(batch))
                if writer.closing is not None:
                    break
            else:
                # It was erased, or the viewer is sent away.
                await writer.send(self.encoder.end())
        if opened.reason in (None, CloseReason.SERVER_DRAINING):
            opened.reason = reason_of(writer.closing)


def reason_of(closing: Finish | Failure | None) -> CloseReason:
    """Why a viewer's stream ends that `closing` ended."""
    match closing:
        case Failure():
            return CloseReason.FAILED
        case Finish("cancelled") | None:
            return CloseReason.CLIENT_STOPPED
        case Finish():
            return CloseReason.COMPLETED


class _Writer:
    """An encoder between a subscription and a connection.

    What was encoded has to be sent: the encoder counts on it.  So a record that is offered without waiting is
    always taken, and what the connection does not take of it is kept as the *rest*, which leaves before
    anything else.
    """

    __slots__ = ("_after", "_encoder", "_joined", "_rest", "_stream", "closing")

    def __init__(self, stream: ByteStream, encoder: Encoder, after: Cursor | None, *, joined: bool) -> None:
        self._stream = stream
        self._encoder = encoder
        self._after = after
        self._joined = joined
        self._rest = b""
        self.closing: Finish | Failure | None = None
        """The closing delta, once it has been encoded."""

    def begin(self) -> bytes:
        """What comes first."""
        begun = self._encoder.begin()
        return (begun if self._after is None else b"") or self._encoder.heartbeat

    def try_send(self, frame: bytes) -> Sent:
        """Encode the record of one text or heartbeat, and offer it.  Everything else has to be read."""
        if self._rest or self._after is not None:
            return Sent.BUSY
        if (found := text_of(frame)) is not None:
            place, text = found
            encoded = self._encoder.delta(Text(text), id=place)
        elif is_heartbeat(frame):
            encoded = self._encoder.heartbeat
        else:
            return Sent.BUSY
        if not encoded:
            return Sent.SENT
        encoded = framed(encoded, self._stream.framing)
        sent = self._stream.try_send(encoded)
        if sent is not Sent.BUSY:
            return sent
        self._rest = encoded
        return Sent.KEPT

    async def send(self, data: bytes) -> None:
        """Write the rest and then `data`; a cancelled call breaks the connection."""
        rest, self._rest = self._rest, b""
        await self._stream.send_all(rest + (framed(data, self._stream.framing) if data else b""))

    def encode(self, batch: Sequence[Item]) -> bytes:
        """The bytes of `batch`; with the closing delta comes the end of the form."""
        encoded: list[bytes] = []
        if any(isinstance(item, Heartbeat) for item in batch):
            encoded.append(self._encoder.heartbeat)
        for place, delta in self._joining(item for item in batch if isinstance(item, Message)):
            made = self._encoder.delta(delta, id=str(place))
            if self._after is None or place > self._after:
                self._after = None
                encoded.append(made)
            if isinstance(delta, Finish | Failure):
                self.closing = delta
                return b"".join([*encoded, self._encoder.end()])
        return b"".join(encoded)

    def _joining(self, messages: Iterable[Message]) -> Iterator[tuple[Cursor, Delta]]:
        """The deltas with their ids; texts that follow each other as one, with the id of the last.

        What the viewer has had is not joined to what it has not.
        """
        texts: list[str] = []
        last: Cursor | None = None
        for message in messages:
            delta = delta_of(message)
            is_text = isinstance(delta, Text)
            if last is not None and (not is_text or not self._joined or last == self._after):
                yield last, Text("".join(texts), len(texts))
                texts, last = [], None
            if isinstance(delta, Text):
                texts.append(delta.text)
                last = message.id
            else:
                yield message.id, delta
        if last is not None:
            yield last, Text("".join(texts), len(texts))
