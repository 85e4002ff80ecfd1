"""Where the memory of an idle subscriber, or with --rooms of a member, goes: Python's allocations by line.

``python -m benchmarks.footprint`` serves and connects in one process, so that tracemalloc sees the server;
the client's half is a bare socket.  What the kernel says of the whole is `benchmarks idle`.
"""

import argparse
import gc
import logging
import socket
import tracemalloc
from contextlib import ExitStack

import trio

from benchmarks.options import add_number
from server.application import Application, open_application
from server.settings import Settings
from server.transport import open_listeners

_WARM_UP = 100
_A_ROOM = 100
"""Members of one room: none is sent more `joined` than its unread socket takes."""
_AT_ONCE = 8
_SETTLE_SECONDS = 0.3

_SUBSCRIBE = "GET /topics/a/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
_JOIN = (
    "GET /rooms/r{room} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def _connect(application: Application, port: int, request: str, stack: ExitStack, total: range) -> None:
    hub = application.events.hub
    for number in total:
        sock = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        sock.sendall(request.format(room=number // _A_ROOM).encode())
        while hub.subscriptions < number - _AT_ONCE:  # noqa: ASYNC110 - nothing announces it
            await trio.sleep(0.001)
    while hub.subscriptions < total.stop:  # noqa: ASYNC110 - nothing announces it
        await trio.sleep(0.01)
    await trio.sleep(_SETTLE_SECONDS)
    gc.collect()


async def _measure(connections: int, lines: int, request: str) -> None:
    bind = ("127.0.0.1", 0)
    with open_listeners([bind]) as listeners, ExitStack() as stack, trio.fail_after(120):
        async with open_application(Settings(), [bind]) as application, trio.open_nursery() as nursery:
            await nursery.start(application.server().run, listeners, None)
            port = listeners[0].getsockname()[1]
            await _connect(application, port, request, stack, range(_WARM_UP))
            tracemalloc.start()
            before = tracemalloc.take_snapshot()
            await _connect(application, port, request, stack, range(_WARM_UP, _WARM_UP + connections))
            found = tracemalloc.take_snapshot().compare_to(before, "lineno")
            nursery.cancel_scope.cancel()
    print(f"{sum(line.size_diff for line in found) / connections:,.0f} bytes a connection\n")
    for line in found[:lines]:
        size, count = line.size_diff / connections, line.count_diff / connections
        print(f"{size:6.0f} bytes {count:5.1f} objects  {line.traceback}")


def main() -> None:
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.footprint", description=about)
    parser.add_argument("--rooms", action="store_true", help="members of rooms in place of subscribers")
    add_number(parser, "--connections", 1000, "streams or members")
    add_number(parser, "--lines", 40, "lines to print")
    options = parser.parse_args()
    logging.getLogger("sluiceway").setLevel(logging.ERROR)
    trio.run(_measure, options.connections, options.lines, _JOIN if options.rooms else _SUBSCRIBE)


if __name__ == "__main__":
    main()
