"""Many event streams, or members of a room, held open at once and counted by load_client.c."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from benchmarks.candidates import EVENTS_PATH, ROOM_PATH
from benchmarks.child import Child, ChildError, open_child
from benchmarks.compile import compiled
from benchmarks.processors import LOAD_CPU
from benchmarks.publisher import BY_MEMBER, BY_POST, MARKER, Way, publish
from benchmarks.server_process import ServerProcess

Answer = TypeVar("Answer")

# Fewer than the backlog of 100 that some servers listen with: a dropped SYN would cost a whole second.
_BURST = 64
_SECONDS_TO_OPEN = 60.0
_SECONDS_TO_PRIME = 30.0
_SECONDS_TO_ARRIVE = 3.0


class Opened(msgspec.Struct):
    opened: int
    seconds: float


class Counted(msgspec.Struct):
    events: int
    bytes: int
    closed: int


class Reached(msgspec.Struct):
    reached: bool
    events: int
    closed: int
    at: float


class Dropped(msgspec.Struct):
    dropped: int
    at: float
    seconds: float


class Replaced(msgspec.Struct):
    replaced: int


class Latency(msgspec.Struct):
    """Seconds from the sending of a message to its arrival, over ``count`` arrivals."""

    count: int
    p50: float
    p99: float
    most: float


@dataclass(frozen=True)
class Crowd:
    """What kind of subscribers: where, how they come, and how a message reaches all of them."""

    path: str
    way: Way
    flags: tuple[str, ...] = ()


STREAMS = Crowd(EVENTS_PATH, BY_POST)
MEMBERS = Crowd(ROOM_PATH, BY_MEMBER, ("-w",))
TIMED = Crowd(EVENTS_PATH, BY_POST, ("-l",))
"""Streams that keep how long each event was under way."""
STALLED = Crowd(EVENTS_PATH, BY_POST, ("-s",))
"""Streams that read nothing after the head of their answer."""


@dataclass(frozen=True)
class Subscribers:
    """Connections that have the head of their answer; times are on ``time.monotonic()``."""

    child: Child
    number: int
    seconds_to_open: float
    crowd: Crowd

    def count(self) -> Counted:
        return self._ask("count", Counted)

    def wait_for_events(self, total: int, seconds: float) -> float:
        """Wait until ``total`` events have come on all streams together; answers when the last one did."""
        self.child.tell(f"expect {total} {seconds:f}")
        reached = msgspec.json.decode(self.child.read_line(seconds + 5), type=Reached)
        if not reached.reached:
            raise ChildError(
                f"{reached.events} of {total} events arrived within {seconds:g} s, "
                f"the server closed {reached.closed} of {self.number} streams"
            )
        return reached.at

    def prime(self, server: ServerProcess) -> None:
        """Publish until an event has reached every stream.

        A server may send the head before it registers the subscriber, so that its 200 alone promises nothing.
        """
        deadline = time.monotonic() + _SECONDS_TO_PRIME
        while time.monotonic() < deadline:
            before = self.count().events
            sent = publish(server, self.crowd.way, messages=1).sent
            try:
                self.wait_for_events(before + sent * self.number, _SECONDS_TO_ARRIVE)
            except ChildError:
                continue
            return
        raise ChildError("no event reached all streams")

    def latency(self) -> Latency:
        """Of the events since it was asked last; only of TIMED ones."""
        return self._ask("latency", Latency)

    def replace(self, number: int) -> int:
        """Drop those that have been there longest and open as many in their place; answers how many."""
        return self._ask(f"again {number}", Replaced).replaced

    def drop_by_reset(self) -> Dropped:
        """Cut all connections at once with RST, as a network that goes away does."""
        return self._ask("rst", Dropped)

    def _ask(self, command: str, answer: type[Answer]) -> Answer:
        self.child.tell(command)
        return msgspec.json.decode(self.child.read_line(10), type=answer)


@contextmanager
def open_subscribers(server: ServerProcess, number: int, crowd: Crowd = STREAMS) -> Iterator[Subscribers]:
    """Hold ``number`` connections open for the length of the block."""
    command: list[str | Path] = [
        compiled("load_client"),
        *("-n", str(number), "-m", MARKER, "-b", str(_BURST), *crowd.flags),
        server.host,
        str(server.port),
        crowd.path,
    ]
    with open_child(command, cpu=LOAD_CPU, name="load client") as child:
        opened = msgspec.json.decode(child.read_line(_SECONDS_TO_OPEN), type=Opened)
        yield Subscribers(child, opened.opened, opened.seconds, crowd)
