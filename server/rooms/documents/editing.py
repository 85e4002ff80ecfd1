"""An editor's connection to a document, from the server's first message to its goodbye.

The server begins with sync step 1, whose answer brings what was edited offline, and with who is there; from
then on it answers, and passes on.  What others edit comes by a subscription to the document's topic: an
editor that does not keep up is closed, and has all it missed by its state vector when it comes back.

Close codes are those that y-websocket's provider acts on: it comes back after every code but 4400 to 4499.
So what a member of a room is told with 44xx and should come back from has 45xx here, and what would fail
again in the same way has 44xx, also where a room says 1008 or 1009.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import NamedTuple

import trio

from ...hub import (
    Gap,
    Heartbeat,
    Hub,
    Live,
    Message,
    Notice,
    Selection,
    Subscription,
    TopicsFullError,
    joined,
)
from ...lifecycle import CloseReason, OpenStream, Registry, RequestHead
from ...transport import Connection, ConnectionEndedError, DrainGate
from ...wire import y_protocol
from ...wire.websocket import CloseCode, binary_frame, ping_frame
from ...wire.y_protocol import (
    Awareness,
    MessageError,
    QueryAwareness,
    SyncStep1,
    SyncStep2,
    TooManyEntriesError,
    Unknown,
    Update,
)
from ..forms import PING
from ..pings import Pings
from .awareness import AwarenessFullError, AwarenessTooLargeError
from .document import Document, Editor
from .documents import Documents, DocumentsFullError, DocumentTooLargeError
from .store import StoreError
from .updates import UpdateError

GOODBYE_SECONDS = 5.0
"""How long an editor that is to end has to take what was already on its way, and the close frame."""
ANSWER_PAUSE = 1.0
"""Seconds between two answers to sync step 1 on one connection: each looks at the whole document."""
MESSAGE_OVERHEAD = 64
"""Bytes that a message has beside its update, at most."""

_log = logging.getLogger("sluiceway.documents")


class _Goodbye(NamedTuple):
    reason: CloseReason
    code: CloseCode
    words: str


_GOODBYES: dict[CloseReason, tuple[CloseCode, str]] = {
    CloseReason.COMPLETED: (CloseCode.NORMAL, "completed"),
    CloseReason.SLOW_CONSUMER: (CloseCode.TOO_SLOW_FOR_NOW, "slow_consumer"),
    CloseReason.HEARTBEAT_MISSED: (CloseCode.HEARTBEAT_MISSED_FOR_NOW, "heartbeat_missed"),
    CloseReason.SERVER_DRAINING: (CloseCode.SERVICE_RESTART, "server_draining"),
    CloseReason.LIMIT: (CloseCode.TRY_LATER, "limit"),
    CloseReason.ADMIN: (CloseCode.FORBIDDEN, "admin"),
    CloseReason.FAILED: (CloseCode.INTERNAL_ERROR, "server_failed"),
}


class _EndedError(Exception):
    """The editor is to end for what it sent, or for what became of it."""

    def __init__(self, goodbye: _Goodbye) -> None:
        super().__init__(goodbye.words)
        self.goodbye = goodbye


@dataclass(frozen=True, slots=True)
class EditingServices:
    """What editors need of the server."""

    hub: Hub
    registry: Registry
    documents: Documents
    pings: Pings
    gate: DrainGate


@dataclass(slots=True)
class Editing:
    """One connection's stay at the document `name`."""

    services: EditingServices
    head: RequestHead
    name: str
    _goodbye: _Goodbye | None = None

    async def run(self, connection: Connection) -> None:
        """Be at the document until either side ends it; then say goodbye.

        Raises:
            trio.BrokenResourceError: the client is gone, or took nothing.
        """
        documents = self.services.documents
        with self.services.registry.open_stream("room", self.head) as opened:
            documents.editors += 1
            try:
                await self._open_and_stay(connection, opened)
            except (TopicsFullError, DocumentsFullError):
                self._end(opened, _Goodbye(CloseReason.LIMIT, CloseCode.TRY_LATER, "documents_full"))
            except StoreError as error:
                _log.error("a document cannot be read: %s", error)
                self._end(opened, _Goodbye(CloseReason.FAILED, CloseCode.INTERNAL_ERROR, "storage_failed"))
            finally:
                documents.editors -= 1
                opened.bytes_sent = connection.bytes_sent
        if opened.scope.cancelled_caught:
            raise trio.BrokenResourceError(f"the editor was cut off: {opened.reason}")
        await self._say_goodbye(connection, opened.reason or CloseReason.COMPLETED)

    async def _open_and_stay(self, connection: Connection, opened: OpenStream) -> None:
        documents = self.services.documents
        if documents.editors > documents.limits.editors:
            raise DocumentsFullError
        async with documents.open(self.name) as document:
            await self._stay(connection, opened, document)

    async def _stay(self, connection: Connection, opened: OpenStream, document: Document) -> None:
        services = self.services
        subscription = services.hub.subscribe(
            Selection((document.topic,)),
            Live(),
            form=editor_frame,
            sink=connection,
            close=lambda reason: _give_up(opened, subscription, reason),
        )
        with (
            opened.hold("subscription"),
            subscription,
            _Presence(services.documents, document, Editor(subscription)) as editor,
            services.pings.keep(
                connection,
                subscription,
                on_missed=lambda: opened.end(CloseReason.HEARTBEAT_MISSED),
                on_stuck=lambda: opened.close(CloseReason.HEARTBEAT_MISSED),
            ),
        ):
            opened.on_end(subscription.end)
            await connection.send_all(_greeting(document))
            listener = _Listener(services.documents, connection, document, editor)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, listener, opened)
                async for batch in subscription:
                    for write in joined(batch, editor_frame):
                        await connection.send_all(write)
                # An answer that is being written is not torn: it has a moment to get through.
                listener.stop()
                nursery.cancel_scope.deadline = trio.current_time() + GOODBYE_SECONDS

    async def _listen(self, listener: _Listener, opened: OpenStream) -> None:
        """Read what the editor sends until its connection ends, or it is to end."""
        try:
            await listener.run()
        except ConnectionEndedError as ended:
            _hear_the_end(ended, opened, listener.editor.subscription)
        except _EndedError as ended:
            self._end(opened, ended.goodbye)
        except trio.BrokenResourceError:
            raise
        except Exception:  # noqa: BLE001 - one editor's message must not end more than its connection
            _log.exception("a message could not be handled")
            opened.end(CloseReason.FAILED)

    def _end(self, opened: OpenStream, goodbye: _Goodbye) -> None:
        if self._goodbye is None and opened.reason is None:
            self._goodbye = goodbye
        opened.end(goodbye.reason)

    async def _say_goodbye(self, connection: Connection, reason: CloseReason) -> None:
        code, words = _GOODBYES.get(reason, (CloseCode.NORMAL, reason.value))
        if self._goodbye is not None:
            _, code, words = self._goodbye
        with trio.move_on_after(GOODBYE_SECONDS):
            await connection.close(code, words)


