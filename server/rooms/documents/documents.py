"""All documents: which are in memory, and how an update gets into one.

A document is read from the store when its first editor comes, and stays in memory until there is no room for
another; then the one that has been unused for the longest goes.  Where there is no store, it is lost with
that.

An update is checked, stored, applied and told to the other editors, in this order: nobody sees what a crash
could take back.  One task (`run`) does the storing for all, in batches; it also applies what it has stored,
so that the editor's connection may be cancelled meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import trio

from ...hub import Hub, Notice, Subscription
from ...hub.message import OVERHEAD
from ...wire.y_protocol import encode_update
from .document import Document
from .store import DocumentStore, StoreError
from .updates import Updates

WAITING = 64
"""Updates that may wait for the store beside those that wait to wait."""
BATCH_BYTES = 1024 * 1024

_log = logging.getLogger("sluiceway.documents")


class DocumentTooLargeError(Exception):
    """The document would become larger than one may be."""


class DocumentsFullError(Exception):
    """All documents in memory are in use, and there is no room for more."""


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """What there may be: bytes of one document, documents in memory, bytes of all of them, editors of all."""

    document_bytes: int = 4 * 1024 * 1024
    documents: int = 1000
    bytes: int = 256 * 1024 * 1024
    editors: int = 1000


class DocumentInfo(NamedTuple):
    """A document as it stands: its editors' connections, and the bytes of its content."""

    document: str
    editors: int
    bytes: int


@dataclass(eq=False, slots=True)
class _Write:
    document: Document
    update: bytes
    source: Subscription
    done: trio.Event = field(default_factory=trio.Event)
    error: StoreError | None = None


