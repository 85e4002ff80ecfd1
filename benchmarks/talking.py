"""A provider of generations as one writes it oneself: a connection to `Upstream`, and a `finally` that tells
when it has run.
"""

import json
import socket
import time
from collections.abc import AsyncGenerator
from typing import Any

import trio

from server.generations import GenerationRequest


async def talk(request: GenerationRequest) -> AsyncGenerator[str, None]:
    """Pass on what comes.  Options: `port` of the upstream, `report`, the path of a datagram socket."""
    options: Any = request.options
    name = request.messages[0].content
    try:
        async with await trio.open_tcp_stream("127.0.0.1", options["port"]) as upstream:
            body = json.dumps({"messages": [{"role": "user", "content": name}]}).encode()
            head = f"POST /chat/completions HTTP/1.1\r\nHost: upstream\r\nContent-Length: {len(body)}\r\n\r\n"
            await upstream.send_all(head.encode() + body)
            rest = b""
            async for data in upstream:
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    if line.startswith(b"data: "):
                        yield json.loads(line[6:])["choices"][0]["delta"]["content"]  # noqa: ASYNC119
    finally:
        ended = f"{name} {time.monotonic()}".encode()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as report:
            report.sendto(ended, options["report"])