class _Listener:
    """What an editor sends, and what follows from it."""

    def __init__(
        self, documents: Documents, connection: Connection, document: Document, editor: Editor
    ) -> None:
        self.editor = editor
        self._documents = documents
        self._connection = connection
        self._document = document
        self._receiving: trio.CancelScope | None = None
        self._stopped = False
        self._answer_at = 0.0
        self._has_caught_up = False

    def stop(self) -> None:
        """Receive nothing more; what has been received is finished."""
        self._stopped = True
        if self._receiving is not None:
            self._receiving.cancel()

    async def run(self) -> None:
        """Receive until `stop`.

        Raises:
            ConnectionEndedError: the connection has ended.
            _EndedError: it is to end.
            trio.BrokenResourceError: the client is gone, or takes nothing.
        """
        while not self._stopped:
            with trio.CancelScope() as self._receiving:
                data = await self._connection.receive()
            if self._receiving.cancelled_caught:
                return
            self._receiving = None
            await self._handle(data)

    async def _handle(self, data: str | bytes) -> None:
        if isinstance(data, str):
            raise _refused("binary_expected")
        try:
            message = y_protocol.decode(data)
        except TooManyEntriesError:
            raise _too_large("awareness_too_large") from None
        except MessageError:
            raise _refused("message_malformed") from None
        match message:
            case SyncStep1(state):
                await self._answer(state)
            case SyncStep2(update):
                await self._catch_up(update)
            case Update(update):
                await self._write(update)
            case Awareness(entries):
                await self._pass_on(entries)
            case QueryAwareness():
                here = y_protocol.encode_awareness(self._document.awareness.entries)
                await self._connection.send_all(binary_frame(here))
            case Unknown():
                pass

    async def _answer(self, state: bytes) -> None:
        """Send what somebody misses who has `state`."""
        await trio.sleep_until(self._answer_at)
        self._answer_at = trio.current_time() + ANSWER_PAUSE
        try:
            missing = self._document.missing(state)
        except UpdateError:
            raise _refused("state_malformed") from None
        # Written from here and not by way of the queue: it may be larger than all that may wait there.
        await self._connection.send_all(binary_frame(y_protocol.encode_step_2(missing)))

    async def _catch_up(self, update: bytes) -> None:
        """Write what was edited elsewhere.

        Every editor sends it when it comes, and its deletions are always in it; what says nothing new is
        neither stored nor passed on.  To find out takes a look at the whole document, so it is asked once.
        """
        if not self._has_caught_up:
            self._has_caught_up = True
            if await self._is_known(update):
                return
        await self._write(update)

    async def _is_known(self, update: bytes) -> bool:
        try:
            await self._documents.check(update)
        except UpdateError:
            raise _refused("update_malformed") from None
        try:
            return self._document.has(update)
        except UpdateError:
            return False

    async def _write(self, update: bytes) -> None:
        try:
            await self._documents.write(self._document, update, self.editor.subscription)
        except UpdateError:
            raise _refused("update_malformed") from None
        except DocumentTooLargeError:
            raise _too_large("document_too_large") from None
        except DocumentsFullError:
            raise _no_room("documents_full") from None
        except StoreError:
            raise _EndedError(
                _Goodbye(CloseReason.FAILED, CloseCode.INTERNAL_ERROR, "storage_failed")
            ) from None

    async def _pass_on(self, entries: tuple[y_protocol.AwarenessEntry, ...]) -> None:
        """Tell all editors who is there.

        The sender too: y-websocket's provider gives up a server from which it has heard no message for 30 s,
        and renews its own state each 15.
        """
        try:
            news = self._document.hear(self.editor, entries)
        except AwarenessTooLargeError:
            raise _too_large("awareness_too_large") from None
        except AwarenessFullError:
            # Others have taken the room, and it may be free when this one comes back.
            raise _no_room("awareness_full") from None
        if news:
            self._documents.tell(self._document, y_protocol.encode_awareness(news))
        contradictions = self._document.awareness.contradictions(entries)
        if contradictions:
            await self._connection.send_all(binary_frame(y_protocol.encode_awareness(contradictions)))
        else:
            await trio.lowlevel.checkpoint()


