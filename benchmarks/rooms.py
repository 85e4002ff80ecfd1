"""Rooms: one member speaks, or the server side does, how many deliveries a second to all members."""

import argparse

from benchmarks.candidates import ROOM_PATH, Serves
from benchmarks.deliveries import Load, compare_deliveries
from benchmarks.options import add_candidates, add_number, chosen, peers_of
from benchmarks.publisher import DATA_SIZE, Way
from benchmarks.subscribers import MEMBERS, Crowd


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_candidates(parser, Serves.MEMBERS)
    parser.add_argument(
        "--by",
        choices=["member", "post"],
        default="member",
        help="who speaks: a member by WebSocket, or POST /rooms/{room} (default: member)",
    )
    add_number(parser, "--members", 500, "WebSockets that listen")
    add_number(parser, "--window", 1, "the speaking member's own messages that may not be back yet")
    add_number(parser, "--messages", 1000, "messages a run, if there is time for them")
    add_number(parser, "--seconds", 5, "a run stops sending after this long")
    add_number(parser, "--rounds", 3, "runs of each candidate")


def run(options: argparse.Namespace) -> str:
    """The whole comparison, as Markdown."""
    by_post = options.by == "post"
    way = Way(ROOM_PATH) if by_post else Way(ROOM_PATH, window=options.window)
    candidates = [
        candidate for candidate in chosen(options) if not by_post or Serves.ROOM_POSTS in candidate.serves
    ]
    load = Load(Crowd(MEMBERS.path, way, MEMBERS.flags), options.members, options.messages, options.seconds)
    waits = "POST" if by_post else "own copy"
    table = compare_deliveries(candidates, options.rounds, peers_of(options), load, waits)
    said = "a POST a message" if by_post else f"one more member speaks, {options.window} on the way"
    title = f"{options.members} members, {DATA_SIZE}-byte messages, {said}"
    return f"{title}, medians of {options.rounds} rounds.\n\n{table}"
