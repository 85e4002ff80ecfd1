"""Documents with everything they need, and editors on connections in memory, for tests in virtual time.

The editors are pycrdt's documents, which speak the protocol as a browser's provider does.  `open_study` opens
the services, and checks at its end that nothing is left of any editor.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pycrdt
import trio

from server.hub import Overflow, TopicRules
from server.lifecycle import CloseReason, Registry, RequestHead
from server.rooms import Pings
from server.rooms.documents import DocumentLimits, Documents, Editing, EditingServices, Updates
from server.rooms.documents.store import DocumentStore
from server.transport import DrainGate
from server.wire.y_protocol import (
    Awareness,
    AwarenessEntry,
    ClientMessage,
    SyncStep1,
    SyncStep2,
    Update,
    decode,
    encode_awareness,
    encode_step_1,
    encode_step_2,
    encode_update,
)

from .frames import Binary, Close, PingFrame, PongFrame
from .hubs import open_hub
from .memory_connection import MemoryPeer, memory_connection

HEAD = RequestHead("GET", "/documents/paper", "", ())


async def hear(peer: MemoryPeer) -> ClientMessage:
    """The next message that `peer` is sent.

    Raises:
        EOFError: there is none any more.
    """
    while True:
        frame = await peer.receive()
        if isinstance(frame, PingFrame | PongFrame):
            continue
        assert isinstance(frame, Binary), frame
        return decode(frame.data)


async def hear_close(peer: MemoryPeer) -> Close:
    """The close frame that ends what `peer` is sent."""
    while True:
        frame = await peer.receive()
        if isinstance(frame, Close):
            return frame


@dataclass(slots=True)
class Writer:
    """An editor, from its own side."""

    peer: MemoryPeer
    doc: pycrdt.Doc[Any]
    text: pycrdt.Text
    ended: trio.Event = field(default_factory=trio.Event)
    others: dict[int, str] = field(default_factory=dict)

    async def catch_up(self) -> None:
        """Do what a provider does when it has connected, until both sides are even."""
        await self.peer.send(encode_step_1(self.doc.get_state()))
        while not isinstance(await self.hear(), SyncStep2):
            pass

    async def hear(self) -> ClientMessage:
        """The next message, and do what it asks."""
        message = await hear(self.peer)
        match message:
            case SyncStep1(state):
                await self.peer.send(encode_step_2(self.doc.get_update(state)))
            case SyncStep2(update) | Update(update):
                self.doc.apply_update(update)
            case Awareness(entries):
                self.others.update({entry.client: entry.state for entry in entries})
            case _:
                pass
        return message

    async def hear_text(self, text: str) -> None:
        """Hear until the text is this."""
        while str(self.text) != text:
            await self.hear()

    def edit(self, text: str) -> bytes:
        """Append `text`; the update of it."""
        before = self.doc.get_state()
        self.text += text
        return self.doc.get_update(before)

    async def write(self, text: str) -> None:
        """Append `text` for all."""
        await self.peer.send(encode_update(self.edit(text)))

    async def show(self, clock: int, state: str = "{}", client: int | None = None) -> None:
        """Show `state` of oneself."""
        entry = AwarenessEntry(self.doc.client_id if client is None else client, clock, state)
        await self.peer.send(encode_awareness([entry]))


class Study:
    """The services, and the editors that have been let in."""

    def __init__(self, services: EditingServices, nursery: trio.Nursery, write_deadline: float) -> None:
        self.services = services
        self.failures: list[Exception] = []
        """What came out of an editor's stay that is no broken connection."""
        self._nursery = nursery
        self._write_deadline = write_deadline

    @property
    def documents(self) -> Documents:
        """All documents."""
        return self.services.documents

    @property
    def closed(self) -> dict[CloseReason, int]:
        """How many editors have ended, by reason."""
        return dict(self.services.registry.closed.get("room", {}))

    def enter(
        self, name: str = "paper", *, doc: pycrdt.Doc[Any] | None = None, buffer: int = 64 * 1024
    ) -> Writer:
        """Let an editor in; what it is sent has not been read.  `buffer` bytes may be on their way to it."""
        connection, peer = memory_connection(room=buffer, write_deadline=self._write_deadline)
        doc = pycrdt.Doc() if doc is None else doc
        writer = Writer(peer, doc, doc.get("text", type=pycrdt.Text))

        async def run() -> None:
            # What the transport does around it.
            try:
                await Editing(self.services, HEAD, name).run(connection)
                await connection.close(1000, "")
            except* trio.BrokenResourceError:
                pass
            except* Exception as failed:  # noqa: BLE001 - shown by the test
                self.failures.append(failed)
            finally:
                connection.cut()
                writer.ended.set()

        self._nursery.start_soon(run)
        return writer

    async def join(
        self, name: str = "paper", *, doc: pycrdt.Doc[Any] | None = None, buffer: int = 64 * 1024
    ) -> Writer:
        """Let an editor in that is up to date."""
        writer = self.enter(name, doc=doc, buffer=buffer)
        await writer.catch_up()
        await trio.testing.wait_all_tasks_blocked()
        return writer

    async def join_two(self, name: str = "paper") -> tuple[Writer, Writer]:
        """Two editors that are up to date."""
        return await self.join(name), await self.join(name)

    def check_nothing_is_left(self) -> None:
        """Assert that no editor is there and nothing is held for one."""
        services = self.services
        assert services.registry.streams == {}
        assert services.registry.leaked == 0
        assert services.hub.subscriptions == 0
        assert services.hub.buffered_bytes == 0
        assert services.documents.editors == 0
        for document in services.documents._documents.values():
            assert not document.editors
            assert not document.users
            assert not document.reserved
        assert not services.documents._reserved
        assert not services.pings._ticker.kept
        assert self.failures == []


@asynccontextmanager
async def open_study(
    *,
    store: DocumentStore | None = None,
    limits: DocumentLimits | None = None,
    capacity: int = 1000,
    write_deadline: float = 30.0,
) -> AsyncIterator[Study]:
    """Open the services, and send all editors away at the end."""
    registry = Registry()
    rules = TopicRules(capacity, 8 * 1024 * 1024, Overflow.DISCONNECT)
    hub = open_hub(max_topics=100, rules_of=lambda _: rules)
    gate = DrainGate(lambda: len(registry.streams), 25.0)
    documents = Documents(hub, Updates(), limits or DocumentLimits(), store)
    services = EditingServices(hub, registry, documents, Pings(), gate)
    async with trio.open_nursery() as background:
        background.start_soon(services.pings.run)
        background.start_soon(documents.run)
        async with trio.open_nursery() as nursery:
            study = Study(services, nursery, write_deadline)
            yield study
            nursery.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        background.cancel_scope.cancel()
    study.check_nothing_is_left()


def texts_of(writers: Sequence[Writer]) -> list[str]:
    """What each has."""
    return [str(writer.text) for writer in writers]
