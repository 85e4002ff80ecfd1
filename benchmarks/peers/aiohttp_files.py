"""aiohttp: a file that is put is written piece by piece under another name, and renamed; one that is got is a
`FileResponse`, which uses `sendfile`.

As its documentation has both, on uvloop.  Nothing is forced to the disk.
"""

import asyncio
import signal
import tempfile
from pathlib import Path

import uvloop
from aiohttp import web

from benchmarks.peers.shared import announce, open_listener

folder = web.AppKey("folder", Path)


async def put(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    path = request.app[folder] / name
    unfinished = path.with_name(f".{name}")
    with unfinished.open("wb") as file:
        async for piece in request.content.iter_any():
            file.write(piece)
    unfinished.rename(path)
    return web.Response(status=201)


async def get(request: web.Request) -> web.FileResponse:
    return web.FileResponse(request.app[folder] / request.match_info["name"])


async def main() -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    with tempfile.TemporaryDirectory() as directory, open_listener() as listener:
        app = web.Application(client_max_size=0)
        app[folder] = Path(directory)
        app.add_routes([web.put("/files/{name}", put), web.get("/files/{name}", get)])
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        await web.SockSite(runner, listener, backlog=2048).start()
        announce("aiohttp-files", listener)
        await stopped.wait()
        await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(main())