class Documents:
    """Every document.  `run` must be running."""

    def __init__(
        self,
        hub: Hub,
        updates: Updates,
        limits: DocumentLimits,
        store: DocumentStore | None = None,
    ) -> None:
        self.updates = updates
        self.limits = limits
        self._hub = hub
        self.editors = 0
        """Connections to all documents."""
        self._store = store
        self._bytes = 0
        self._reserved = 0
        # Those used last are at the end.
        self._documents: dict[str, Document] = {}
        self._loading: dict[str, trio.Event] = {}
        # Python reads them, and holds its lock meanwhile: two at once would only slow down all else.
        self._checking = trio.CapacityLimiter(1)
        self._send, self._receive = trio.open_memory_channel[_Write](WAITING)

    @property
    def size(self) -> int:
        """Bytes of all documents in memory."""
        return self._bytes

    @property
    def in_memory(self) -> int:
        """How many are in memory."""
        return len(self._documents)

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[Document]:
        """The document `name`, in memory as long as the block is open.

        Raises:
            DocumentsFullError: there is no room for it.
            StoreError: it cannot be read.
        """
        document = await self._open(name)
        try:
            yield document
        finally:
            self._release(document)

    async def _open(self, name: str) -> Document:
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            document = self._documents.pop(name, None)
            if document is not None:
                self._documents[name] = document
                document.users += 1
                return document
            loading = self._loading.get(name)
            if loading is None:
                return await self._load(name)
            await loading.wait()

    async def _load(self, name: str) -> Document:
        self._make_room(1, 0)
        loading = self._loading[name] = trio.Event()
        try:
            document = Document(name, self.updates)
            if self._store is not None:
                for row, data in await self._store.load(name):
                    document.apply(data)
                    document.last_row = row
                    document.rows += 1
                    document.stored += len(data)
                document.settle()
                self._make_room(1, document.size)
            document.users = 1
            self._documents[name] = document
            self._reckon(document)
            return document
        finally:
            del self._loading[name]
            loading.set()

    def _release(self, document: Document) -> None:
        document.users -= 1
        if not document.users and document.is_empty:
            # Nobody has written into it: there is nothing to keep.
            self._forget(document.name)

    def _make_room(self, documents: int, size: int) -> None:
        limits = self.limits

        def has_room() -> bool:
            return len(self._documents) + documents <= limits.documents and self.size + size <= limits.bytes

        if has_room():
            return
        for name in [name for name, document in self._documents.items() if not document.users]:
            self._forget(name)
            if has_room():
                return
        raise DocumentsFullError

    def _forget(self, name: str) -> None:
        self._bytes -= self._documents.pop(name).reckoned

    # Writing

    async def write(self, document: Document, update: bytes, source: Subscription) -> None:
        """Check `update` and write it into `document`, which is open; tell all editors but `source`.

        A cancelled call has written it, or will yet, or never does.

        Raises:
            UpdateError: it is none; nothing was written.
            DocumentTooLargeError: there is no room for it in the document.
            DocumentsFullError: there is none in memory.
            StoreError: it could not be stored, and nobody was told of it.
        """
        await self.check(update)
        self._reserve(document, len(update))
        write = _Write(document, update, source)
        # The document must not be forgotten before the store is done with it.
        document.users += 1
        if self._store is None:
            self._apply(write)
            self._finish(write)
            return
        try:
            await self._send.send(write)
        except BaseException:
            self._finish(write)
            raise
        await write.done.wait()
        if write.error is not None:
            raise write.error

    async def check(self, update: bytes) -> None:
        """Make sure that `update` can be merged; see `Updates.check`."""
        if self.updates.is_slow_to_check(update):
            await trio.to_thread.run_sync(self.updates.check_depth, update, limiter=self._checking)
        else:
            await trio.lowlevel.checkpoint()
        self.updates.check(update)

    def _reserve(self, document: Document, size: int) -> None:
        limit = self.limits.document_bytes
        if document.size + document.reserved + size > limit:
            document.settle()
        if document.size + document.reserved + size > limit:
            raise DocumentTooLargeError
        self._make_room(0, self._reserved + size)
        document.reserved += size
        self._reserved += size

    def _apply(self, write: _Write) -> None:
        document = write.document
        document.apply(write.update)
        self._reckon(document)
        if document.editors:
            self.tell(document, encode_update(write.update), but=write.source)

    def tell(self, document: Document, message: bytes, *, but: Subscription | None = None) -> None:
        """Send `message` to every editor of `document` but one.  Never waits: who is slow falls behind."""
        notice = Notice(message, len(message) + OVERHEAD)
        self._hub.announce(document.topic, notice, but=() if but is None else (but,))

    def _reckon(self, document: Document) -> None:
        self._bytes += document.size - document.reckoned
        document.reckoned = document.size

    def _finish(self, write: _Write) -> None:
        write.document.reserved -= len(write.update)
        self._reserved -= len(write.update)
        self._release(write.document)
        write.done.set()

    async def run(self) -> None:
        """Store what is written, until cancelled; a batch that has begun is finished first.

        Nothing can be written afterwards.
        """
        store = self._store
        with self._send, self._receive:
            if store is None:
                await trio.sleep_forever()
                return
            async for write in self._receive:
                batch = [write, *self._take_more(len(write.update))]
                # What is on its way to the disk will be there: its editors must hear of it.
                with trio.CancelScope(shield=True):
                    await self._store_batch(store, batch)

    def _take_more(self, size: int) -> list[_Write]:
        more = []
        while size < BATCH_BYTES:
            try:
                write = self._receive.receive_nowait()
            except trio.WouldBlock:
                break
            more.append(write)
            size += len(write.update)
        return more

    async def _store_batch(self, store: DocumentStore, batch: list[_Write]) -> None:
        try:
            rows = await store.append([(write.document.name, write.update) for write in batch])
        except StoreError as error:
            _log.error("documents cannot be stored: %s", error)
            for write in batch:
                write.error = error
        else:
            for write, row in zip(batch, rows, strict=True):
                write.document.last_row = row
                write.document.rows += 1
                write.document.stored += len(write.update)
                self._apply(write)
        grown = {write.document for write in batch if write.document.is_to_be_compacted}
        for write in batch:
            self._finish(write)
        for document in grown:
            await self._compact(store, document)

    async def _compact(self, store: DocumentStore, document: Document) -> None:
        """Put one row in place of all that the store has of `document`."""
        merged = document.settle()
        try:
            document.last_row = await store.replace(document.name, document.last_row, merged)
        except StoreError as error:
            # It goes on as it is, and is tried again with the next update.
            _log.error("a document cannot be compacted: %s", error)
        else:
            document.rows = 1
            document.stored = len(merged)
            self._reckon(document)

    # Looking

    async def infos(self, after: str, limit: int) -> list[DocumentInfo]:
        """Documents by name from behind `after`, those in memory and those in the store."""
        stored = await self._store.sizes(after, limit) if self._store is not None else []
        infos = {name: DocumentInfo(name, 0, size) for name, size in stored}
        infos |= {name: _info(document) for name, document in self._documents.items() if name > after}
        return [infos[name] for name in sorted(infos)[:limit]]

    async def info(self, name: str) -> DocumentInfo | None:
        """The document as it stands, None where there is none."""
        document = self._documents.get(name)
        if document is not None:
            await trio.lowlevel.checkpoint()
            return _info(document)
        size = await self._store.size(name) if self._store is not None else None
        return None if size is None else DocumentInfo(name, 0, size)


def _info(document: Document) -> DocumentInfo:
    return DocumentInfo(document.name, len(document.editors), document.size if not document.is_empty else 0)
