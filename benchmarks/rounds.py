"""Rounds: every candidate once, then every candidate again, so that a noisy minute hits all of them alike.

Each run gets a server process of its own.  A candidate that is missing or fails is named, in the table and on
stderr, and the others go on.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Generic, TypeVar

from benchmarks.candidates import CEILING, Candidate
from benchmarks.child import ChildError
from benchmarks.installed import PeerMissingError, Peers
from benchmarks.server_process import ServerProcess, open_server
from benchmarks.table import markdown_table

Figures = TypeVar("Figures")


@dataclass
class Measured(Generic[Figures]):
    """The figures of each candidate, one a round, in the order of the rounds; and who has none, and why."""

    rounds: dict[Candidate, list[Figures]]
    left_out: dict[Candidate, str] = field(default_factory=dict)

    def leave_out(self, candidate: Candidate, reason: str) -> None:
        """Take it out of the rounds that follow, and what it has out of the table."""
        print(f"{candidate.name} is left out: {reason}", file=sys.stderr)
        del self.rounds[candidate]
        self.left_out[candidate] = reason.partition("\n")[0]

    def typical(self, candidate: Candidate, figure: Callable[[Figures], float]) -> float:
        """The median of its rounds."""
        return median(map(figure, self.rounds[candidate]))

    def to_ceiling(self, candidate: Candidate, figure: Callable[[Figures], float]) -> float | None:
        """The median of its ratios to the ceiling, None where there is no ceiling.

        They are made within each round, since the rounds see different minutes of the machine.
        """
        top = self.rounds.get(CEILING)
        if not top:
            return None
        pairs = zip(self.rounds[candidate], top, strict=False)
        return median(figure(own) / figure(highest) for own, highest in pairs)

    def table(self, head: Sequence[str], row: Callable[[Candidate], Sequence[str]]) -> str:
        """A row for each candidate, dashes for those that were left out, and below it the reasons."""
        rows = [[candidate.title, *row(candidate)] for candidate in self.rounds]
        rows += [[f"{candidate.title} (missing)", *["–"] * (len(head) - 1)] for candidate in self.left_out]
        notes = [f"Missing: {candidate.title}: {reason}" for candidate, reason in self.left_out.items()]
        return "\n\n".join([markdown_table(head, rows), *notes])


def run_rounds(
    candidates: Sequence[Candidate],
    rounds: int,
    peers: Peers,
    measure: Callable[[ServerProcess], Figures],
) -> Measured[Figures]:
    """What ``measure`` made of each candidate.

    Ends the program, with exit code 1, when every candidate failed.
    """
    measured: Measured[Figures] = Measured({candidate: [] for candidate in candidates})
    for number in range(1, rounds + 1):
        for candidate in list(measured.rounds):
            print(f"round {number} of {rounds}: {candidate.name}", file=sys.stderr)
            try:
                with open_server(candidate, peers) as server:
                    measured.rounds[candidate].append(measure(server))
            except (ChildError, PeerMissingError, FileNotFoundError, ProcessLookupError) as failure:
                measured.leave_out(candidate, str(failure))
    if not measured.rounds:
        sys.exit("no candidate is left to compare")
    return measured


def percent(share: float | None) -> str:
    """A share in percent, or a dash."""
    return "–" if share is None else f"{share:.0%}"
