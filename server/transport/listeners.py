"""Listening sockets: opening them, accepting from them, and surviving the lack of descriptors."""

from __future__ import annotations

import errno
import logging
import resource
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import trio

from .sockets import tune

BACKLOG = 4096
ACCEPTS_A_PASS = 64
"""Connections accepted before others get their turn."""

_CAPACITY_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_PAUSE = 0.1

_log = logging.getLogger("sluiceway.transport")


def raise_descriptor_limit() -> int:
    """Lift the soft limit of open files to the hard one, and return it.

    A connection needs one descriptor.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        _log.warning("the limit of open files stays at %d: %s", soft, error)
        return soft
    return hard


@contextmanager
def open_listeners(addresses: Sequence[tuple[str, int]]) -> Iterator[list[socket.socket]]:
    """Listening sockets for `addresses` (host, port), in their order.  An empty host means every interface.

    Raises:
        OSError: an address cannot be bound; the message says which.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(_listen_or_name(host, port)) for host, port in addresses]


def _listen_or_name(host: str, port: int) -> socket.socket:
    try:
        return _listen(host, port)
    except OSError as error:
        shown = f"[{host}]" if ":" in host else host
        raise OSError(f"cannot listen on {shown}:{port}: {error.strerror}") from error


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setblocking(False)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


async def run_listener(
    listener: socket.socket, on_connection: Callable[[socket.socket, tuple[str, int]], object]
) -> None:
    """Accept connections until cancelled, giving each (its socket, the peer's host and port) to
    `on_connection`.

    Lack of descriptors or memory is logged and waited out; the connections stay in the backlog meanwhile.
    """
    while True:
        await trio.lowlevel.wait_readable(listener)
        for _ in range(ACCEPTS_A_PASS):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _CAPACITY_ERRORS:
                    _log.error("no connection can be accepted: %s", error.strerror)
                    await trio.sleep(_PAUSE)
                    break
                # The peer left before it was accepted (ECONNABORTED and its like): the next one is not
                # concerned.
                _log.info("a connection was gone before it was accepted: %s", error.strerror)
                continue
            tune(sock)
            on_connection(sock, (str(address[0]), int(address[1])))
        await trio.lowlevel.checkpoint()
