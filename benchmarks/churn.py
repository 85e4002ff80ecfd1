"""Churn: members come and go all the time: how long a message takes, its order, and what the server keeps.

The members, some of whom speak, are all in churn_client.c, which checks that those of a room hear the same
messages in the same order.  Sluiceway runs once for each kind of presence, since that is what coming and
going costs; the peers tell nobody who comes and goes.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.candidates import ROOM_PATH, SLUICEWAY, Candidate, Serves
from benchmarks.child import Child, open_child
from benchmarks.compile import compiled
from benchmarks.options import add_candidates, add_number, chosen, peers_of
from benchmarks.processors import LOAD_CPU
from benchmarks.publisher import DATA_SIZE, MARKER
from benchmarks.rounds import percent, run_rounds
from benchmarks.server_process import ServerProcess
from benchmarks.subscribers import Opened
from benchmarks.usage import cpu_seconds, memory_kib

PRESENCE = ("full", "count", "off")
_BURST = 64
_WARM_UP_MEMBERS = 10
_WARM_UP_SECONDS = 2.0
_SECONDS_TO_OPEN = 120.0
_SECONDS_TO_HEAR = 60.0
_SECONDS_BETWEEN_LOOKS = 0.5
_SESSION_SECONDS = 5
"""How long Sluiceway remembers who has gone: well below a run's length, or memory would grow by design."""


class Heard(msgspec.Struct):
    """What came of a run: counts, and times in seconds from when a message was due, or a `connect` made."""

    sent: int
    heard: int
    wrong: int
    missing: int
    frames: int
    bytes: int
    joins: int
    leaves: int
    skipped: int
    closed: int
    p50: float
    p99: float
    most: float
    join_p50: float
    join_p99: float


@dataclass(frozen=True)
class Load:
    """So many members in so many rooms, messages and replaced members a second, for so many seconds."""

    members: int
    rooms: int
    rate: int
    churn: int
    seconds: int


@dataclass(frozen=True)
class Figures:
    """Of one run."""

    heard: Heard
    kib_a_member: float
    grown_first_half: float
    """MiB of memory."""
    grown_second_half: float
    processors: float
    """CPU seconds that a second of the load takes: above 1 it cannot keep up."""
    load_client_busy: float
    seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_candidates(parser, Serves.MEMBERS)
    parser.add_argument(
        "--presence",
        action="append",
        choices=PRESENCE,
        help="of Sluiceway's rooms (repeatable; default: all)",
    )
    add_number(parser, "--members", 1000, "WebSockets")
    add_number(parser, "--rooms", 1, "rooms that they are spread over; above 1 only of Sluiceway")
    add_number(parser, "--rate", 20, "messages a second, over all rooms")
    add_number(parser, "--churn", 100, "members a second that leave, and as many that come")
    add_number(parser, "--seconds", 30, "for how long")
    add_number(parser, "--rounds", 1, "runs of each candidate")


def run(options: argparse.Namespace) -> str:
    """The whole comparison, as Markdown."""
    load = Load(options.members, options.rooms, options.rate, options.churn, options.seconds)
    candidates = [
        variant
        for candidate in chosen(options)
        if candidate is SLUICEWAY or load.rooms == 1
        for variant in (_variants(options.presence) if candidate is SLUICEWAY else [candidate])
    ]
    measured = run_rounds(
        candidates, options.rounds, peers_of(options), lambda server: _measure(server, load)
    )

    def row(candidate: Candidate) -> list[str]:
        rounds = measured.rounds[candidate]
        wrong, missing = (sum(getattr(f.heard, name) for f in rounds) for name in ("wrong", "missing"))
        return [
            f"{measured.typical(candidate, lambda f: f.heard.p50) * 1e3:.1f}",
            f"{measured.typical(candidate, lambda f: f.heard.p99) * 1e3:.1f}",
            f"{measured.typical(candidate, lambda f: f.heard.most) * 1e3:.0f}",
            "the same" if not wrong and not missing else f"{wrong} wrong, {missing} missing",
            f"{measured.typical(candidate, lambda f: f.heard.joins / f.seconds):,.0f}",
            f"{measured.typical(candidate, lambda f: f.heard.join_p99) * 1e3:.0f}",
            f"{measured.typical(candidate, lambda f: f.heard.frames / f.seconds):,.0f}",
            f"{measured.typical(candidate, lambda f: f.processors):.2f}",
            percent(measured.typical(candidate, lambda f: f.load_client_busy)),
            f"{measured.typical(candidate, lambda f: f.kib_a_member):.1f}",
            f"{measured.typical(candidate, lambda f: f.grown_first_half):.1f}",
            f"{measured.typical(candidate, lambda f: f.grown_second_half):.1f}",
            f"{sum(f.heard.closed for f in rounds)}",
        ]

    head = [
        "",
        "message p50 ms",
        "p99 ms",
        "the longest ms",
        "order",
        "joins/s",
        "join p99 ms",
        "frames/s",
        "server, processors",
        "load client busy",
        "KiB a member",
        "growth MiB, first half",
        "second half",
        "members closed",
    ]
    where = "in one room" if load.rooms == 1 else f"across {load.rooms:,} rooms"
    title = (
        f"{load.members:,} members {where}, {load.churn} leave and {load.churn} come a second, {load.rate} "
        f"messages of {DATA_SIZE} bytes a second for {load.seconds} s, medians of {options.rounds} rounds."
    )
    return f"{title}\n\n{measured.table(head, row)}"


