"""Many viewers of one generation, over real sockets: the same text for all, and none waits for another."""

from __future__ import annotations

import json
import socket

import trio

from tests.clients.sockets import Api, exchange, wait_until
from tests.support.process import ServerProcess
from tests.support.sse import Event, SSEParser

VIEWERS = 100
WORDS = 600
DELAY_MS = 5
"""200 tokens a second."""
SAID = " ".join(f"{number}-ü-{'flow' * 50}" for number in range(WORDS))


def start(port: int) -> str:
    """Start a generation that goes on by itself; its id."""
    body = json.dumps(
        {"messages": [{"role": "user", "content": SAID}], "options": {"delay_ms": DELAY_MS}}
    ).encode()
    head = (
        "POST /generations HTTP/1.1\r\nHost: localhost\r\nPrefer: respond-async\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    status, _, answer = exchange(port, head.encode() + body)
    assert status == 202, answer
    return str(json.loads(answer)["id"])


async def watching(port: int, generation: str, *, receive_buffer: int | None = None) -> trio.SocketStream:
    """A viewer's connection, the request sent: HTTP/1.0, so that the events come as they are."""
    connection = trio.socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await connection.connect(("127.0.0.1", port))
    stream = trio.SocketStream(connection)
    await stream.send_all(
        f"GET /generations/{generation}/events HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
    )
    return stream


async def read_all(stream: trio.SocketStream) -> list[Event]:
    """The events up to the server's end."""
    data = b"".join([part async for part in stream])
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    return [event for event in SSEParser().feed(body) if event.data is not None]


def tokens_of(events: list[Event]) -> list[str]:
    assert events[-1].event == "done"
    return [json.loads(event.data or "")["content"] for event in events if event.event == "token"]


async def test_a_hundred_viewers_read_the_same_while_one_reads_nothing(
    running_server: ServerProcess, api: Api
) -> None:
    port = running_server.port
    generation = await trio.to_thread.run_sync(start, port)
    seen: list[list[str]] = []

    async def view() -> None:
        async with await watching(port, generation) as stream:
            seen.append(tokens_of(await read_all(stream)))

    async with await watching(port, generation, receive_buffer=4096) as stalled:
        async with trio.open_nursery() as nursery:
            for _ in range(VIEWERS):
                nursery.start_soon(view)
        # All others have read the end of it; its stream is the one that is still there.
        await trio.to_thread.run_sync(
            wait_until, lambda: api.stats()["streams"]["generation"] == 1, "the others have ended"
        )
        assert {"".join(tokens) for tokens in seen} == {SAID}
        assert len(seen) == VIEWERS
        # It gets the same, what it missed in a few pieces.
        late = tokens_of(await read_all(stalled))
        assert "".join(late) == SAID
        assert len(late) < WORDS / 2
