"""Fan-out: one publisher, many subscribers of one topic, how many deliveries a second at what cost."""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from benchmarks.candidates import CEILING, Candidate
from benchmarks.options import add_candidates, add_number, chosen
from benchmarks.publisher import DATA_SIZE, publish
from benchmarks.rounds import run_rounds
from benchmarks.server_process import ServerProcess
from benchmarks.subscribers import open_subscribers
from benchmarks.table import markdown_table
from benchmarks.usage import cpu_seconds, memory_kib

_SECONDS_TO_ARRIVE = 60.0
_WARM_UP_STREAMS = 10
_WARM_UP_MESSAGES = 20


@dataclass(frozen=True)
class Figures:
    deliveries_per_second: float
    cpu_microseconds: float
    kib_per_connection: float
    post_p50: float
    post_p99: float
    server_busy: float
    load_client_busy: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_candidates(parser)
    add_number(parser, "--subscribers", 500, "event streams")
    add_number(parser, "--messages", 1000, "messages a run, if there is time for them")
    add_number(parser, "--seconds", 5, "a run stops publishing after this long")
    add_number(parser, "--rounds", 3, "runs of each candidate")


def run(options: argparse.Namespace) -> str:
    """The whole comparison, as Markdown."""
    measured = run_rounds(
        chosen(options),
        options.rounds,
        lambda server: _measure(server, options.subscribers, options.messages, options.seconds),
    )
    title = f"{options.subscribers} subscribers, {DATA_SIZE}-byte events, medians of {options.rounds} rounds."
    head = [
        "",
        "deliveries/s",
        "CPU µs each",
        "KiB a connection",
        "POST p50 ms",
        "POST p99 ms",
        "of the ceiling's deliveries",
        "times its CPU",
        "server busy",
        "load client busy",
    ]
    ceiling = measured.get(CEILING, [])
    rows = [_row(candidate, figures, ceiling) for candidate, figures in measured.items()]
    return f"{title}\n\n{markdown_table(head, rows)}"


def _measure(server: ServerProcess, subscribers: int, messages: int, seconds: float) -> Figures:
    with open_subscribers(server, _WARM_UP_STREAMS) as streams:
        streams.prime(server)
    memory_before = memory_kib(server.pid)
    with open_subscribers(server, subscribers) as streams:
        streams.prime(server)
        primed = streams.count().events
        publish(server, messages=_WARM_UP_MESSAGES)
        streams.wait_for_events(primed + _WARM_UP_MESSAGES * subscribers, _SECONDS_TO_ARRIVE)
        # Before the timed messages: the history that a server keeps of them is no cost of a connection.
        memory = memory_kib(server.pid) - memory_before

        events_before = streams.count().events
        load_before = cpu_seconds(streams.child.pid)
        cpu_before = cpu_seconds(server.pid)
        published = publish(server, messages=messages, seconds=seconds)
        deliveries = published.sent * subscribers
        arrived = streams.wait_for_events(events_before + deliveries, _SECONDS_TO_ARRIVE)
        cpu = cpu_seconds(server.pid) - cpu_before
        load = cpu_seconds(streams.child.pid) - load_before
    seconds = arrived - published.started
    return Figures(
        deliveries / seconds,
        cpu / deliveries * 1e6,
        memory / subscribers,
        published.p50 * 1e3,
        published.p99 * 1e3,
        cpu / seconds,
        load / seconds,
    )


def _row(candidate: Candidate, rounds: list[Figures], ceiling: list[Figures]) -> list[str]:
    def typical(figure: Callable[[Figures], float]) -> float:
        return median(map(figure, rounds))

    def to_ceiling(figure: Callable[[Figures], float]) -> float | None:
        # Round by round, because the rounds see different minutes of the machine.
        return _median_or_none(figure(own) / figure(top) for own, top in zip(rounds, ceiling, strict=False))

    speed, cpu = to_ceiling(lambda f: f.deliveries_per_second), to_ceiling(lambda f: f.cpu_microseconds)
    return [
        candidate.title,
        f"{typical(lambda f: f.deliveries_per_second):,.0f}",
        f"{typical(lambda f: f.cpu_microseconds):.1f}",
        f"{typical(lambda f: f.kib_per_connection):.1f}",
        f"{typical(lambda f: f.post_p50):.2f}",
        f"{typical(lambda f: f.post_p99):.2f}",
        "–" if speed is None else f"{speed:.0%}",
        "–" if cpu is None else f"{cpu:.1f}",
        f"{typical(lambda f: f.server_busy):.0%}",
        f"{typical(lambda f: f.load_client_busy):.0%}",
    ]


def _median_or_none(values: Iterable[float]) -> float | None:
    listed = list(values)
    return median(listed) if listed else None
