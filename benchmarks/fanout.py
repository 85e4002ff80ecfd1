"""Fan-out: one publisher, many subscribers of one topic, how many deliveries a second at what cost."""

import argparse

from benchmarks.candidates import JOINING, Serves
from benchmarks.deliveries import Load, compare_deliveries
from benchmarks.options import add_candidates, add_number, chosen, peers_of
from benchmarks.publisher import DATA_SIZE, Way
from benchmarks.subscribers import STREAMS, Crowd


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_candidates(parser, Serves.EVENTS)
    add_number(parser, "--subscribers", 500, "event streams")
    add_number(parser, "--batch", 1, "messages a POST, as NDJSON where more than one")
    add_number(parser, "--messages", 1000, "messages a run, if there is time for them")
    add_number(parser, "--seconds", 5, "a run stops publishing after this long")
    add_number(parser, "--rounds", 3, "runs of each candidate")


def run(options: argparse.Namespace) -> str:
    """The whole comparison, as Markdown."""
    batch = options.batch
    load = Load(Crowd(STREAMS.path, Way(batch=batch)), options.subscribers, options.messages, options.seconds)
    # Without batches it is the ceiling over again.
    candidates = [candidate for candidate in chosen(options) if batch > 1 or candidate != JOINING]
    table = compare_deliveries(candidates, options.rounds, peers_of(options), load, "POST")
    published = f"NDJSON batches of {batch}" if batch > 1 else "a POST a message"
    title = f"{options.subscribers} subscribers, {DATA_SIZE}-byte events, {published}"
    return f"{title}, medians of {options.rounds} rounds.\n\n{table}"