def _variants(presence: list[str] | None) -> list[Candidate]:
    return [_sluiceway(kind) for kind in PRESENCE if kind in (presence or PRESENCE)]


def _sluiceway(presence: str) -> Candidate:
    command = [
        *(sys.executable, "-m", "server", "--bind", "127.0.0.1:0"),
        *("--room", f"*:presence={presence}", "--session-seconds", str(_SESSION_SECONDS)),
        *("--max-connections", "20000"),
    ]
    return Candidate(
        f"sluiceway-{presence}",
        f"{SLUICEWAY.title}, presence {presence}",
        lambda _: command,
        SLUICEWAY.serves,
    )


def _measure(server: ServerProcess, load: Load) -> Figures:
    with _members(server, _WARM_UP_MEMBERS, 1) as (child, _):
        _let_churn(child, load.rate, load.churn)
        time.sleep(_WARM_UP_SECONDS)
        _report(child)
    before = memory_kib(server.pid)
    with _members(server, load.members, load.rooms) as (child, opened):
        kib_a_member = (memory_kib(server.pid) - before) / opened.opened
        # What a server needs once, when the first come and go, is no growth.
        _let_churn(child, load.rate, load.churn)
        time.sleep(_WARM_UP_SECONDS)
        _report(child)
        memory = [memory_kib(server.pid)]
        cpu, client = cpu_seconds(server.pid), cpu_seconds(child.pid)
        began = _let_churn(child, load.rate, load.churn, load.seconds)
        while time.monotonic() < began + load.seconds:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            memory.append(memory_kib(server.pid))
        seconds = time.monotonic() - began
        client = cpu_seconds(child.pid) - client
        heard = _report(child)
        # Once everything is done, however late: so it is what a second of this takes, on any machine.
        cpu = cpu_seconds(server.pid) - cpu
    half = len(memory) // 2
    return Figures(
        heard,
        kib_a_member,
        (memory[half] - memory[0]) / 1024,
        (memory[-1] - memory[half]) / 1024,
        cpu / seconds,
        client / seconds,
        seconds,
    )


@contextmanager
def _members(server: ServerProcess, number: int, rooms: int) -> Iterator[tuple[Child, Opened]]:
    command: list[str | Path] = [
        compiled("churn_client"),
        *("-n", str(number), "-r", str(rooms), "-m", MARKER, "-b", str(_BURST), "-z", str(DATA_SIZE)),
        server.host,
        str(server.port),
        ROOM_PATH,
    ]
    with open_child(command, cpu=LOAD_CPU, name="churn client") as child:
        yield child, msgspec.json.decode(child.read_line(_SECONDS_TO_OPEN), type=Opened)


def _let_churn(child: Child, rate: int, churn: int, seconds: float = _WARM_UP_SECONDS) -> float:
    """Begin a run; answers when on ``time.monotonic()``."""
    child.tell(f"run {seconds:f} {rate} {churn}")
    began: float = msgspec.json.decode(child.read_line(10))["began"]
    return began


def _report(child: Child) -> Heard:
    """Of a run whose time is over."""
    child.tell("report")
    return msgspec.json.decode(child.read_line(_SECONDS_TO_HEAR), type=Heard)
