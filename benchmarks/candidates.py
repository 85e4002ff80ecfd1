"""Who competes: how each is started, and the paths that all of them serve."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.compile import compiled

EVENTS_PATH = "/topics/bench/events"
PUBLISH_PATH = "/topics/bench"


@dataclass(frozen=True)
class Candidate:
    name: str
    title: str
    command: Callable[[], Sequence[str | Path]]


SLUICEWAY = Candidate(
    "sluiceway", "Sluiceway", lambda: [sys.executable, "-m", "server", "--bind", "127.0.0.1:0"]
)
CEILING = Candidate("ceiling", "C, epoll, one `write` a subscriber", lambda: [compiled("peers/broadcaster")])
NAIVE = Candidate(
    "naive",
    "Quart-Trio on Hypercorn, as their docs write it",
    lambda: [sys.executable, "-m", "benchmarks.peers.naive_quart"],
)

CANDIDATES = {candidate.name: candidate for candidate in (SLUICEWAY, CEILING, NAIVE)}
