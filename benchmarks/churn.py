"""Churn: how long a message takes while members come and go, in one room and with many of them."""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.candidates import ROOM_PATH, SLUICEWAY, Candidate
from benchmarks.options import add_number, add_peers_folder, peers_of
from benchmarks.publisher import DATA_SIZE, Way, publishing
from benchmarks.rounds import Measured, percent, run_rounds
from benchmarks.server_process import ServerProcess
from benchmarks.subscribers import Crowd, Latency, Subscribers, open_subscribers
from benchmarks.usage import cpu_seconds, memory_kib

_MOST_CONNECTIONS = 20_000
_TICKS_A_SECOND = 10
_SECONDS_OF_GRACE = 10
_SECONDS_TO_SETTLE = 2.0


@dataclass(frozen=True)
class _Place:
    """So many members in so many rooms, and a server of theirs."""

    members: int
    rooms: int

    @property
    def server(self) -> Candidate:
        rooms = "one room" if self.rooms == 1 else f"{self.rooms:,} rooms"
        return replace(
            SLUICEWAY,
            title=f"{self.members:,} in {rooms}",
            command=lambda peers: [*SLUICEWAY.command(peers), "--max-connections", str(_MOST_CONNECTIONS)],
        )


@dataclass(frozen=True)
class Figures:
    """Of one run: while all stay, and while some come and go."""

    still: Latency
    churning: Latency
    coming: float
    mib: float
    growth: float
    server_busy: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_number(parser, "--members", 1000, "members of one room")
    add_number(parser, "--many", 10_000, "members of many rooms")
    add_number(parser, "--rooms", 1000, "how many rooms those are in")
    add_number(parser, "--changes", 100, "members a second that are cut off, each with one that comes")
    add_number(parser, "--rate", 20, "messages a second to one of the rooms")
    add_number(parser, "--seconds", 10, "for how long, first while all stay and then while some come and go")
    add_number(parser, "--rounds", 1, "runs of each")
    add_peers_folder(parser)


def run(options: argparse.Namespace) -> str:
    """Both, as Markdown."""
    places = {
        place.server: place for place in (_Place(options.members, 1), _Place(options.many, options.rooms))
    }
    measured: Measured[Figures] = Measured({})
    for server, place in places.items():
        found = run_rounds([server], options.rounds, peers_of(options), partial(_measure, place, options))
        measured.rounds |= found.rounds

    def row(candidate: Candidate) -> list[str]:
        def typical(figure: Callable[[Figures], float]) -> float:
            return measured.typical(candidate, figure)

        return [
            f"{typical(lambda f: f.still.p50) * 1e3:.1f}",
            f"{typical(lambda f: f.still.p99) * 1e3:.1f}",
            f"{typical(lambda f: f.churning.p50) * 1e3:.1f}",
            f"{typical(lambda f: f.churning.p99) * 1e3:.1f}",
            f"{typical(lambda f: f.churning.most) * 1e3:.1f}",
            f"{typical(lambda f: f.coming):.0f}",
            f"{typical(lambda f: f.mib):.0f}",
            f"{typical(lambda f: f.growth):.1f}",
            percent(typical(lambda f: f.server_busy)),
        ]

    head = [
        "members",
        "all stay: p50 ms",
        "p99 ms",
        "some come and go: p50 ms",
        "p99 ms",
        "the longest ms",
        "came a second",
        "MiB",
        "MiB more in the end",
        "server busy",
    ]
    title = (
        f"{options.changes} members a second are cut off and as many come, {options.rate} messages a second "
        f"of {DATA_SIZE} bytes to one room, from the time that one is due to its arrival"
    )
    return f"{title}, medians of {options.rounds} rounds.\n\n{measured.table(head, row)}"


def _measure(place: _Place, options: argparse.Namespace, server: ServerProcess) -> Figures:
    several = place.rooms > 1
    spoken_to = Way(f"{ROOM_PATH}-0" if several else ROOM_PATH, rate=options.rate)
    flags = ("-w", "-l", "-d", str(place.rooms)) if several else ("-w", "-l")
    crowd = Crowd(ROOM_PATH, spoken_to, flags)
    seconds, changes = options.seconds, options.changes
    empty = memory_kib(server.pid)
    with open_subscribers(server, place.members, crowd) as members:
        time.sleep(_SECONDS_TO_SETTLE)
        full = memory_kib(server.pid)
        with publishing(server, spoken_to, messages=options.rate * seconds, seconds=seconds) as publisher:
            publisher.wait()
        time.sleep(_SECONDS_TO_SETTLE)
        still = members.latency()
        # Until as many leave as come.
        _churn(members, changes, _SECONDS_OF_GRACE + _SECONDS_TO_SETTLE)
        churned, cpu = memory_kib(server.pid), cpu_seconds(server.pid)
        began = time.monotonic()
        with publishing(server, spoken_to, messages=options.rate * seconds, seconds=seconds) as publisher:
            came = _churn(members, changes, seconds)
            took = time.monotonic() - began
            busy = (cpu_seconds(server.pid) - cpu) / took
            publisher.wait()
        churning = members.latency()
        growth = memory_kib(server.pid) - churned
    return Figures(still, churning, came / took, (full - empty) / 1024, growth / 1024, busy)


def _churn(members: Subscribers, changes: int, seconds: float) -> int:
    """Replace `changes` members a second, on a schedule that does not slip; how many."""
    began, replaced, tick = time.monotonic(), 0, 0
    while (passed := time.monotonic() - began) < seconds:
        tick += 1
        due = changes * tick // _TICKS_A_SECOND
        replaced += members.replace(due - replaced) if due > replaced else 0
        time.sleep(max(0.0, tick / _TICKS_A_SECOND - passed))
    return replaced
