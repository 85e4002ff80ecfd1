"""What leaves a WebSocket is whole frames, in order, and nothing behind a close frame; all in process."""

from __future__ import annotations

import socket
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from itertools import cycle

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair
from wsproto.connection import Connection as WsprotoConnection
from wsproto.connection import ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Pong, TextMessage

from server.lifecycle import RequestHead
from server.transport.connection import Connection, ConnectionEndedError
from server.transport.sockets import TcpStream
from server.transport.websocket import Acceptance, serve_websocket
from server.transport.writes import OrderedStream, Sent
from server.wire.websocket import binary_frame, close_frame, text_frame
from tests.support.cancel import cancel_at_each_step
from tests.support.raw_websocket import BINARY, CONTINUATION, KEY, PING, TEXT, close, frame

HEAD = RequestHead("GET", "/rooms/a", "", (("sec-websocket-key", KEY),), "", "", secure=False)
END_OF_HEAD = b"\r\n\r\n"


async def echo(connection: Connection) -> None:
    """Send every message back until the client ends the connection."""
    try:
        while True:
            message = await connection.receive()
            assert isinstance(message, str)
            await connection.send_all(text_frame(message.encode()))
    except ConnectionEndedError:
        return


def events_of(received: bytes) -> list[Event]:
    """What a client makes of all that came behind the handshake: whole frames, and not a byte more."""
    connection = WsprotoConnection(ConnectionType.CLIENT)
    connection.receive_data(received)
    events = list(connection.events())
    assert sum(map(size_of, events)) == len(received), f"torn, or too much: {events[-1:]}"
    return events


def size_of(event: Event) -> int:
    """The bytes of the one frame that `event` came in."""
    match event:
        case TextMessage(data=text):
            length = len(text.encode())
        case BytesMessage(data=data):
            length = len(data)
        case Pong(payload=payload):
            length = len(payload)
        case CloseConnection(code=code, reason=reason):
            length = 0 if code == 1005 else 2 + len((reason or "").encode())
        case _:
            raise AssertionError(event)
    return length + (2 if length < 126 else 4 if length < 1 << 16 else 10)


# --- Many writers -------------------------------------------------------------------------------------------

SIZES = st.integers(0, 9000)
ENDS = st.sampled_from(["server", "client", "fault"])


@given(
    broadcasts=st.lists(SIZES, max_size=12),
    writers=st.lists(st.lists(SIZES, max_size=4), max_size=3),
    pings=st.lists(st.integers(0, 125), max_size=8),
    reads=st.lists(st.integers(1, 3000), min_size=1, max_size=8),
    end=ENDS,
)
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
async def test_no_frame_is_torn_and_nothing_follows_a_close(
    broadcasts: list[int], writers: list[list[int]], pings: list[int], reads: list[int], end: str
) -> None:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    received = bytearray()
    closed = trio.Event()
    with trio.fail_after(20):
        async with (
            TcpStream(ours, 20) as near,
            trio.SocketStream(trio.socket.from_stdlib_socket(theirs)) as far,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_take, far, received, cycle(reads), closed)
            nursery.start_soon(_talk_back, far, pings, end, closed)
            talk = _talk(broadcasts, writers, end)
            await serve_websocket(OrderedStream(near), HEAD, b"", Acceptance(talk))
            await near.send_eof()
    events = events_of(bytes(received).partition(END_OF_HEAD)[2])
    assert [type(event) for event in events].index(CloseConnection) == len(events) - 1
    pongs = [event.payload for event in events if isinstance(event, Pong)]
    assert pongs == [_ping(i, size) for i, size in enumerate(pings)][: len(pongs)]
    texts = [event.data for event in events if isinstance(event, TextMessage)]
    assert texts == [_filled("b", i, size).decode() for i, size in enumerate(broadcasts)][: len(texts)]
    blobs = [bytes(event.data) for event in events if isinstance(event, BytesMessage)]
    for number, sizes in enumerate(writers):
        mine = [blob for blob in blobs if blob.startswith(b"%d" % number)]
        assert mine == [_filled(str(number), i, size) for i, size in enumerate(sizes)][: len(mine)]
    if end == "server":
        assert (len(texts), len(blobs)) == (len(broadcasts), sum(map(len, writers)))


