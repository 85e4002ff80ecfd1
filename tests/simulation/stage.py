"""The stage: the server, one life after the other, and the network that leads to it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from server.application import Application, open_application
from server.hub import Hub
from server.lifecycle import RequestHead
from server.settings import Settings
from server.transport import ConnectionServer
from tests.support.http_peer import LOCAL, PEER
from tests.support.memory_socket import ClientEnd, MemoryTcpStream, memory_tcp

from .attendance import Attendance
from .script import Restart, Script
from .truth import RecordingBroker, Truth, check

HANGUP_SECONDS = 0.1
"""Within which everything that a client held is free after its FIN or reset."""
GOODBYE_SECONDS = 6.0
"""What a room's member may take longer: `rooms.membership.GOODBYE_SECONDS`, and the close."""
CLEANUP_SECONDS = 8.0
"""What a connection may take beyond its write deadline or the drain: a goodbye and lingering."""


class RefusedError(Exception):
    """Nobody listens."""


class Line:
    """One connection as the network sees it."""

    def __init__(self, end: ClientEnd) -> None:
        self.end = end
        self.is_member = False
        self.may_block = False
        """Whether what it says may wait for others, with whatever it does next."""
        self.served = trio.Event()
        """Set once nothing of the server is concerned with it."""


class Life:
    """One life of the server, from its start to its end."""

    def __init__(self, application: Application, truth: Truth, connections: trio.Nursery) -> None:
        self.application = application
        self.truth = truth
        self.server: ConnectionServer = application.server()
        self.accepting = True
        self.ending = False
        """Whether a drain or a kill has begun: answers may be missing."""
        self.drained_at: float | None = None
        """When streams were asked to end."""
        self.attendances: dict[str, Attendance] = {}
        """By room."""
        self._connections = connections
        self._ends: set[ClientEnd] = set()

    @property
    def hub(self) -> Hub:
        """Its hub."""
        return self.application.events.hub

    def connect(self, room: int) -> Line:
        """A connection."""
        end, stream = memory_tcp(room, self.truth.server.write_deadline)
        line = Line(end)
        self._connections.start_soon(self._serve, stream, line)
        return line

    async def drain(self) -> None:
        """Stop as after SIGTERM."""
        self.ending = True
        self.application.gate.close()
        await trio.sleep(self.truth.server.drain_notice)
        self.accepting = False
        self.drained_at = trio.current_time()
        # What `ConnectionServer.run` does with those that its listeners have brought.
        await self.server._drain(self._connections)

    def kill(self) -> None:
        """Stop as a process does that is killed."""
        self.ending = True
        self.accepting = False
        self._connections.cancel_scope.cancel()
        for end in self._ends:
            end.reset()

    def check_clean(self) -> None:
        """Nothing is held for anybody."""
        hub, registry = self.hub, self.application.registry
        check(hub.subscriptions == 0, "subscriptions left:", hub.subscriptions)
        check(hub.buffered_bytes == 0, "bytes buffered for nobody:", hub.buffered_bytes)
        check(registry.leaked == 0, "leaked:", registry.leaked)
        check(not registry.streams, "streams left:", registry.streams)
        check(self.server.failures == 0, "connections failed")
        check(registry.connections == {"http": 0, "websocket": 0}, "connections:", registry.connections)
        with registry.open_stream("text", RequestHead("GET", "/", "", ())) as counter:
            opened = counter.id - 1
        ended = sum(sum(reasons.values()) for kind, reasons in registry.closed.items()) - 1
        check(ended == opened, opened, "streams ended with", ended, "reasons")
        reasons = {reason.value for each in registry.closed.values() for reason in each}
        check("failed" not in reasons, "a stream failed")
        listened = [name for name in hub.topic_names() if hub.watchers(name)]
        check(not listened, "somebody listens to", listened)

    async def _serve(self, stream: MemoryTcpStream, line: Line) -> None:
        connections = self.application.registry.connections
        self._ends.add(line.end)
        connections["http"] += 1
        try:
            await self.server.serve_stream(stream, PEER, LOCAL)
        finally:
            stream.close()
            connections["http"] -= 1
            self._ends.discard(line.end)
            line.served.set()
            waited = stream.longest_refusal
            limit = self.truth.server.write_deadline + (GOODBYE_SECONDS if line.is_member else 0.01)
            check(waited <= limit, "a reader took nothing for", waited, "seconds")


class Stage:
    """Where the actors meet: whoever connects gets the server that is there."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.life: Life | None = None
        self.truths: dict[str, Truth] = {}
        self.restarts_to_come = sum(isinstance(piece, Restart) for piece in script.pieces.values())

    def connect(self, room: int) -> tuple[Life, Line]:
        """A connection, `room` bytes of which may be on their way.

        Raises:
            RefusedError: no server accepts now.
        """
        life = self.life
        if life is None or not life.accepting:
            raise RefusedError
        return life, life.connect(room)

    async def serve(self, task_status: trio.TaskStatus[None]) -> None:
        """Serve, restarting as the script says, until cancelled."""
        restarts = [piece for piece in self.script.pieces.values() if isinstance(piece, Restart)]
        restarts.sort(key=lambda piece: piece.at)
        for restart in restarts:
            await self._live(restart, task_status)
            task_status = trio.TASK_STATUS_IGNORED
            await trio.sleep(restart.down)
            self.restarts_to_come -= 1
        await self._live(None, task_status)

    async def _live(self, restart: Restart | None, task_status: trio.TaskStatus[None]) -> None:
        server = self.script.server
        broker = RecordingBroker(server.rules_of, server.replay)
        truth = broker.truth = self.truths[broker.epoch] = Truth(server, broker.epoch)
        settings = Settings(
            heartbeat=server.heartbeat,
            write_deadline=server.write_deadline,
            drain_seconds=server.drain_seconds,
            drain_notice=server.drain_notice,
        )
        hub = Hub(broker, server.hub)
        async with open_application(settings, [LOCAL], hub=hub) as application:
            async with trio.open_nursery() as connections:
                life = self.life = Life(application, truth, connections)
                task_status.started()
                # Cancelled with the connections only where it is killed.
                await trio.sleep_until(restart.at) if restart else await trio.sleep_forever()
                assert restart is not None
                if restart.how == "kill":
                    life.kill()
                else:
                    await life.drain()
            seconds = trio.current_time() - restart.at
            limit = server.drain_notice + server.drain_seconds + CLEANUP_SECONDS
            check(seconds <= limit, "the server took", seconds, "seconds to stop")
            life.check_clean()
        self.life = None


@contextmanager
def no_error_logged() -> Iterator[None]:
    """Fails if the server logs an error in the block."""
    errors: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            errors.append(self.format(record))

    handler, log = Collector(logging.ERROR), logging.getLogger()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
    check(not errors, "logged:", *errors)
