"""Idle subscribers: what one costs in memory while nothing happens, and how fast they can come."""

import argparse
import time
from dataclasses import dataclass
from statistics import median

from benchmarks.options import add_candidates, add_number, chosen
from benchmarks.rounds import run_rounds
from benchmarks.server_process import ServerProcess
from benchmarks.subscribers import open_subscribers
from benchmarks.table import markdown_table
from benchmarks.usage import cpu_seconds, memory_kib

_WARM_UP_STREAMS = 10
_SECONDS_TO_SETTLE = 2.0


@dataclass(frozen=True)
class Figures:
    kib_per_subscriber: float
    connections_per_second: float
    cpu_microseconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_candidates(parser)
    add_number(parser, "--subscribers", 2000, "event streams")
    add_number(parser, "--rounds", 3, "runs of each candidate")


def run(options: argparse.Namespace) -> str:
    """The whole comparison, as Markdown."""
    measured = run_rounds(
        chosen(options), options.rounds, lambda server: _measure(server, options.subscribers)
    )
    title = f"{options.subscribers} idle subscribers, medians of {options.rounds} rounds."
    head = ["", "KiB a subscriber", "new connections/s", "CPU µs a connection"]
    rows = [
        [
            candidate.title,
            f"{median(f.kib_per_subscriber for f in rounds):.1f}",
            f"{median(f.connections_per_second for f in rounds):,.0f}",
            f"{median(f.cpu_microseconds for f in rounds):,.0f}",
        ]
        for candidate, rounds in measured.items()
    ]
    return f"{title}\n\n{markdown_table(head, rows)}"


def _measure(server: ServerProcess, subscribers: int) -> Figures:
    with open_subscribers(server, _WARM_UP_STREAMS) as streams:
        streams.prime(server)
    time.sleep(_SECONDS_TO_SETTLE)
    memory_before, cpu_before = memory_kib(server.pid), cpu_seconds(server.pid)
    with open_subscribers(server, subscribers) as streams:
        cpu = cpu_seconds(server.pid) - cpu_before
        time.sleep(_SECONDS_TO_SETTLE)
        memory = memory_kib(server.pid) - memory_before
        return Figures(memory / subscribers, subscribers / streams.seconds_to_open, cpu / subscribers * 1e6)
