"""Command line options that benchmarks have in common."""

import argparse
from pathlib import Path

from benchmarks.candidates import CANDIDATES, Candidate, Serves
from benchmarks.installed import Peers, default_folder


def add_peers_folder(parser: argparse.ArgumentParser) -> None:
    """Where peers are installed."""
    parser.add_argument(
        "--peers-dir",
        type=Path,
        default=default_folder(),
        metavar="DIR",
        help="where `python -m benchmarks peers` installs them (default: %(default)s)",
    )


def peers_of(options: argparse.Namespace) -> Peers:
    """The peers as the command line has them."""
    return Peers(options.peers_dir.absolute())


def add_candidates(
    parser: argparse.ArgumentParser, *serves: Serves, without: frozenset[str] = frozenset()
) -> None:
    """Let the candidates be picked among those that serve one of what the benchmark needs."""
    names = [
        name
        for name, candidate in CANDIDATES.items()
        if candidate.serves.intersection(serves) and name not in without
    ]
    parser.set_defaults(candidates=names)
    parser.add_argument(
        "--only",
        action="append",
        choices=names,
        metavar="NAME",
        help=f"run this one (repeatable; default: all): {', '.join(names)}",
    )
    add_peers_folder(parser)


def chosen(options: argparse.Namespace) -> list[Candidate]:
    """The candidates that are to run, in the order of the table."""
    names: list[str] = options.only or options.candidates
    return [candidate for name, candidate in CANDIDATES.items() if name in names]


def add_number(parser: argparse.ArgumentParser, flag: str, default: int, meaning: str) -> None:
    """A whole number, at least 1."""
    parser.add_argument(
        flag, type=at_least_one, default=default, metavar="N", help=f"{meaning} (default: {default})"
    )


def at_least_one(text: str) -> int:
    """A whole number from the command line, at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number