class _Presence:
    """As long as it is open the editor is at the document; the others are told of its end."""

    __slots__ = ("_document", "_documents", "_editor")

    def __init__(self, documents: Documents, document: Document, editor: Editor) -> None:
        self._documents = documents
        self._document = document
        self._editor = editor

    def __enter__(self) -> Editor:
        self._document.enter(self._editor)
        return self._editor

    def __exit__(self, *exc_info: object) -> None:
        gone = self._document.leave(self._editor)
        if gone and self._document.editors:
            message = y_protocol.encode_awareness(gone)
            self._documents.tell(self._document, message, but=self._editor.subscription)


def editor_frame(item: Message | Notice | Gap | Heartbeat) -> bytes:
    """An item of a document's topic as frames."""
    if item is PING:
        # No message may come for 30 s where nobody shows anything of themselves, and pings do not count.
        return ping_frame() + binary_frame(y_protocol.encode_awareness(()))
    assert isinstance(item, Notice), "documents' topics have notices alone"
    return binary_frame(item.payload)  # type: ignore[arg-type]  # notices of documents are made of messages


def _greeting(document: Document) -> bytes:
    greeting = binary_frame(y_protocol.encode_step_1(document.state()))
    here = document.awareness.entries
    return greeting + binary_frame(y_protocol.encode_awareness(here)) if here else greeting


def _refused(words: str) -> _EndedError:
    return _EndedError(_Goodbye(CloseReason.LIMIT, CloseCode.MESSAGE_REFUSED, words))


def _too_large(words: str) -> _EndedError:
    return _EndedError(_Goodbye(CloseReason.LIMIT, CloseCode.CONTENT_TOO_LARGE, words))


def _no_room(words: str) -> _EndedError:
    return _EndedError(_Goodbye(CloseReason.LIMIT, CloseCode.TRY_LATER, words))


def _hear_the_end(ended: ConnectionEndedError, opened: OpenStream, subscription: Subscription) -> None:
    """The client has closed, or has been closed for what it sent."""
    too_large = ended.code in (CloseCode.TOO_BIG, CloseCode.CONTENT_TOO_LARGE)
    reason = CloseReason.LIMIT if too_large else CloseReason.CLIENT_DISCONNECTED
    if ended.code == CloseCode.ABNORMAL:
        opened.close(reason)
        return
    subscription.discard()
    opened.scope.deadline = min(opened.scope.deadline, trio.current_time() + GOODBYE_SECONDS)
    opened.end(reason)


def _give_up(opened: OpenStream, subscription: Subscription, reason: CloseReason) -> None:
    """End an editor that fell behind: what is queued is dropped, what is on its way may still arrive, for a
    moment.
    """
    if reason is not CloseReason.SLOW_CONSUMER:
        opened.close(reason)
        return
    subscription.discard()
    opened.scope.deadline = min(opened.scope.deadline, trio.current_time() + GOODBYE_SECONDS)
    opened.end(reason)
