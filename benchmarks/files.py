"""Files: a large one up and down, how fast, at what cost of processor and memory.

The client sends bytes from memory and throws away what it gets, so that the disk is the server's alone.
"""

import argparse
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from benchmarks.candidates import AIOHTTP_FILES, FILE_PATH, Candidate, Serves
from benchmarks.child import ChildError
from benchmarks.options import add_candidates, add_number, chosen, peers_of
from benchmarks.rounds import Measured, percent, run_rounds
from benchmarks.server_process import ServerProcess
from benchmarks.usage import cpu_seconds, watched_memory

_MB = 1_000_000
_PIECE = 1024 * 1024
_PATIENCE = 120.0


@dataclass(frozen=True)
class Transfer:
    """One way of the file."""

    mb_per_second: float
    cpu_seconds_per_gb: float
    growth_mib: float


@dataclass(frozen=True)
class Figures:
    """Of one run."""

    up: Transfer
    down: Transfer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_candidates(parser, Serves.FILES)
    add_number(parser, "--megabytes", 1000, "size of the file")
    add_number(parser, "--rounds", 3, "runs of each candidate")


def run(options: argparse.Namespace) -> str:
    """The comparison, as Markdown."""
    size = options.megabytes * _MB
    measured = run_rounds(
        chosen(options), options.rounds, peers_of(options), lambda server: _measure(server, size)
    )

    def row(candidate: Candidate) -> list[str]:
        cells = []
        for way in (lambda f: f.up, lambda f: f.down):
            cells += _cells(measured, candidate, way)
        return cells

    head = [""]
    for way in ("up", "down"):
        head += [f"{way}: MB/s", "of aiohttp's", "CPU s/GB", "growth MiB"]
    title = f"A file of {options.megabytes} MB, medians of {options.rounds} rounds."
    return f"{title}\n\n{measured.table(head, row)}"


def _cells(
    measured: Measured[Figures], candidate: Candidate, way: Callable[[Figures], Transfer]
) -> list[str]:
    others = measured.rounds.get(AIOHTTP_FILES, [])
    pairs = zip(measured.rounds[candidate], others, strict=False)
    ratios = [way(own).mb_per_second / way(other).mb_per_second for own, other in pairs]
    return [
        f"{measured.typical(candidate, lambda f: way(f).mb_per_second):,.0f}",
        percent(median(ratios) if ratios else None),
        f"{measured.typical(candidate, lambda f: way(f).cpu_seconds_per_gb):.2f}",
        f"{measured.typical(candidate, lambda f: way(f).growth_mib):.1f}",
    ]


def _measure(server: ServerProcess, size: int) -> Figures:
    # What a server needs once, for a first file, is no growth.
    _upload(server, _PIECE)
    _download(server, _PIECE)
    return Figures(_transfer(server, size, _upload), _transfer(server, size, _download))


def _transfer(server: ServerProcess, size: int, move: Callable[[ServerProcess, int], None]) -> Transfer:
    cpu = cpu_seconds(server.pid)
    with watched_memory(server.pid) as growth:
        started = time.perf_counter()
        move(server, size)
        seconds = time.perf_counter() - started
    cpu = cpu_seconds(server.pid) - cpu
    return Transfer(size / seconds / _MB, cpu / size * 1e9, growth() / 1024)


def _upload(server: ServerProcess, size: int) -> None:
    piece = bytes(_PIECE)
    with socket.create_connection((server.host, server.port), _PATIENCE) as connection:
        head = (
            f"PUT {FILE_PATH} HTTP/1.1\r\nHost: {server.host}:{server.port}\r\nContent-Length: {size}\r\n\r\n"
        )
        connection.sendall(head.encode())
        for start in range(0, size, _PIECE):
            connection.sendall(piece[: size - start])
        status, _ = _read_head(connection)
    if status not in (200, 201):
        raise ChildError(f"an upload was answered with {status}")


def _download(server: ServerProcess, size: int) -> None:
    buffer = bytearray(_PIECE)
    with socket.create_connection((server.host, server.port), _PATIENCE) as connection:
        head = f"GET {FILE_PATH} HTTP/1.1\r\nHost: {server.host}:{server.port}\r\n\r\n"
        connection.sendall(head.encode())
        status, received = _read_head(connection)
        if status != 200:
            raise ChildError(f"a download was answered with {status}")
        left = size - len(received)
        while left:
            count = connection.recv_into(buffer)
            if not count:
                raise ChildError(f"a download ended {left} bytes early")
            left -= count


def _read_head(connection: socket.socket) -> tuple[int, bytes]:
    """The status, and what came behind the head."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(65536)
        if not more:
            raise ChildError("the connection ended before an answer")
        received += more
    head, _, rest = received.partition(b"\r\n\r\n")
    return int(head.split(maxsplit=2)[1]), rest
