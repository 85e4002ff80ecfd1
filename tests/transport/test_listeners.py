"""Listening: where it was asked to, for as many as it was told to, and through a lack of descriptors."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from server.transport import ServerOptions, open_listeners, raise_descriptor_limit
from server.transport.listeners import run_listener
from tests.transport.served import Site, connected, echo

resource = pytest.importorskip("resource")

pytestmark = pytest.mark.time_limit(20)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Within the block, opening anything fails with EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    taken: list[int] = []
    try:
        while True:
            try:
                taken.append(os.dup(0))
            except OSError as error:
                assert error.errno == errno.EMFILE
                break
        yield
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Told(logging.Handler):
    """Sets `event` with the first error that is logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.event = trio.Event()
        self.times = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.times += 1
        self.event.set()


async def test_a_lack_of_descriptors_is_waited_out() -> None:
    accepted = trio.Event()
    told = Told()
    logging.getLogger("sluiceway.transport").addHandler(told)

    def on_connection(sock: socket.socket, peer: tuple[str, int]) -> None:
        sock.close()
        accepted.set()

    with open_listeners([("127.0.0.1", 0)]) as (listener,), socket.socket() as client:
        client.setblocking(False)
        async with trio.open_nursery() as nursery:
            with no_descriptor_left():
                nursery.start_soon(run_listener, listener, on_connection)
                with pytest.raises(BlockingIOError):
                    client.connect(listener.getsockname())
                await told.event.wait()
                # Several tries later it has still been said once.
                await trio.sleep(0.35)
                assert told.times == 1
                assert not accepted.is_set()
            await accepted.wait()
            nursery.cancel_scope.cancel()
    logging.getLogger("sluiceway.transport").removeHandler(told)


def test_port_0_is_any_free_one() -> None:
    with open_listeners([("127.0.0.1", 0), ("127.0.0.1", 0)]) as listeners:
        ports = [listener.getsockname()[1] for listener in listeners]
    assert 0 not in ports
    assert len(set(ports)) == 2


def test_a_busy_port_is_an_error_and_nothing_stays_open() -> None:
    with open_listeners([("127.0.0.1", 0)]) as (listener,):
        taken = listener.getsockname()[1]
        with pytest.raises(OSError, match="in use"), open_listeners([("127.0.0.1", 0), ("127.0.0.1", taken)]):
            pass


def has_ipv6() -> bool:
    """Whether this machine has a loopback address of IPv6."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
async def test_ipv6_is_served() -> None:
    site = Site(echo)
    async with site.listening("::1") as address, connected(address) as client:
        await client.get()
        assert (await client.answer()).status == 200


def test_the_limit_of_descriptors_can_be_lifted_to_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        assert raise_descriptor_limit() == hard
        assert raise_descriptor_limit() == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("headers", "status", "body"),
    [((), 503, b'"code":"connections_full"'), (("Accept: text/event-stream",), 200, b"retry: 1000")],
    ids=["page", "event stream"],
)
async def test_who_comes_after_the_last_place_is_told_so(
    headers: tuple[str, ...], status: int, body: bytes
) -> None:
    site = Site(echo, ServerOptions(max_connections=1))
    async with site.listening() as address:
        async with connected(address) as first:
            await first.get()
            await first.answer()
            async with connected(address) as second:
                await second.get("/", *headers)
                answer = await second.answer()
                assert answer.status == status
                assert body in answer.body
                assert answer.closes
                assert await second.rest() == b""
            await first.get()
            assert (await first.answer()).status == 200
        while site.registry.connections["http"]:
            await trio.lowlevel.checkpoint()
        async with connected(address) as third:
            await third.get()
            assert (await third.answer()).status == 200
