"""The server's connections: one task each, guarded, so that whatever happens on one ends that one only.

`ConnectionServer.run` accepts until its drain gate closes, lets the streams end, and returns when all is
over.  What a connection does is in `http`; what is here is its frame: socket, TLS, guard, hangup, the end.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import trio
from hypercorn.trio.worker_context import WorkerContext

from ..lifecycle import CloseReason, Registry, RequestHead
from ..wire.problem import CONTENT_TYPE, Problem
from .drain import DrainGate, IdleConnections, spread_ends
from .hangups import Hangups, read_until_hangup
from .http import Door, EarlyHeaders, HttpConnection, OnAnswer, Takeover, Tell
from .hypercorn import AsgiApp, hypercorn_config
from .linger import linger
from .listeners import run_listener
from .reading import HttpOptions
from .sockets import TcpStream
from .websocket import WebSocketDoor
from .writes import Framing, OrderedStream

TLS_HANDSHAKE_SECONDS = 30.0
REFUSALS_AT_ONCE = 128
"""Connections over the limit that get an answer; those beyond are closed without one."""

_log = logging.getLogger("sluiceway.transport")


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Times in seconds."""

    write_deadline: float = 30.0
    max_connections: int = 10_000
    drain_seconds: float = 25.0
    drain_notice: float = 0.0
    http: HttpOptions = field(default_factory=HttpOptions)


