"""Command line options that benchmarks have in common."""

import argparse

from benchmarks.candidates import CANDIDATES, Candidate


def add_candidates(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only", action="append", choices=CANDIDATES, help="run this candidate (repeatable; default: all)"
    )


def chosen(options: argparse.Namespace) -> list[Candidate]:
    return [candidate for name, candidate in CANDIDATES.items() if name in (options.only or CANDIDATES)]


def add_number(parser: argparse.ArgumentParser, flag: str, default: int, meaning: str) -> None:
    parser.add_argument(
        flag, type=_at_least_one, default=default, metavar="N", help=f"{meaning} (default: {default})"
    )


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number
