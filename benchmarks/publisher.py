"""One publisher, publisher.c: a request at a time over one connection, each after the answer to the last."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from benchmarks.candidates import PUBLISH_PATH, ROOM_PATH
from benchmarks.child import Child, ChildError, open_child
from benchmarks.compile import compiled
from benchmarks.processors import LOAD_CPU
from benchmarks.server_process import ServerProcess

# Part of every message and of nothing else that a server sends, so that the load client counts messages.
MARKER = "~benchmark~"
DATA_SIZE = 200


@dataclass(frozen=True)
class Way:
    """How messages come to the server.

    Attributes:
        path: where they are sent.
        batch: messages a request, as NDJSON where there are several.
        window: for a member of a room, how many of its own messages may not be back yet; 0 for requests.
        size: bytes of each message's text.
        rate: messages a second, 0 for as fast as the answers come.
    """

    path: str = PUBLISH_PATH
    batch: int = 1
    window: int = 0
    size: int = DATA_SIZE
    rate: float = 0


BY_POST = Way()
BY_MEMBER = Way(ROOM_PATH, window=1)


class Published(msgspec.Struct):
    """How many were sent, since when on ``time.monotonic()``, for how long, how long the answers took, and
    the publisher's own processor time.
    """

    sent: int
    started: float
    seconds: float
    p50: float
    p99: float
    cpu: float


class Publishing:
    """A publisher at work."""

    def __init__(self, child: Child, stderr: IO[bytes], way: Way, seconds: float) -> None:
        self._child = child
        self._stderr = stderr
        self._way = way
        self._seconds = seconds

    def wait(self) -> Published:
        """Wait until it is done; raises ChildError, with the server's answer, where it refuses a message."""
        try:
            return msgspec.json.decode(self._child.read_line(self._seconds + 30), type=Published)
        except ChildError as failure:
            self._stderr.seek(0)
            words = self._stderr.read()[:2000].decode(errors="replace")
            if self._way.batch > 1 and "HTTP/1.1 415" in words:
                raise ChildError("it takes no NDJSON (415)") from failure
            raise ChildError(f"{failure}: {words}") from failure


@contextmanager
def publishing(server: ServerProcess, way: Way, *, messages: int, seconds: float) -> Iterator[Publishing]:
    """Publish as ``publish`` does, while the block does something else."""
    command: list[str | Path] = [
        compiled("publisher"),
        *("-n", str(messages), "-t", str(seconds), "-m", MARKER),
        *("-z", str(way.size), "-b", str(way.batch), "-r", str(way.rate), "-w", str(way.window)),
        server.host,
        str(server.port),
        way.path,
    ]
    with tempfile.TemporaryFile() as stderr:
        with open_child(command, cpu=LOAD_CPU, name="publisher", stderr=stderr) as child:
            yield Publishing(child, stderr, way, seconds)


def publish(server: ServerProcess, way: Way = BY_POST, *, messages: int, seconds: float = 60.0) -> Published:
    """Publish ``messages`` messages, or as many as can be sent within ``seconds``.

    Raises ChildError, with the server's answer, where it refuses one.
    """
    with publishing(server, way, messages=messages, seconds=seconds) as publisher:
        return publisher.wait()
