"""websockets: a room as its documentation on broadcasting writes it, with `broadcast()`.

Compression is off, which its documentation advises where memory and speed count, and the loop is uvloop's.
What a member sends goes to all as it came: nothing is parsed, numbered or kept.
"""

import asyncio

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

from benchmarks.peers.shared import announce, open_listener

members: set[ServerConnection] = set()


async def room(connection: ServerConnection) -> None:
    members.add(connection)
    try:
        async for message in connection:
            broadcast(members, message)
    finally:
        members.remove(connection)


async def main() -> None:
    with open_listener() as listener:
        async with serve(room, sock=listener, compression=None):
            announce("websockets", listener)
            await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
