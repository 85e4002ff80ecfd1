"""A narrow place in the network: what a server sends arrives a few bytes at a time, or is cut off.

So no client can count on it that a character, a line or an event arrives in one piece.
"""

from __future__ import annotations

import itertools
import socket
import threading
from types import TracebackType
from typing import Self

_SIZES = (1, 2, 3, 1, 5, 1, 1, 7)


class Narrows:
    """Passes connections on to a port of loopback, from `__enter__` to `__exit__`; `url` is where it is.

    `cuts` are for the connections in their order: one ends after so many bytes from the server, with None not
    before the server ends it.  Those beyond are not cut.  It is an end and no reset, which could take back
    what the client has not read yet.
    """

    def __init__(self, port: int, cuts: list[int | None] | None = None) -> None:
        self._port = port
        self._cuts = list(cuts or [])
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.connections = 0

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A blocked accept is woken by a shutdown, not by a close.
        self._listener.shutdown(socket.SHUT_RDWR)
        for each in list(self._open):
            self._shut(each)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            cut = self._cuts.pop(0) if self._cuts else None
            self._start(self._pass, client, cut)

    def _pass(self, client: socket.socket, cut: int | None) -> None:
        with client, socket.create_connection(("127.0.0.1", self._port)) as server:
            self._open |= {client, server}
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            up = threading.Thread(target=self._pass_up, args=(client, server), daemon=True)
            up.start()
            try:
                self._pass_down(server, client, cut)
            except OSError:
                pass
            for each in (client, server):
                self._shut(each)
            up.join(10)
            self._open -= {client, server}

    def _pass_up(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while data := client.recv(65536):
                server.sendall(data)
        except OSError:
            pass
        self._shut(server)

    def _pass_down(self, server: socket.socket, client: socket.socket, cut: int | None) -> None:
        """Pass on what the server sends, up to its end or the cut."""
        passed = 0
        sizes = itertools.cycle(_SIZES)
        while data := server.recv(65536):
            while data:
                if cut is not None and passed >= cut:
                    return
                size = next(sizes)
                client.sendall(data[:size])
                passed += len(data[:size])
                data = data[size:]

    @staticmethod
    def _shut(each: socket.socket) -> None:
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
