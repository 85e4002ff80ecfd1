"""Mass departure: many subscribers cut off at once; how long until the server holds nothing of them?

The clock starts with the first reset. It stops once when the server's own account, GET /stats, is back where
it was before they came, and once more when the kernel's account of its open sockets is.
"""

import argparse
import time
from dataclasses import dataclass
from statistics import median

from benchmarks.candidates import Candidate, Serves
from benchmarks.child import ChildError
from benchmarks.options import add_candidates, add_number, chosen, peers_of
from benchmarks.rounds import run_rounds
from benchmarks.server_process import ServerProcess
from benchmarks.stats import Stats, StatsReader, open_stats
from benchmarks.subscribers import open_subscribers
from benchmarks.usage import open_descriptors

_SECONDS_TO_CLEAN = 30.0
_WARM_UP_STREAMS = 10


@dataclass(frozen=True)
class Departure:
    seconds_to_cut: float
    seconds_by_stats: float
    seconds_by_kernel: float
    leaked: int | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_candidates(parser, Serves.EVENTS, without=frozenset({"joining"}))
    add_number(parser, "--subscribers", 1000, "event streams")
    add_number(parser, "--repeats", 5, "departures from one server process")


def run(options: argparse.Namespace) -> str:
    """The whole comparison, as Markdown."""
    measured = run_rounds(
        chosen(options),
        1,
        peers_of(options),
        lambda server: _measure(server, options.subscribers, options.repeats),
    )
    title = f"{options.subscribers} subscribers cut off at once by RST, {options.repeats} times."
    head = [
        "",
        "by /stats, ms: median",
        "max",
        "by the kernel, ms: median",
        "max",
        "of which cutting, ms",
        "leaked",
    ]

    def row(candidate: Candidate) -> list[str]:
        [departures] = measured.rounds[candidate]
        return [
            *_median_and_max([d.seconds_by_stats for d in departures]),
            *_median_and_max([d.seconds_by_kernel for d in departures]),
            f"{median(d.seconds_to_cut for d in departures) * 1e3:.0f}",
            "–" if departures[-1].leaked is None else str(departures[-1].leaked),
        ]

    return f"{title}\n\n{measured.table(head, row)}"


def _measure(server: ServerProcess, subscribers: int, repeats: int) -> list[Departure]:
    with open_stats(server) as stats:
        # What a server opens on first use, once, is not left by those who leave.
        _measure_one(server, stats, _WARM_UP_STREAMS)
        return [_measure_one(server, stats, subscribers) for _ in range(repeats)]


def _measure_one(server: ServerProcess, stats: StatsReader, subscribers: int) -> Departure:
    before, descriptors_before = stats.read(), open_descriptors(server.pid)
    with open_subscribers(server, subscribers) as streams:
        streams.prime(server)
        open_now = stats.read().subscriptions - before.subscriptions
        if open_now != subscribers:
            raise ChildError(f"/stats counts {open_now} of {subscribers} subscriptions")
        dropped = streams.drop_by_reset()
        after, by_stats = _wait_until_back(stats, before.subscriptions)
        by_kernel = _wait_until_closed(server, descriptors_before)
    return Departure(dropped.seconds, by_stats - dropped.at, by_kernel - dropped.at, after.leaked)


def _wait_until_back(stats: StatsReader, subscriptions: int) -> tuple[Stats, float]:
    deadline = time.monotonic() + _SECONDS_TO_CLEAN
    while time.monotonic() < deadline:
        now = stats.read()
        if now.subscriptions == subscriptions and not now.leaked:
            return now, time.monotonic()
    raise ChildError(f"after {_SECONDS_TO_CLEAN:g} s /stats says {now}")


def _wait_until_closed(server: ServerProcess, descriptors: int) -> float:
    deadline = time.monotonic() + _SECONDS_TO_CLEAN
    while (left := open_descriptors(server.pid)) > descriptors:
        if time.monotonic() > deadline:
            raise ChildError(f"after {_SECONDS_TO_CLEAN:g} s {left - descriptors} sockets are still open")
        time.sleep(0.001)
    return time.monotonic()


def _median_and_max(seconds: list[float]) -> tuple[str, str]:
    return f"{median(seconds) * 1e3:.0f}", f"{max(seconds) * 1e3:.0f}"
