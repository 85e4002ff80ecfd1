"""What a server says of itself at GET /stats, asked over one keep-alive connection."""

import http.client
from collections.abc import Iterator
from contextlib import closing, contextmanager

import msgspec

from benchmarks.child import ChildError
from benchmarks.server_process import ServerProcess


class Stats(msgspec.Struct):
    """The part of it that is compared; None is what a server does not count.

    Attributes:
        ceiling_bytes: the most that it will hold for its clients, as it says itself.
        buffered_bytes: what it holds for them now.
    """

    subscriptions: int
    leaked: int | None = None
    buffered_bytes: int | None = None
    ceiling_bytes: int | None = None


class StatsReader:
    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection

    def read(self) -> Stats:
        """Ask once; raises ChildError where there is no such answer."""
        try:
            self._connection.request("GET", "/stats")
            return msgspec.json.decode(self._connection.getresponse().read(), type=Stats)
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as failure:
            raise ChildError(f"no answer of use at /stats: {failure}") from failure


@contextmanager
def open_stats(server: ServerProcess) -> Iterator[StatsReader]:
    with closing(http.client.HTTPConnection(server.host, server.port, timeout=30)) as connection:
        yield StatsReader(connection)
