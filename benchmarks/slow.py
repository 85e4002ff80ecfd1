"""Slow: subscribers that read nothing: what they cost the healthy ones in time, and the server in memory.

Time: the same healthy subscribers are measured twice in each run, with healthy others beside them and with
stalled ones.  Memory: nobody but stalled ones, each of which is replaced when the server has closed it.

A stalled client has a small receive buffer and segments as on a network.  Before the time is measured it is
sent more than fits into that and into the kernel's send buffer, so that it is the server that holds the rest.
"""

import argparse
import time
from dataclasses import dataclass

from benchmarks.candidates import Candidate, Serves
from benchmarks.child import ChildError
from benchmarks.options import add_candidates, add_number, chosen, peers_of
from benchmarks.publisher import DATA_SIZE, Way, publish, publishing
from benchmarks.rounds import percent, run_rounds
from benchmarks.server_process import ServerProcess
from benchmarks.stats import StatsReader, open_stats
from benchmarks.subscribers import (
    STALLED,
    STREAMS,
    TIMED,
    Latency,
    Subscribers,
    open_subscribers,
)
from benchmarks.usage import memory_kib

_FILLING = 100
_FILLING_SIZE = 1000
_SECONDS_TO_ARRIVE = 30.0
_SECONDS_TO_JOIN = 30.0
_SECONDS_BETWEEN_LOOKS = 0.05


@dataclass(frozen=True)
class Delay:
    """Seconds to the healthy subscribers, without stalled ones beside them and with, and how many of those
    the server had closed in the end.
    """

    without: Latency
    stalled: Latency
    closed: int


@dataclass(frozen=True)
class Growth:
    """Messages a second, the most that the server grew by, and what it says of that, in MiB."""

    messages_per_second: float
    most: float
    buffered: float | None
    ceiling: float | None
    closed: int
    full: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_candidates(parser, Serves.EVENTS, without=frozenset({"joining"}))
    parser.add_argument(
        "--part", choices=["delay", "memory"], help="measure only the one or the other (default: both)"
    )
    add_number(parser, "--subscribers", 500, "event streams, a tenth of which are stalled")
    add_number(parser, "--rate", 100, "messages a second to them")
    add_number(parser, "--seconds", 5, "for how long, twice")
    add_number(parser, "--stalled", 200, "stalled event streams while memory is watched")
    add_number(parser, "--memory-rate", 500, "messages of 1 KB a second to those")
    add_number(parser, "--memory-seconds", 10, "for how long")
    add_number(parser, "--memory-limit", 1024, "MiB of growth after which a server is stopped")
    add_number(parser, "--rounds", 3, "runs of each candidate")


def run(options: argparse.Namespace) -> str:
    """Both comparisons, as Markdown."""
    parts = {"delay": _compare_delay, "memory": _compare_memory}
    return "\n\n".join(part(options) for name, part in parts.items() if options.part in (None, name))


