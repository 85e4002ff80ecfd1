"""Publish: one publisher and nobody who listens, how many messages a second."""

import argparse
from dataclasses import dataclass

from benchmarks.candidates import Candidate, Serves
from benchmarks.options import add_candidates, add_number, chosen, peers_of
from benchmarks.publisher import DATA_SIZE, Way, publish
from benchmarks.rounds import percent, run_rounds
from benchmarks.server_process import ServerProcess
from benchmarks.usage import cpu_seconds

_WARM_UP_REQUESTS = 20


@dataclass(frozen=True)
class Figures:
    """Of one run."""

    messages_per_second: float
    cpu_microseconds: float
    p50: float
    p99: float
    publisher_busy: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_candidates(parser, Serves.EVENTS, without=frozenset({"joining"}))
    add_number(parser, "--messages", 5000, "messages a run, one a POST")
    add_number(parser, "--batches", 500, "NDJSON batches a run")
    add_number(parser, "--batch", 100, "messages a batch")
    add_number(parser, "--seconds", 5, "a run stops publishing after this long")
    add_number(parser, "--rounds", 3, "runs of each candidate")


def run(options: argparse.Namespace) -> str:
    """Both comparisons, as Markdown."""
    single = f"A POST a message, {DATA_SIZE} bytes, no subscribers"
    batched = f"NDJSON batches of {options.batch}, {DATA_SIZE} bytes a message, no subscribers"
    return "\n\n".join(
        [
            _compare(options, single, Way(), options.messages),
            _compare(options, batched, Way(batch=options.batch), options.batch * options.batches),
        ]
    )


def _compare(options: argparse.Namespace, title: str, way: Way, messages: int) -> str:
    measured = run_rounds(
        chosen(options),
        options.rounds,
        peers_of(options),
        lambda server: _measure(server, way, messages, options.seconds),
    )

    def row(candidate: Candidate) -> list[str]:
        return [
            f"{measured.typical(candidate, lambda f: f.messages_per_second):,.0f}",
            f"{measured.typical(candidate, lambda f: f.cpu_microseconds):.2f}",
            f"{measured.typical(candidate, lambda f: f.p50):.2f}",
            f"{measured.typical(candidate, lambda f: f.p99):.2f}",
            percent(measured.to_ceiling(candidate, lambda f: f.messages_per_second)),
            percent(measured.typical(candidate, lambda f: f.publisher_busy)),
        ]

    head = [
        "",
        "messages/s",
        "CPU µs each",
        "POST p50 ms",
        "POST p99 ms",
        "of the ceiling's messages",
        "publisher busy",
    ]
    return f"{title}, medians of {options.rounds} rounds.\n\n{measured.table(head, row)}"


def _measure(server: ServerProcess, way: Way, messages: int, seconds: float) -> Figures:
    publish(server, way, messages=_WARM_UP_REQUESTS * way.batch)
    before = cpu_seconds(server.pid)
    published = publish(server, way, messages=messages, seconds=seconds)
    cpu = cpu_seconds(server.pid) - before
    return Figures(
        published.sent / published.seconds,
        cpu / published.sent * 1e6,
        published.p50 * 1e3,
        published.p99 * 1e3,
        published.cpu / published.seconds,
    )
