"""However a client leaves, over a real connection, its stream is over at once, and no other one is."""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from server.lifecycle import CloseReason, RequestHead
from server.transport import AsgiMessage, ByteStream, Framing, raise_descriptor_limit
from server.transport.hangups import Hangups, read_until_hangup
from server.transport.sockets import TcpStream
from tests.transport.served import Client, Receive, Send, Site, connected

resource = pytest.importorskip("resource")

HEAD = RequestHead("GET", "/", "", ())
LEFT = [CloseReason.CLIENT_DISCONNECTED]

pytestmark = pytest.mark.time_limit(20)


class Streams:
    """A site whose streams say "open" and then wait for their client to leave.

    With `before` they are handed over once it is set.
    """

    def __init__(self) -> None:
        self.site = Site(self._app)
        self.requested = trio.Event()
        self.before = trio.Event()
        self.before.set()
        self.over: dict[str, trio.Event] = {}

    async def _app(self, scope: AsgiMessage, receive: Receive, send: Send) -> None:
        over = self.over[scope["path"]] = trio.Event()

        async def run(stream: ByteStream) -> None:
            assert stream.framing is Framing.CHUNKED
            try:
                with self.site.registry.open_stream("events", HEAD):
                    await stream.send_all(b"4\r\nopen\r\n")
                    await trio.sleep_forever()
            finally:
                over.set()

        self.requested.set()
        await self.before.wait()
        start = {"type": "http.response.start", "status": 200, "headers": []}
        await scope["sluiceway.handover"](start, run)


async def open_stream(client: Client, path: str = "/") -> None:
    await client.get(path)
    data = b""
    while not data.endswith(b"open\r\n"):
        data += await client.stream.receive_some()


def reset(client: Client) -> None:
    """Leave with RST."""
    assert isinstance(client.stream, trio.SocketStream)
    sock = client.stream.socket
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def test_a_client_that_closes_ends_its_stream() -> None:
    streams = Streams()
    async with streams.site.listening() as address, connected(address) as client:
        await open_stream(client)
        await client.stream.aclose()
        await streams.over["/"].wait()
    assert streams.site.ended == LEFT


async def test_a_client_that_half_closes_ends_its_stream() -> None:
    streams = Streams()
    async with streams.site.listening() as address, connected(address) as client:
        await open_stream(client)
        await client.half_close()
        await streams.over["/"].wait()
    assert streams.site.ended == LEFT


async def test_a_client_that_resets_ends_its_stream() -> None:
    streams = Streams()
    async with streams.site.listening() as address, connected(address) as client:
        await open_stream(client)
        reset(client)
        await streams.over["/"].wait()
    assert streams.site.ended == LEFT


async def test_an_end_behind_bytes_that_nobody_reads_is_seen() -> None:
    streams = Streams()
    async with streams.site.listening() as address, connected(address) as client:
        await open_stream(client)
        await client.send(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n" * 1000)
        await client.stream.aclose()
        await streams.over["/"].wait()
    assert streams.site.ended == LEFT
    assert streams.over.keys() == {"/"}


@pytest.mark.parametrize("how", ["half-close", "reset"])
async def test_a_client_that_left_before_the_handover_ends_its_stream(how: str) -> None:
    streams = Streams()
    streams.before = trio.Event()
    async with streams.site.listening() as address, connected(address) as client:
        await client.get()
        await streams.requested.wait()
        if how == "reset":
            reset(client)
        else:
            await client.half_close()
        streams.before.set()
        await streams.over["/"].wait()
    assert streams.site.ended == LEFT
    assert streams.site.server.failures == 0


async def test_a_hangup_is_never_taken_for_that_of_a_later_connection() -> None:
    streams = Streams()
    async with streams.site.listening() as address, connected(address) as staying:
        await open_stream(staying, "/staying")
        for number in range(20):
            async with connected(address) as client:
                # Its descriptor has the number of the one before.
                await open_stream(client, f"/{number}")
            await streams.over[f"/{number}"].wait()
            assert len(streams.site.ended) == number + 1
        assert not streams.over["/staying"].is_set()


@pytest.fixture
def many_descriptors() -> Iterator[int]:
    """The limit of open files, lifted as far as it goes."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield raise_descriptor_limit()
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def run_until(hangups: Hangups, stream: TcpStream, work: Callable[[], Awaitable[object]]) -> bool:
    """Do `work` until the peer hangs up, as the server does it; whether it came to its own end."""
    if not hangups.can_watch(stream):
        return await read_until_hangup(stream, work)
    with hangups.watch(stream) as scope:
        await work()
    return not scope.cancelled_caught


async def test_a_thousand_peers_that_leave_at_once_are_all_noticed(many_descriptors: int) -> None:
    count = min(1000, (many_descriptors - 100) // 2)
    ended = 0

    async def watch(hangups: Hangups, sock: socket.socket) -> None:
        nonlocal ended
        with sock:
            assert not await run_until(hangups, TcpStream(sock, 30), trio.sleep_forever)
        ended += 1

    with ExitStack() as peers:
        with Hangups() as hangups:
            async with trio.open_nursery() as background:
                background.start_soon(hangups.run)
                async with trio.open_nursery() as nursery:
                    for _ in range(count):
                        near, far = socket.socketpair()
                        peers.enter_context(far)
                        nursery.start_soon(watch, hangups, near)
                    await wait_all_tasks_blocked()
                    assert ended == 0
                    peers.close()
                background.cancel_scope.cancel()
    assert ended == count


async def test_work_that_ends_by_itself_is_not_cut_off() -> None:
    near, far = socket.socketpair()
    with near, far, Hangups() as hangups:
        stream = TcpStream(near, 30)
        assert await run_until(hangups, stream, trio.lowlevel.checkpoint)
        # Watched again, as if its number had been used anew.
        assert await run_until(hangups, stream, trio.lowlevel.checkpoint)


async def test_without_an_epoll_of_the_servers_the_connection_is_read() -> None:
    near, far = socket.socketpair()
    with near:
        far.send(b"nobody wants this")
        far.close()
        assert not await run_until(Hangups(), TcpStream(near, 30), trio.sleep_forever)


async def test_a_stream_closed_by_its_own_work_leaves_the_next_owner_of_its_number_watched() -> None:
    near, far = socket.socketpair()
    stream = TcpStream(near, 30)
    noticed = trio.Event()
    with far, ExitStack() as peers, Hangups() as hangups:
        async with trio.open_nursery() as nursery:

            async def watch(sock: socket.socket) -> None:
                with sock:
                    assert not await run_until(hangups, TcpStream(sock, 30), trio.sleep_forever)
                noticed.set()

            async def close_and_let_another_have_the_number() -> None:
                number = stream.fileno()
                stream.close()
                next_near, next_far = socket.socketpair()
                peers.enter_context(next_far)
                assert next_near.fileno() == number
                nursery.start_soon(watch, next_near)
                await wait_all_tasks_blocked()

            nursery.start_soon(hangups.run)
            assert await run_until(hangups, stream, close_and_let_another_have_the_number)
            peers.close()
            await noticed.wait()
            nursery.cancel_scope.cancel()
