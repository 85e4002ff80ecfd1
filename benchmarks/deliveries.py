"""What `fanout` and `rooms` share: many subscribers, one publisher, deliveries a second and their cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.candidates import Candidate
from benchmarks.installed import Peers
from benchmarks.publisher import publish
from benchmarks.rounds import Measured, percent, run_rounds
from benchmarks.server_process import ServerProcess
from benchmarks.subscribers import Crowd, open_subscribers
from benchmarks.usage import cpu_seconds, memory_kib

_SECONDS_TO_ARRIVE = 60.0
_WARM_UP_CONNECTIONS = 10
_WARM_UP_MESSAGES = 20


@dataclass(frozen=True)
class Load:
    """A crowd of so many, and how many messages it is sent for how long, in the crowd's way."""

    crowd: Crowd
    subscribers: int
    messages: int
    seconds: float


@dataclass(frozen=True)
class Figures:
    """Of one run."""

    deliveries_per_second: float
    cpu_microseconds: float
    kib_per_connection: float
    wait_p50: float
    wait_p99: float
    server_busy: float
    load_client_busy: float
    load_core_busy: float


def compare_deliveries(
    candidates: Sequence[Candidate], rounds: int, peers: Peers, load: Load, what_waits: str
) -> str:
    """The table; ``what_waits`` names what the publisher waits for."""
    measured = run_rounds(candidates, rounds, peers, lambda server: _measure(server, load))
    head = [
        "",
        "deliveries/s",
        "CPU µs each",
        "KiB a connection",
        f"{what_waits} p50 ms",
        f"{what_waits} p99 ms",
        "of the ceiling's deliveries",
        "times its CPU",
        "server busy",
        "load client busy",
        "load core busy",
    ]
    return measured.table(head, lambda candidate: _row(measured, candidate))


def _measure(server: ServerProcess, load: Load) -> Figures:
    with open_subscribers(server, _WARM_UP_CONNECTIONS, load.crowd) as streams:
        streams.prime(server)
    memory_before = memory_kib(server.pid)
    with open_subscribers(server, load.subscribers, load.crowd) as streams:
        streams.prime(server)
        primed = streams.count().events
        warm_up = publish(server, load.crowd.way, messages=_WARM_UP_MESSAGES)
        streams.wait_for_events(primed + warm_up.sent * load.subscribers, _SECONDS_TO_ARRIVE)
        # Before the timed messages: the history that a server keeps of them is no cost of a connection.
        memory = memory_kib(server.pid) - memory_before

        events_before = streams.count().events
        client_before = cpu_seconds(streams.child.pid)
        cpu_before = cpu_seconds(server.pid)
        published = publish(server, load.crowd.way, messages=load.messages, seconds=load.seconds)
        deliveries = published.sent * load.subscribers
        arrived = streams.wait_for_events(events_before + deliveries, _SECONDS_TO_ARRIVE)
        cpu = cpu_seconds(server.pid) - cpu_before
        client = cpu_seconds(streams.child.pid) - client_before
    elapsed = arrived - published.started
    return Figures(
        deliveries / elapsed,
        cpu / deliveries * 1e6,
        memory / load.subscribers,
        published.p50 * 1e3,
        published.p99 * 1e3,
        cpu / elapsed,
        client / elapsed,
        (client + published.cpu) / elapsed,
    )


def _row(measured: Measured[Figures], candidate: Candidate) -> list[str]:
    def typical(figure: Callable[[Figures], float]) -> float:
        return measured.typical(candidate, figure)

    times_cpu = measured.to_ceiling(candidate, lambda f: f.cpu_microseconds)
    return [
        f"{typical(lambda f: f.deliveries_per_second):,.0f}",
        f"{typical(lambda f: f.cpu_microseconds):.2f}",
        f"{typical(lambda f: f.kib_per_connection):.1f}",
        f"{typical(lambda f: f.wait_p50):.2f}",
        f"{typical(lambda f: f.wait_p99):.2f}",
        percent(measured.to_ceiling(candidate, lambda f: f.deliveries_per_second)),
        "–" if times_cpu is None else f"{times_cpu:.1f}",
        percent(typical(lambda f: f.server_busy)),
        percent(typical(lambda f: f.load_client_busy)),
        percent(typical(lambda f: f.load_core_busy)),
    ]
