"""Rounds: every candidate once, then every candidate again, so that a noisy minute hits all of them alike.

Each run gets a server process of its own. A candidate that fails is named on stderr and left out; the others
go on.
"""

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from benchmarks.candidates import Candidate
from benchmarks.child import ChildError
from benchmarks.server_process import ServerProcess, open_server

Figures = TypeVar("Figures")


def run_rounds(
    candidates: Sequence[Candidate], rounds: int, measure: Callable[[ServerProcess], Figures]
) -> dict[Candidate, list[Figures]]:
    """What ``measure`` made of each candidate, a figure a round, in the order of the rounds.

    Ends the program, with exit code 1, when every candidate failed.
    """
    measured: dict[Candidate, list[Figures]] = {candidate: [] for candidate in candidates}
    for number in range(1, rounds + 1):
        for candidate in list(measured):
            print(f"round {number} of {rounds}: {candidate.name}", file=sys.stderr)
            try:
                with open_server(candidate) as server:
                    measured[candidate].append(measure(server))
            except (ChildError, ProcessLookupError) as failure:
                print(f"{candidate.name} is left out: {failure}", file=sys.stderr)
                del measured[candidate]
    if not measured:
        sys.exit("no candidate is left to compare")
    return measured
