"""A network that can be cut: a proxy on a free port before a server's, for clients in other processes.

It cuts when it is told to, or each connection by a fate of its own.
"""

from __future__ import annotations

import enum
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Self

_RESET_AT_CLOSE = b"\1\0\0\0\0\0\0\0"
_CLOSE_AS_USUAL = b"\0\0\0\0\0\0\0\0"
_TICK = 0.05
_SECONDS_TO_END = 2.0


class Cut(enum.Enum):
    """How a connection is cut."""

    RESET = enum.auto()
    """By RST to both sides."""
    FIN = enum.auto()
    """By FIN to both sides, as by a proxy that is restarted."""
    STALL = enum.auto()
    """Bytes one way are lost for a while, with nobody told; then by RST."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one connection: the cut comes once `after` bytes have gone one way, to the client or to
    the server.  A stall takes `seconds`.
    """

    cut: Cut
    after: int
    to_client: bool
    seconds: float = 0.0


def random_fates(seed: int) -> Iterator[Fate]:
    """Fates without end, always the same for the same seed.

    Some come before the client has anything, in the middle of the handshake; most let some kilobytes pass.
    """
    random = Random(seed)
    while True:
        to_client = random.random() < 0.7
        yield Fate(
            cut=random.choice(list(Cut)),
            after=int(40 * 2 ** random.uniform(0, 9 if to_client else 7)),
            to_client=to_client,
            seconds=random.uniform(0.0, 0.5),
        )


class CuttingProxy:
    """Passes bytes on between its port and `target`, until `cut`; from then on it refuses, until `mend`.

    `target` may be set anew, as for a server that has been restarted.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.cuts = dict.fromkeys(Cut, 0)
        """How many connections have met their fate, by its kind."""
        self._fates: Iterator[Fate] = iter(())
        self._is_cut = False
        self._ended = False
        self._lock = threading.Lock()
        self._ways: dict[socket.socket, _Way] = {}
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._thread.join()
        self._drop_all()
        self._selector.close()
        self._listener.close()

    @property
    def port(self) -> int:
        """Where clients connect to."""
        port: int = self._listener.getsockname()[1]
        return port

    def cut(self) -> None:
        """Reset every connection, and each new one."""
        with self._lock:
            self._is_cut = True
            self._drop_all()

    def mend(self) -> None:
        """Pass on again."""
        with self._lock:
            self._is_cut = False

    def doom(self, fates: Iterator[Fate]) -> None:
        """Give every connection, and each new one, the next of `fates`; those that come when there are no
        more are left alone.
        """
        with self._lock:
            self._fates = fates
            for way in list(self._ways.values()):
                if way.to_client:
                    self._give_fate(way)

    def _run(self) -> None:
        while not self._ended:
            ready = self._selector.select(_TICK)
            with self._lock:
                for key, _ in ready:
                    assert isinstance(key.fileobj, socket.socket)
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj in self._ways:
                        self._pass_on(self._ways[key.fileobj])
                now = time.monotonic()
                for way in list(self._ways.values()):
                    if way.source in self._ways and way.drop_at is not None and way.drop_at <= now:
                        self._drop(way)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        if self._is_cut:
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            client.close()
            return
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        for source, sink, to_client in ((client, server, False), (server, client, True)):
            self._ways[source] = _Way(source, sink, to_client)
            self._selector.register(source, selectors.EVENT_READ)
        self._give_fate(self._ways[server])

    def _give_fate(self, to_client: _Way) -> None:
        fate = next(self._fates, None)
        if fate is not None:
            way = to_client if fate.to_client else self._back(to_client)
            way.fate, way.left = fate, fate.after

    def _pass_on(self, way: _Way) -> None:
        try:
            data = way.source.recv(64 * 1024)
            if way.lost:
                if not data:
                    self._end(way)
                return
            if not data:
                raise ConnectionError
            if way.fate is None or way.left > len(data):
                way.sink.sendall(data)
                way.left -= len(data)
                return
            way.sink.sendall(data[: way.left])
        except OSError:
            self._drop(way)
            return
        self._meet_fate(way, way.fate)

    def _meet_fate(self, way: _Way, fate: Fate) -> None:
        self.cuts[fate.cut] += 1
        if fate.cut is Cut.RESET:
            self._drop(way)
        elif fate.cut is Cut.STALL:
            way.lost = True
            way.drop_at = time.monotonic() + fate.seconds
        else:
            self._finish(way)

    def _finish(self, way: _Way) -> None:
        """FIN to both sides; what still comes from them is lost, until they have ended too."""
        for each in (way, self._back(way)):
            each.lost = True
            each.drop_at = time.monotonic() + _SECONDS_TO_END
            try:
                each.sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_AS_USUAL)
                each.sink.shutdown(socket.SHUT_WR)
            except OSError:
                self._drop(way)
                return

    def _end(self, way: _Way) -> None:
        """One side has ended behind a cut: nothing is left to read of it."""
        if self._back(way).ended or not self._back(way).lost:
            self._drop(way)
        else:
            self._selector.unregister(way.source)
            way.ended = True

    def _back(self, way: _Way) -> _Way:
        return self._ways[way.sink]

    def _drop(self, way: _Way) -> None:
        for each in (way.source, way.sink):
            if not self._ways.pop(each).ended:
                self._selector.unregister(each)
            each.close()

    def _drop_all(self) -> None:
        while self._ways:
            self._drop(next(iter(self._ways.values())))


@dataclass(eq=False, slots=True)
class _Way:
    """One direction of a connection."""

    source: socket.socket
    sink: socket.socket
    to_client: bool
    fate: Fate | None = None
    left: int = 0
    """Bytes until the cut."""
    lost: bool = False
    """Whether what comes is thrown away."""
    ended: bool = False
    """Whether nothing comes any more."""
    drop_at: float | None = None
