"""A stock Hypercorn on Trio with a small Quart-Trio app, to be started as a process of its own.

It prints its port, serves until a connection's exception ends it, and leaves that exception on stderr, as any
program built on `hypercorn.trio.serve` does.
"""

from __future__ import annotations

import socket
from functools import partial

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart import websocket
from quart_trio import QuartTrio

app = QuartTrio("stock")


@app.get("/")
async def index() -> str:
    return "stock"


@app.websocket("/ws")
async def echo() -> None:
    while True:
        await websocket.send(await websocket.receive())


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.loglevel = "CRITICAL"
    trio.run(partial(serve, app, config))


if __name__ == "__main__":
    main()
