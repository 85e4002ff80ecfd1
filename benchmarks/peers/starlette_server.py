"""Starlette on uvicorn: a StreamingResponse a subscriber, fed from a queue of its own.

As Starlette's documentation writes it, with what `uvicorn[standard]` brings: uvloop and httptools.
"""

import asyncio
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from benchmarks.peers.shared import announce, open_listener, published

queues: set[asyncio.Queue[bytes]] = set()
offset = 0


async def send_events() -> AsyncIterator[bytes]:
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    queues.add(queue)
    try:
        yield b"retry: 3000\n\n"
        while True:
            yield await queue.get()
    finally:
        queues.discard(queue)


async def events(_: Request) -> Response:
    return StreamingResponse(
        send_events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def publish(request: Request) -> Response:
    global offset
    for data in published(await request.body()):
        offset += 1
        event = f"id: {offset}\ndata: {data}\n\n".encode()
        for queue in queues:
            queue.put_nowait(event)
    return JSONResponse({"topic": "bench", "id": str(offset), "subscribers": len(queues)}, status_code=201)


async def stats(_: Request) -> Response:
    return JSONResponse({"subscriptions": len(queues)})


app = Starlette(
    routes=[
        Route("/topics/bench/events", events),
        Route("/topics/bench", publish, methods=["POST"]),
        Route("/stats", stats),
    ]
)


def main() -> None:
    with open_listener() as listener:
        announce("starlette", listener)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run([listener])


if __name__ == "__main__":
    main()