def _filled(who: str, number: int, size: int) -> bytes:
    return f"{who} {number} ".encode() + b"." * size


def _ping(number: int, size: int) -> bytes:
    return (b"%d" % number + b"." * size)[:125]


async def _take(
    far: trio.SocketStream, received: bytearray, reads: Iterator[int], closed: trio.Event
) -> None:
    """Read in pieces of the given sizes until the end; say when the close frame has come."""
    for size in reads:
        data = await far.receive_some(size)
        if not data:
            return
        received += data
        if received.endswith(close_frame(1000, "")):
            closed.set()


async def _talk_back(far: trio.SocketStream, pings: list[int], end: str, closed: trio.Event) -> None:
    """Send pings, then the end as `end` has it: the answer to the server's close, or what brings it about."""
    for number, size in enumerate(pings):
        await far.send_all(frame(PING, _ping(number, size)))
        await trio.lowlevel.checkpoint()
    if end == "server":
        await closed.wait()
    else:
        await far.send_all(close(1000) if end == "client" else frame(TEXT, rsv=1))
    await far.send_all(frame(PING, b"too late") + close(1000))


def _talk(
    broadcasts: list[int], writers: list[list[int]], end: str
) -> Callable[[Connection], Awaitable[None]]:
    """A connection's run: the hub's frames and those of several tasks, until either side ends it."""

    async def broadcast(connection: Connection) -> None:
        for number, size in enumerate(broadcasts):
            data = text_frame(_filled("b", number, size))
            match connection.try_send(data):
                case Sent.BUSY:
                    await connection.send_all(data)
                case Sent.KEPT:
                    await trio.lowlevel.checkpoint()
                    await connection.send_all(b"")
                case Sent.GONE:
                    return
            await trio.lowlevel.checkpoint()

    async def write(connection: Connection, who: int, sizes: list[int]) -> None:
        for number, size in enumerate(sizes):
            await connection.send_all(binary_frame(_filled(str(who), number, size)))

    async def send_everything(connection: Connection) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(broadcast, connection)
                for who, sizes in enumerate(writers):
                    nursery.start_soon(write, connection, who, sizes)
        except* trio.BrokenResourceError:
            # The client has been answered its close in the middle of it.
            assert end == "client"

    async def run(connection: Connection) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_everything, connection)
            if end != "server":
                with pytest.raises(ConnectionEndedError) as ended:
                    await connection.receive()
                assert ended.value.code == (1000 if end == "client" else 1002)

    return run


# --- Ends ---------------------------------------------------------------------------------------------------


async def test_a_cancellation_at_any_step_leaves_nothing(autojump_clock: MockClock) -> None:
    received = bytearray()
    runs: list[str] = []

    async def watched_echo(connection: Connection) -> None:
        runs.append("began")
        try:
            await echo(connection)
            await connection.close(1000, "enough")
            with pytest.raises(ConnectionEndedError):
                await connection.receive()
        finally:
            runs.append("ended")

    async def client(far: trio.abc.Stream) -> None:
        while END_OF_HEAD not in received:
            received.extend(await far.receive_some())
        await far.send_all(frame(TEXT, b"hello") + frame(PING, b"x"))
        await far.send_all(close(1000))
        while data := await far.receive_some():
            received.extend(data)

    async def talk() -> None:
        received.clear()
        runs.clear()
        near, far = memory_stream_pair()
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(client, far)
            await serve_websocket(OrderedStream(near), HEAD, b"", Acceptance(watched_echo))
            await near.send_eof()

    def nothing_left(step: int) -> None:
        assert runs in ([], ["began", "ended"])
        if END_OF_HEAD in received:
            events = events_of(bytes(received).partition(END_OF_HEAD)[2])
            closes = [i for i, event in enumerate(events) if isinstance(event, CloseConnection)]
            assert closes in ([], [len(events) - 1])

    steps = await cancel_at_each_step(talk, after=nothing_left)
    assert steps > 20
    assert isinstance(events_of(bytes(received).partition(END_OF_HEAD)[2])[-1], CloseConnection)


