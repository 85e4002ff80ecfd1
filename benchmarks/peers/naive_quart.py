"""The floor: fan-out as Quart's documentation writes it, under stock Hypercorn on Trio.

An async generator a stream, a nursery with a writer a WebSocket, a memory channel a subscriber, a loop over
all of them for each message.
"""

import socket
from collections.abc import AsyncIterator

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart import Response, jsonify, request, websocket
from quart.typing import ResponseReturnValue
from quart_trio import QuartTrio

from benchmarks.peers.shared import published

app = QuartTrio(__name__)
subscribers: set[trio.MemorySendChannel[str]] = set()
members: set[trio.MemorySendChannel[str | bytes]] = set()


async def send_events() -> AsyncIterator[bytes]:
    send, receive = trio.open_memory_channel[str](100)
    subscribers.add(send)
    try:
        yield b"retry: 3000\n\n"
        async for data in receive:
            yield f"data: {data}\n\n".encode()
    finally:
        subscribers.remove(send)


@app.get("/topics/bench/events")
async def events() -> Response:
    response = Response(
        send_events(), content_type="text/event-stream", headers={"Cache-Control": "no-cache"}
    )
    response.timeout = None
    return response


@app.post("/topics/bench")
async def publish() -> ResponseReturnValue:
    for data in published(await request.body):
        for subscriber in list(subscribers):
            await subscriber.send(data)
    return jsonify(topic="bench", subscribers=len(subscribers)), 201


@app.websocket("/rooms/bench")
async def room() -> None:
    send, receive = trio.open_memory_channel[str | bytes](100)
    members.add(send)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_messages, receive)
            while True:
                message = await websocket.receive()
                for member in list(members):
                    await member.send(message)
    finally:
        members.remove(send)


async def send_messages(receive: trio.MemoryReceiveChannel[str | bytes]) -> None:
    async for message in receive:
        await websocket.send(message)


@app.get("/stats")
async def stats() -> ResponseReturnValue:
    return jsonify(subscriptions=len(subscribers))


async def main() -> None:
    # Bound here, because Hypercorn says only in its log which port it was given; it calls listen() itself
    # with its own backlog, and what connects before that waits in this one.
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        config = Config()
        config.bind = [f"fd://{listener.fileno()}"]
        print(f"naive: listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        await serve(app, config)


if __name__ == "__main__":
    trio.run(main)
