"""Burst: messages in bursts to one subscriber, how many events a second of the server's processor.

The same NDJSON batches are published twice in each run, before there is a subscriber and with one: the
difference is what the delivery alone costs, the whole includes the request and the parsing.
"""

import argparse
from dataclasses import dataclass
from statistics import median

from benchmarks.candidates import Candidate, Serves
from benchmarks.options import add_candidates, add_number, chosen, peers_of
from benchmarks.publisher import DATA_SIZE, Way, publish
from benchmarks.rounds import percent, run_rounds
from benchmarks.server_process import ServerProcess
from benchmarks.subscribers import STREAMS, Crowd, Subscribers, open_subscribers
from benchmarks.usage import cpu_seconds

_WARM_UP_BATCHES = 20
_PARTS = 5
_SECONDS_TO_ARRIVE = 30.0


@dataclass(frozen=True)
class Figures:
    """Of one run: events a second of processor time."""

    whole: float
    delivery: float
    elapsed: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_candidates(parser, Serves.EVENTS)
    add_number(parser, "--burst", 64, "messages a burst, one NDJSON batch")
    add_number(parser, "--bursts", 200, "bursts a part, of which each run has five without and five with")
    add_number(parser, "--rounds", 3, "runs of each candidate")


def run(options: argparse.Namespace) -> str:
    """The whole comparison, as Markdown."""
    measured = run_rounds(
        chosen(options),
        options.rounds,
        peers_of(options),
        lambda server: _measure(server, options.burst, options.bursts),
    )

    def row(candidate: Candidate) -> list[str]:
        delivery = measured.typical(candidate, lambda f: f.delivery)
        return [
            f"{measured.typical(candidate, lambda f: f.whole):,.0f}",
            f"{delivery:,.0f}" if delivery < float("inf") else "too many to tell",
            f"{measured.typical(candidate, lambda f: f.elapsed):,.0f}",
            percent(measured.to_ceiling(candidate, lambda f: f.whole)),
        ]

    head = [
        "",
        "events a CPU second, publishing included",
        "delivery alone",
        "events a second",
        "of the ceiling's, publishing included",
    ]
    title = f"Bursts of {options.burst} events of {DATA_SIZE} bytes to one subscriber"
    return f"{title}, medians of {options.rounds} rounds.\n\n{measured.table(head, row)}"


def _measure(server: ServerProcess, burst: int, bursts: int) -> Figures:
    way = Way(batch=burst)
    publish(server, way, messages=_WARM_UP_BATCHES * burst)
    without = [_cpu_each(server, way, bursts)[0] for _ in range(_PARTS)]
    with open_subscribers(server, 1, Crowd(STREAMS.path, way)) as stream:
        stream.prime(server)
        parts = [_cpu_each(server, way, bursts, stream) for _ in range(_PARTS)]
    whole = median(cpu for cpu, _ in parts)
    delivery = whole - median(without)
    return Figures(
        1 / whole,
        1 / delivery if delivery > 0 else float("inf"),
        1 / median(elapsed for _, elapsed in parts),
    )


def _cpu_each(
    server: ServerProcess, way: Way, bursts: int, stream: Subscribers | None = None
) -> tuple[float, float]:
    """Seconds of the server's processor, and of the clock, for each message."""
    events = stream.count().events if stream else 0
    before = cpu_seconds(server.pid)
    published = publish(server, way, messages=bursts * way.batch)
    elapsed = published.seconds
    if stream:
        elapsed = stream.wait_for_events(events + published.sent, _SECONDS_TO_ARRIVE) - published.started
    return (cpu_seconds(server.pid) - before) / published.sent, elapsed / published.sent