class ConnectionServer:
    """Serves `app` on connections: accepted ones (`run`) or given ones (`serve_stream`, for tests and other
    listeners).
    """

    def __init__(
        self,
        app: AsgiApp,
        registry: Registry,
        gate: DrainGate,
        *,
        door: Door,
        door_when_full: Door,
        websockets: WebSocketDoor,
        on_answer: OnAnswer,
        options: ServerOptions,
        early_headers: EarlyHeaders | None = None,
        tell: Tell | None = None,
    ) -> None:
        """`door` sees each head before the app does, `door_when_full` those of connections over the limit.

        `websockets` decides on WebSocket handshakes, which the app never sees.
        `early_headers` are added to what either of them answers, and `tell` says how a refusal looks, where
        it is no application/problem+json.
        """
        self._app = app
        self._registry = registry
        self._gate = gate
        self._door = door
        self._door_when_full = door_when_full
        self._websockets = websockets
        self._on_answer = on_answer
        self._early_headers = early_headers or _no_headers
        self._tell = tell or _told_as_problem
        self._options = options
        self._hypercorn = hypercorn_config()
        self._context = WorkerContext(None)
        self._idle = IdleConnections()
        self._hangups = Hangups()
        self._stopped = trio.Event()
        self.failures = 0
        """Connections that ended by an exception nobody expected."""

    async def run(
        self,
        listeners: Sequence[socket.socket],
        tls: ssl.SSLContext | None = None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve `listeners` (which stay the caller's) until the drain is over.

        Cancelling it cancels every connection.
        """
        try:
            with self._hangups:
                async with trio.open_nursery() as background:
                    background.start_soon(self._hangups.run)
                    # Whoever connects from here on is in the listeners' backlog.
                    task_status.started()
                    await self._run_until_drained(listeners, tls)
                    background.cancel_scope.cancel()
        finally:
            self._stopped.set()

    async def _run_until_drained(
        self, listeners: Sequence[socket.socket], tls: ssl.SSLContext | None
    ) -> None:
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(run_listener, listener, partial(self._start, connections, tls))
                await self._gate.wait_draining()
                await trio.sleep(self._options.drain_notice)
                accepting.cancel_scope.cancel()
            for listener in listeners:
                listener.close()
            await self._drain(connections)

    async def wait_stopped(self) -> None:
        """Wait until `run` is over."""
        await self._stopped.wait()

    async def _drain(self, connections: trio.Nursery) -> None:
        connections.cancel_scope.deadline = trio.current_time() + self._options.drain_seconds
        self._idle.close()
        try:
            await spread_ends(self._registry.streams.values(), self._options.drain_seconds)
        finally:
            # Those that began meanwhile, and the ones that the deadline will cancel, have the reason all the
            # same.
            for stream in list(self._registry.streams.values()):
                stream.end(CloseReason.SERVER_DRAINING)

    def _start(
        self, nursery: trio.Nursery, tls: ssl.SSLContext | None, sock: socket.socket, peer: tuple[str, int]
    ) -> None:
        count = sum(self._registry.connections.values())
        if count >= self._options.max_connections + REFUSALS_AT_ONCE:
            sock.close()
            return
        full = count >= self._options.max_connections
        self._registry.connections["http"] += 1
        try:
            nursery.start_soon(self._serve_socket, sock, peer, tls, full)
        except BaseException:
            self._registry.connections["http"] -= 1
            sock.close()
            raise

    async def _serve_socket(
        self, sock: socket.socket, peer: tuple[str, int], tls: ssl.SSLContext | None, full: bool
    ) -> None:
        tcp = TcpStream(sock, self._options.write_deadline)
        try:
            stream: trio.abc.Stream = tcp
            if tls is not None:
                stream = trio.SSLStream(tcp, tls, server_side=True, https_compatible=True)
            await self.serve_stream(stream, peer, sock.getsockname()[:2], full=full)
        finally:
            tcp.close()
            self._registry.connections["http"] -= 1

    async def serve_stream(
        self,
        stream: trio.abc.Stream,
        peer: tuple[str, int] | None = None,
        local: tuple[str, int] | None = None,
        *,
        full: bool = False,
    ) -> None:
        """Serve one connection over `stream` to its end.  The caller closes `stream`.

        Nothing but cancellation comes out of it: the guard logs what was not expected and counts it in
        `failures`.
        """
        ordered = OrderedStream(stream)
        unfinished = False
        try:
            if isinstance(stream, trio.SSLStream) and not await _shake_hands(stream):
                return
            takeover = await self._serve_requests(ordered, peer, local, full)
            # What took the connection over may run for hours, and does so in this very frame: each coroutine
            # around it, and each thing that they hold, is memory of an idle subscriber.
            del peer, local
            if takeover is None:
                pass
            elif takeover.is_websocket:
                running = takeover.run(ordered)
                del takeover
                with self._registry.upgraded():
                    await running
            else:
                unfinished = True
                if self._hangups.can_watch(stream):
                    with self._hangups.watch(stream) as scope:
                        await takeover.run(ordered)
                    whole = not scope.cancelled_caught
                else:
                    whole = await read_until_hangup(stream, partial(takeover.run, ordered))
                if not whole:
                    return
                # Also for the sake of a head that is still held back, where the stream was empty.
                await ordered.send_all(b"0\r\n\r\n" if ordered.framing is Framing.CHUNKED else b"")
                unfinished = False
            await linger(ordered)
        except* (trio.BrokenResourceError, trio.ClosedResourceError) as gone:
            _log.debug("a connection broke: %s", gone.exceptions[0])
        except* Exception:  # noqa: BLE001 - the guard: it ends this connection and no other
            self.failures += 1
            _log.exception("a connection failed")
        finally:
            ordered.mark_broken()
            if unfinished and ordered.framing is Framing.IDENTITY and isinstance(stream, TcpStream):
                # HTTP/1.0 knows a whole answer by the end of the connection: a part must not end like that.
                stream.reset()

    async def _serve_requests(
        self,
        ordered: OrderedStream,
        peer: tuple[str, int] | None,
        local: tuple[str, int] | None,
        full: bool,
    ) -> Takeover | None:
        return await HttpConnection(
            self._app,
            ordered,
            door=self._door_when_full if full else self._door,
            websockets=self._websockets,
            idle=self._idle,
            on_answer=self._on_answer,
            early_headers=self._early_headers,
            tell=self._tell,
            options=self._options.http,
            config=self._hypercorn,
            context=self._context,
            peer=peer,
            local=local,
            secure=isinstance(ordered.stream, trio.SSLStream),
        ).serve()


async def _shake_hands(stream: trio.SSLStream[trio.abc.Stream]) -> bool:
    with trio.move_on_after(TLS_HANDSHAKE_SECONDS) as scope:
        await stream.do_handshake()
    return not scope.cancelled_caught


def _no_headers(_: RequestHead) -> Mapping[str, str]:
    return {}


def _told_as_problem(_: RequestHead | None, problem: Problem) -> tuple[int, str, bytes]:
    return problem.status, CONTENT_TYPE, problem.encode()
