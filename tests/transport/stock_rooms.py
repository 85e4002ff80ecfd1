"""A stock `trio_websocket.serve_websocket` that echoes, to be started as a process of its own.

It prints its port, serves until a connection's exception ends it, and leaves that exception on stderr, as any
program built on `serve_websocket` does.
"""

from __future__ import annotations

import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket


async def echo(request: WebSocketRequest) -> None:
    """Echo.  At `/careless`, as the library's own first example does it: without a thought for the end."""
    websocket = await request.accept()
    try:
        while True:
            message = await websocket.get_message()
            if message == "leave":
                return
            await websocket.send_message(message)
    except ConnectionClosed:
        if request.path == "/careless":
            raise


async def serve() -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, echo, "127.0.0.1", 0, None)
        print(server.port, flush=True)


if __name__ == "__main__":
    trio.run(serve)
