"""Rows: a large table in and out over HTTP, against a plain script that does the same with apsw alone.

The script reads its rows from a file and writes them to one, where the server has a connection.
"""

import argparse
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.candidates import SLUICEWAY
from benchmarks.child import ChildError
from benchmarks.options import add_number, add_peers_folder, peers_of
from benchmarks.processors import SERVER_CPU
from benchmarks.server_process import ServerProcess, open_server
from benchmarks.table import markdown_table
from benchmarks.usage import cpu_seconds, watched_memory

_BLOCK = 1000
_PATIENCE = 300.0
_PATH = "/datasets/bench"
_ROW = (
    b'{"id":%d,"name":"customer number %d","city":"Sampleville on the river","amount":%d.25,'
    b'"at":"2026-11-21T12:00:00Z","note":"some words that fill the line until it has two hundred bytes"}\n'
)


@dataclass(frozen=True)
class Way:
    """One way of the rows: seconds, and of its processor; by how much the process grew, None where it was not
    watched.
    """

    seconds: float
    cpu_seconds: float
    growth_mib: float | None = None


@dataclass(frozen=True)
class Figures:
    """Of one run."""

    rows_in: Way
    rows_out: Way


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_number(parser, "--rows", 1_000_000, "rows of the table, of 200 bytes each")
    add_number(parser, "--rounds", 1, "runs of each")
    add_peers_folder(parser)


def run(options: argparse.Namespace) -> str:
    """The comparison, as Markdown."""
    rows: int = max(_BLOCK, options.rows // _BLOCK * _BLOCK)
    served, plain = [], []
    for number in range(1, options.rounds + 1):
        print(f"round {number} of {options.rounds}", file=sys.stderr)
        with open_server(SLUICEWAY, peers_of(options)) as server:
            served.append(_measure_server(server, rows))
        plain.append(_measure_script(rows))
    head = [""]
    for way in ("in", "out"):
        head += [f"{way}: rows/s", "of the script's", "CPU s/million", "times its CPU", "growth MiB"]
    title = f"{rows:,} rows of 200 bytes as NDJSON, medians of {options.rounds} rounds."
    table = markdown_table(
        head,
        [
            [
                SLUICEWAY.title,
                *_cells(rows, served, plain, "rows_in"),
                *_cells(rows, served, plain, "rows_out"),
            ],
            [
                "apsw in a script",
                *_cells(rows, plain, plain, "rows_in"),
                *_cells(rows, plain, plain, "rows_out"),
            ],
        ],
    )
    return f"{title}\n\n{table}"


def _cells(rows: int, own: list[Figures], others: list[Figures], which: str) -> list[str]:
    ways: list[Way] = [getattr(each, which) for each in own]
    ratios = [getattr(other, which).seconds / way.seconds for way, other in zip(ways, others, strict=True)]
    costs = [
        way.cpu_seconds / getattr(other, which).cpu_seconds for way, other in zip(ways, others, strict=True)
    ]
    growth = [way.growth_mib for way in ways if way.growth_mib is not None]
    return [
        f"{rows / median(way.seconds for way in ways):,.0f}",
        f"{median(ratios):.2f}",
        f"{median(way.cpu_seconds for way in ways) / rows * 1e6:.2f}",
        f"{median(costs):.2f}",
        f"{max(growth):.1f}" if growth else "–",
    ]


def _blocks(rows: int) -> Iterator[bytes]:
    for start in range(0, rows, _BLOCK):
        yield b"".join(_ROW % (number, number, number) for number in range(start, start + _BLOCK))


def _measure_server(server: ServerProcess, rows: int) -> Figures:
    # What a server needs once, for a first table, is no growth.
    _post(server, list(_blocks(_BLOCK)))
    _get(server)
    # Made before the clock starts: the client is not what is measured.
    blocks = list(_blocks(rows))
    with watched_memory(server.pid) as grown:
        cpu = cpu_seconds(server.pid)
        started = time.perf_counter()
        _post(server, blocks)
        rows_in = Way(time.perf_counter() - started, cpu_seconds(server.pid) - cpu, grown() / 1024)
    with watched_memory(server.pid) as grown:
        cpu = cpu_seconds(server.pid)
        started = time.perf_counter()
        found = _get(server)
        rows_out = Way(time.perf_counter() - started, cpu_seconds(server.pid) - cpu, grown() / 1024)
    if found != rows:
        raise ChildError(f"{rows} rows went in, and {found} came out")
    return Figures(rows_in, rows_out)


def _post(server: ServerProcess, blocks: list[bytes]) -> None:
    with socket.create_connection((server.host, server.port), _PATIENCE) as connection:
        head = (
            f"POST {_PATH} HTTP/1.1\r\nHost: {server.host}:{server.port}\r\nConnection: close\r\n"
            f"Content-Type: application/x-ndjson\r\nContent-Length: {sum(map(len, blocks))}\r\n\r\n"
        )
        connection.sendall(head.encode())
        for block in blocks:
            connection.sendall(block)
        answer = b""
        while more := connection.recv(65536):
            answer += more
    if not answer.startswith(b"HTTP/1.1 202") or b'"state":"done"' not in answer:
        raise ChildError(f"an import was answered with {answer.decode(errors='replace')}")


def _get(server: ServerProcess) -> int:
    """How many rows came out."""
    with socket.create_connection((server.host, server.port), _PATIENCE) as connection:
        head = (
            f"GET {_PATH}/rows HTTP/1.1\r\nHost: {server.host}:{server.port}\r\n"
            "Accept: application/x-ndjson\r\n\r\n"
        )
        connection.sendall(head.encode())
        count = 0
        last = b""
        buffer = bytearray(1024 * 1024)
        view = memoryview(buffer)
        while size := connection.recv_into(buffer):
            # Chunks end with a line end too, and that has a carriage return.
            count += buffer.count(b"}\n", 0, size) + (last == b"}" and buffer[0] == 10)
            last = bytes(view[size - 1 : size])
    return count


def _measure_script(rows: int) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        given, table, taken = (Path(folder) / name for name in ("in.ndjson", "bench.sqlite", "out.ndjson"))
        with given.open("wb") as file:
            file.writelines(_blocks(rows))
        rows_in = _run_script("in", table, given, Path(os.devnull))
        rows_out = _run_script("out", table, Path(os.devnull), taken)
        if taken.stat().st_size != given.stat().st_size:
            raise ChildError("what came out of the script is not what went in")
    return Figures(rows_in, rows_out)


def _run_script(direction: str, table: Path, given: Path, taken: Path) -> Way:
    """Its start is in the figures: a tenth of a second."""
    cpu = _cpu_of_children()
    started = time.perf_counter()
    with given.open("rb") as stdin, taken.open("wb") as stdout:
        subprocess.run(
            [sys.executable, "-m", "benchmarks.peers.plain_rows", direction, str(table)],
            stdin=stdin,
            stdout=stdout,
            check=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CPU}),
        )
    return Way(time.perf_counter() - started, _cpu_of_children() - cpu)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