def _compare_delay(options: argparse.Namespace) -> str:
    stalled = max(1, options.subscribers // 10)
    healthy = max(1, options.subscribers - stalled)
    measured = run_rounds(
        chosen(options),
        options.rounds,
        peers_of(options),
        lambda server: _measure_delay(server, healthy, stalled, options.rate, options.seconds),
    )

    def row(candidate: Candidate) -> list[str]:
        return [
            f"{measured.typical(candidate, lambda d: d.without.p50) * 1e3:.2f}",
            f"{measured.typical(candidate, lambda d: d.without.p99) * 1e3:.2f}",
            f"{measured.typical(candidate, lambda d: d.stalled.p50) * 1e3:.2f}",
            f"{measured.typical(candidate, lambda d: d.stalled.p99) * 1e3:.2f}",
            f"{measured.typical(candidate, lambda d: d.stalled.p99 / d.without.p99):.2f}",
            f"{measured.typical(candidate, lambda d: d.stalled.most) * 1e3:.1f}",
            f"{measured.typical(candidate, lambda d: d.closed):.0f}",
        ]

    head = [
        "",
        "none stalled: p50 ms",
        "p99 ms",
        f"{stalled} stalled: p50 ms",
        "p99 ms",
        "p99, times that with none",
        "the longest ms",
        "stalled ones closed",
    ]
    title = (
        f"{healthy} healthy subscribers beside {stalled} others, {options.rate} messages a second of "
        f"{DATA_SIZE} bytes, from the time that one is due to its arrival"
    )
    return f"{title}, medians of {options.rounds} rounds.\n\n{measured.table(head, row)}"


def _measure_delay(server: ServerProcess, healthy: int, stalled: int, rate: int, seconds: int) -> Delay:
    with open_stats(server) as stats, open_subscribers(server, healthy, TIMED) as streams:
        streams.prime(server)
        before = stats.read().subscriptions
        with open_subscribers(server, stalled, STREAMS) as others:
            others.prime(server)
            _publish_filling(server, streams)
            without = _delay(server, streams, rate, seconds)
        _wait_for_subscriptions(stats, before)
        with open_subscribers(server, stalled, STALLED):
            _wait_for_subscriptions(stats, before + stalled)
            _publish_filling(server, streams)
            delayed = _delay(server, streams, rate, seconds)
            return Delay(without, delayed, before + stalled - stats.read().subscriptions)


def _publish_filling(server: ServerProcess, streams: Subscribers) -> None:
    """More than a stalled client's receive buffer and the kernel's send buffer take together."""
    events = streams.count().events
    published = publish(server, Way(size=_FILLING_SIZE), messages=_FILLING)
    streams.wait_for_events(events + published.sent * streams.number, _SECONDS_TO_ARRIVE)
    streams.latency()


def _delay(server: ServerProcess, streams: Subscribers, rate: int, seconds: int) -> Latency:
    events = streams.count().events
    published = publish(server, Way(rate=rate), messages=rate * seconds, seconds=seconds + _SECONDS_TO_ARRIVE)
    streams.wait_for_events(events + published.sent * streams.number, _SECONDS_TO_ARRIVE)
    return streams.latency()


def _wait_for_subscriptions(stats: StatsReader, number: int) -> None:
    deadline = time.monotonic() + _SECONDS_TO_JOIN
    while (now := stats.read().subscriptions) != number:
        if time.monotonic() > deadline:
            raise ChildError(f"/stats counts {now} subscriptions in place of {number}")
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _compare_memory(options: argparse.Namespace) -> str:
    measured = run_rounds(
        chosen(options), options.rounds, peers_of(options), lambda server: _measure_memory(server, options)
    )

    def row(candidate: Candidate) -> list[str]:
        rounds = measured.rounds[candidate]
        most = measured.typical(candidate, lambda g: g.most)
        ceiling, buffered = rounds[-1].ceiling, max((g.buffered or 0 for g in rounds), default=0)
        known = rounds[-1].buffered is not None
        return [
            f"{measured.typical(candidate, lambda g: g.messages_per_second):,.0f}",
            f"{'over ' if any(g.full for g in rounds) else ''}{most:,.1f}",
            f"{buffered:,.1f}" if known else "–",
            f"{ceiling:,.1f}" if ceiling else "–",
            percent(most / ceiling) if ceiling else "–",
            f"{measured.typical(candidate, lambda g: g.closed):.0f}",
        ]

    head = [
        "",
        "messages/s",
        "growth MiB",
        "by /stats MiB",
        "its ceiling MiB",
        "growth, of the ceiling",
        "streams closed",
    ]
    title = (
        f"{options.stalled} stalled subscribers, replaced when they are closed, {options.memory_rate} "
        f"messages of 1 KB a second for {options.memory_seconds} s"
    )
    return f"{title}, medians of {options.rounds} rounds.\n\n{measured.table(head, row)}"


def _measure_memory(server: ServerProcess, options: argparse.Namespace) -> Growth:
    rate, seconds = options.memory_rate, options.memory_seconds
    # What a server needs once, for a first subscriber and a first message, is no growth.
    with open_subscribers(server, 1) as stream:
        stream.prime(server)
    before = memory_kib(server.pid)
    most, buffered, closed = 0.0, None, 0
    with (
        open_stats(server) as stats,
        open_subscribers(server, options.stalled, STALLED) as streams,
        publishing(server, Way(size=1000, rate=rate), messages=rate * seconds, seconds=seconds) as publisher,
    ):
        ceiling = stats.read().ceiling_bytes
        end = time.monotonic() + seconds
        while time.monotonic() < end and most < options.memory_limit:
            most = max(most, (memory_kib(server.pid) - before) / 1024)
            now = stats.read()
            if now.buffered_bytes is not None:
                buffered = max(buffered or 0.0, now.buffered_bytes / 2**20)
            # A client that reads nothing does not see that it was closed: the news is behind what it does
            # not read. So it is asked of the server.
            if now.subscriptions < options.stalled:
                closed += streams.replace(options.stalled - now.subscriptions)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        full = most >= options.memory_limit
        sent = 0.0 if full else publisher.wait().sent / seconds
        return Growth(
            sent,
            most,
            buffered,
            ceiling / 2**20 if ceiling else None,
            closed,
            full,
        )
