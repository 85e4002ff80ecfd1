"""aiohttp: a StreamResponse a subscriber, fed from a queue of its own.

As its documentation writes long responses (`prepare`, then `write`), with `handler_cancellation`, without
which a handler outlives its client, and on uvloop.
"""

import asyncio

import uvloop
from aiohttp import web

from benchmarks.peers.shared import announce, open_listener, published

queues: set[asyncio.Queue[bytes]] = set()
offset = 0


async def events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"},
    )
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    queues.add(queue)
    try:
        await response.prepare(request)
        await response.write(b"retry: 3000\n\n")
        while True:
            await response.write(await queue.get())
    except ConnectionResetError:
        return response
    finally:
        queues.discard(queue)


async def publish(request: web.Request) -> web.Response:
    global offset
    for data in published(await request.read()):
        offset += 1
        event = f"id: {offset}\ndata: {data}\n\n".encode()
        for queue in queues:
            queue.put_nowait(event)
    return web.json_response({"topic": "bench", "id": str(offset), "subscribers": len(queues)}, status=201)


async def stats(_: web.Request) -> web.Response:
    return web.json_response({"subscriptions": len(queues)})


async def main() -> None:
    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.add_routes(
        [
            web.get("/topics/bench/events", events),
            web.post("/topics/bench", publish),
            web.get("/stats", stats),
        ]
    )
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    with open_listener() as listener:
        await web.SockSite(runner, listener, backlog=2048).start()
        announce("aiohttp", listener)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