@pytest.mark.parametrize("last", [close(1000), frame(PING, b"x"), frame(TEXT, b"x" * 70_000)])
async def test_a_reply_that_cannot_be_written_ends_the_connection(
    last: bytes, autojump_clock: MockClock
) -> None:
    near, _far = memory_stream_pair()
    opened = trio.Event()

    async def refuse() -> None:
        if opened.is_set():
            raise trio.BrokenResourceError("the peer takes nothing")

    near.send_stream.send_all_hook = refuse

    async def receive(connection: Connection) -> None:
        opened.set()
        with pytest.raises(ConnectionEndedError):
            await connection.receive()

    # The peer stays where it is, and says nothing more.
    with trio.fail_after(60):
        await serve_websocket(OrderedStream(near), HEAD, last, Acceptance(receive))


class SippingStream(trio.abc.ReceiveStream):
    """`inner`, of which a read takes three bytes at most, as if each came in a segment of its own."""

    def __init__(self, inner: trio.abc.ReceiveStream) -> None:
        self._inner = inner

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._inner.receive_some(3)

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_a_message_that_comes_in_sips_takes_the_memory_of_its_bytes(
    opcode: int, autojump_clock: MockClock
) -> None:
    near, far = memory_stream_pair()
    sipped = trio.StapledStream(near.send_stream, SippingStream(near.receive_stream))
    text = bytes(range(32, 127)) * 100

    async def client() -> None:
        await far.send_all(frame(opcode, text[:1000], fin=False))
        await trio.testing.wait_all_tasks_blocked()
        before = tracemalloc.get_traced_memory()[0]
        await far.send_all(frame(CONTINUATION, text[1000:], fin=False))
        await trio.testing.wait_all_tasks_blocked()
        assert tracemalloc.get_traced_memory()[0] - before < 5 * len(text)
        await far.send_all(frame(CONTINUATION))

    async def receive(connection: Connection) -> None:
        message = await connection.receive()
        assert (message.encode() if isinstance(message, str) else message) == text
        await far.send_all(close(1000))
        with pytest.raises(ConnectionEndedError):
            await connection.receive()

    tracemalloc.start()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client)
            await serve_websocket(OrderedStream(sipped), HEAD, b"", Acceptance(receive))
    finally:
        tracemalloc.stop()


async def test_empty_fragments_without_end_take_no_memory(autojump_clock: MockClock) -> None:
    near, far = memory_stream_pair()
    empty = frame(CONTINUATION, fin=False) * 1000

    async def client() -> None:
        await far.send_all(frame(TEXT, b"<", fin=False))
        await far.send_all(empty * 5)
        before = tracemalloc.get_traced_memory()[0]
        await far.send_all(empty * 30)
        await trio.testing.wait_all_tasks_blocked()
        assert tracemalloc.get_traced_memory()[0] - before < 100_000
        await far.send_all(frame(CONTINUATION, b"\xe2", fin=False) + frame(CONTINUATION, b"\x82\xac>"))

    async def receive(connection: Connection) -> None:
        assert await connection.receive() == "<€>"
        await far.send_all(close(1000))
        with pytest.raises(ConnectionEndedError):
            await connection.receive()

    tracemalloc.start()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client)
            await serve_websocket(OrderedStream(near), HEAD, b"", Acceptance(receive))
    finally:
        tracemalloc.stop()
