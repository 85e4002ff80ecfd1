"""One publisher, publisher.c: a POST a message over one connection, each after the answer to the last."""

import json
from pathlib import Path

import msgspec

from benchmarks.candidates import PUBLISH_PATH
from benchmarks.child import open_child
from benchmarks.compile import compiled
from benchmarks.processors import LOAD_CPU
from benchmarks.server_process import ServerProcess

# Part of every message and of nothing else that a server sends, so that the load client counts messages.
MARKER = "~benchmark~"
DATA_SIZE = 200
BODY = json.dumps({"data": MARKER.ljust(DATA_SIZE, "x")})


class Published(msgspec.Struct):
    """How many were sent, since when on ``time.monotonic()``, for how long, and how long the answers took."""

    sent: int
    started: float
    seconds: float
    p50: float
    p99: float


def publish(server: ServerProcess, *, messages: int, seconds: float = 60.0) -> Published:
    """Publish ``messages`` messages of 200 bytes, or as many as can be sent within ``seconds``."""
    command: list[str | Path] = [
        compiled("publisher"),
        server.host,
        str(server.port),
        PUBLISH_PATH,
        BODY,
        str(messages),
        str(seconds),
    ]
    with open_child(command, cpu=LOAD_CPU, name="publisher") as child:
        return msgspec.json.decode(child.read_line(seconds + 30), type=Published)
