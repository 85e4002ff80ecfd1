"""Idle: what a subscriber or a member costs in memory while nothing happens, and how fast they can come."""

import argparse
import time
from dataclasses import dataclass

from benchmarks.candidates import Candidate, Serves
from benchmarks.options import add_candidates, add_number, chosen, peers_of
from benchmarks.rounds import percent, run_rounds
from benchmarks.server_process import ServerProcess
from benchmarks.subscribers import MEMBERS, STREAMS, Crowd, open_subscribers
from benchmarks.usage import cpu_seconds, memory_kib

_WARM_UP_CONNECTIONS = 10
_SECONDS_TO_SETTLE = 2.0

_KINDS = {
    "subscribers": (Serves.EVENTS, STREAMS, "a subscriber"),
    "members": (Serves.MEMBERS, MEMBERS, "a member"),
}


@dataclass(frozen=True)
class Figures:
    """Of one run."""

    kib_each: float
    connections_per_second: float
    cpu_microseconds: float
    load_client_busy: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_candidates(parser, *(serves for serves, _, _ in _KINDS.values()), without=frozenset({"joining"}))
    add_number(parser, "--subscribers", 2000, "event streams")
    add_number(parser, "--members", 500, "WebSockets in one room, each of which is told of each that comes")
    add_number(parser, "--rounds", 3, "runs of each candidate")


def run(options: argparse.Namespace) -> str:
    """Both comparisons, as Markdown."""
    numbers = {"subscribers": options.subscribers, "members": options.members}
    return "\n\n".join(
        _compare(options, kind, number, candidates)
        for kind, number in numbers.items()
        if (candidates := [c for c in chosen(options) if _KINDS[kind][0] in c.serves])
    )


def _compare(options: argparse.Namespace, kind: str, number: int, candidates: list[Candidate]) -> str:
    _, crowd, each = _KINDS[kind]
    measured = run_rounds(
        candidates, options.rounds, peers_of(options), lambda server: _measure(server, number, crowd)
    )

    def row(candidate: Candidate) -> list[str]:
        return [
            f"{measured.typical(candidate, lambda f: f.kib_each):.1f}",
            f"{measured.typical(candidate, lambda f: f.connections_per_second):,.0f}",
            f"{measured.typical(candidate, lambda f: f.cpu_microseconds):,.0f}",
            percent(measured.to_ceiling(candidate, lambda f: f.connections_per_second)),
            percent(measured.typical(candidate, lambda f: f.load_client_busy)),
        ]

    head = [
        "",
        f"KiB {each}",
        "new connections/s",
        "CPU µs a connection",
        "of the ceiling's connections",
        "load client busy",
    ]
    title = f"{number} idle {kind}, medians of {options.rounds} rounds."
    return f"{title}\n\n{measured.table(head, row)}"


def _measure(server: ServerProcess, number: int, crowd: Crowd) -> Figures:
    with open_subscribers(server, _WARM_UP_CONNECTIONS, crowd) as streams:
        streams.prime(server)
    time.sleep(_SECONDS_TO_SETTLE)
    memory_before, cpu_before = memory_kib(server.pid), cpu_seconds(server.pid)
    with open_subscribers(server, number, crowd) as streams:
        cpu = cpu_seconds(server.pid) - cpu_before
        # All that it has done so far was to open them.
        client = cpu_seconds(streams.child.pid)
        time.sleep(_SECONDS_TO_SETTLE)
        memory = memory_kib(server.pid) - memory_before
    return Figures(
        memory / number,
        number / streams.seconds_to_open,
        cpu / number * 1e6,
        client / streams.seconds_to_open,
    )
