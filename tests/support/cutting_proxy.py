"""A network that can be cut: a proxy on a free port before a server's, for clients in other processes."""

from __future__ import annotations

import selectors
import socket
import threading
from types import TracebackType
from typing import Self

_RESET_AT_CLOSE = b"\1\0\0\0\0\0\0\0"
_TICK = 0.05


class CuttingProxy:
    """Passes bytes on between its port and `target`, until `cut`; from then on it refuses, until `mend`.

    `target` may be set anew, as for a server that has been restarted.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self._is_cut = False
        self._ended = False
        self._lock = threading.Lock()
        self._pairs: dict[socket.socket, socket.socket] = {}
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

    def _run(self) -> None:
        while not self._ended:
            ready = self._selector.select(_TICK)
            with self._lock:
                for key, _ in ready:
                    assert isinstance(key.fileobj, socket.socket)
                    if key.fileobj is self._listener:
                        self._accept()
                    else:
                        self._pass_on(key.fileobj)

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
        for one, other in ((client, server), (server, client)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, source: socket.socket) -> None:
        if source not in self._pairs:
            return
        try:
            data = source.recv(64 * 1024)
            if not data:
                raise ConnectionError
            self._pairs[source].sendall(data)
        except OSError:
            self._drop(source)

    def _drop(self, one: socket.socket) -> None:
        other = self._pairs.pop(one)
        del self._pairs[other]
        for each in (one, other):
            self._selector.unregister(each)
            each.close()

    def _drop_all(self) -> None:
        while self._pairs:
            self._drop(next(iter(self._pairs)))
