"""Cancel-to-clean: a client goes, or says Stop; how long until the model's server is rid of the connection?

Many generations run, and one at a time is ended.  The clock starts right before the client closes its
connection or sends its Stop.  It stops when the server of the model, upstream, has seen its own connection
end, and when the provider's `finally` has run.
"""

import argparse
import json
import re
import socket
import struct
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import trio

from benchmarks.candidates import Candidate, Serves
from benchmarks.child import ChildError
from benchmarks.options import add_number, add_peers_folder, peers_of
from benchmarks.rounds import percent, run_rounds
from benchmarks.server_process import ServerProcess
from benchmarks.table import markdown_table
from benchmarks.upstream import Conversation, Upstream
from benchmarks.usage import cpu_seconds, waited_seconds

_PAUSE_SECONDS = 0.01
_PATIENCE_SECONDS = 10.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_LOCATION = re.compile(rb"(?i)\r\nlocation: (/generations/\w+)")
_PROVIDERS = {"openai": "`openai`, the official client", "talk": "a function, with its `finally`"}
_WAYS = {"stop": "Stop", "fin": "the client's FIN", "rst": "the client's RST"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only", action="append", choices=[*_PROVIDERS], metavar="NAME", help="this provider (repeatable)"
    )
    add_number(parser, "--generations", 200, "generations that run")
    add_number(parser, "--samples", 100, "generations that are ended, each way")
    add_number(parser, "--rate", 2, "tokens a second in each generation")
    add_peers_folder(parser)


@dataclass(frozen=True)
class Cancels:
    """Seconds until clean, by the way it was ended.

    `busy` is the server's processor time per elapsed time, `waited` how long it wanted to run and could not.
    """

    seconds: dict[str, list[float]]
    busy: float
    waited: float


def run(options: argparse.Namespace) -> str:
    """The figures, as Markdown."""
    title = (
        f"{options.generations} generations of {options.rate} tokens a second, {options.samples} of them "
        "ended one by one, each way."
    )
    head = ["provider", "ended by", "ms to clean: p50", "p99", "max", "server busy", "kept waiting"]
    rows = [
        [_PROVIDERS[name], _WAYS[way], *_percentiles(seconds), percent(cancels.busy), percent(cancels.waited)]
        for name in options.only or _PROVIDERS
        for cancels in [_cancels(name, options)]
        for way, seconds in cancels.seconds.items()
    ]
    return f"{title}\n\n{markdown_table(head, rows)}"


def _cancels(name: str, options: argparse.Namespace) -> Cancels:
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        candidate = _candidate(name, listening, options.generations)

        def measure(server: ServerProcess) -> Cancels:
            try:
                return trio.run(_measure, server, listening, options, name == "talk")
            except ExceptionGroup as failures:
                raise _innermost(failures) from failures

        [cancels] = run_rounds([candidate], 1, peers_of(options), measure).rounds[candidate]
    return cancels


def _innermost(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _candidate(name: str, listening: socket.socket, generations: int) -> Candidate:
    command = [
        *(sys.executable, "-m", "server", "--bind", "127.0.0.1:0"),
        *("--max-generations", str(generations + 100)),
        *("--provider", "openai" if name == "openai" else "benchmarks.talking:talk"),
    ]
    if name == "openai":
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        command += ["--openai-base-url", url, "--openai-model", "m"]
    return Candidate(name, _PROVIDERS[name], lambda _: command, frozenset[Serves]())


def _percentiles(seconds: list[float]) -> list[str]:
    ordered = sorted(seconds)
    figures = (median(ordered), ordered[int(0.99 * (len(ordered) - 1))], ordered[-1])
    return [f"{figure * 1e3:.1f}" for figure in figures]


# One server


async def _measure(
    server: ServerProcess, listening: socket.socket, options: argparse.Namespace, reporting: bool
) -> Cancels:
    upstream = Upstream(options.rate)
    seconds: dict[str, list[float]] = defaultdict(list)
    async with _open_crowd(server, upstream, listening, reporting=reporting) as crowd:
        viewers = [await crowd.enter() for _ in range(options.generations)]
        began, spent, waited = time.monotonic(), cpu_seconds(server.pid), waited_seconds(server.pid)
        for _ in range(options.samples):
            for way, end in _ENDS.items():
                viewer = viewers.pop(0)
                seconds[way].append(await crowd.clean_after(viewer, end))
                viewers.append(await crowd.enter())
                await trio.sleep(_PAUSE_SECONDS)
        elapsed = time.monotonic() - began
        spent, waited = cpu_seconds(server.pid) - spent, waited_seconds(server.pid) - waited
    return Cancels(seconds, spent / elapsed, waited / elapsed)


@dataclass
class _Viewer:
    """A client that watches its own generation, whose path is `path`."""

    server: ServerProcess
    stream: trio.SocketStream
    path: str
    name: str
    conversation: Conversation
    reading: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def stop(self) -> None:
        """Say Stop, and wait for the answer."""
        async with await _connected(self.server) as stream:
            await stream.send_all(_post(f"{self.path}/stop", None))
            await _read_head(stream)

    async def leave(self) -> None:
        """Close the connection."""
        self.stream.socket.shutdown(socket.SHUT_WR)

    async def reset(self) -> None:
        """Leave with RST in place of FIN."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.stream.socket.close()


End = Callable[[_Viewer], Awaitable[None]]
_ENDS: dict[str, End] = {"stop": _Viewer.stop, "fin": _Viewer.leave, "rst": _Viewer.reset}


class _Crowd:
    """All clients of one server, and what its provider has to say.  Opened by `_open_crowd`."""

    def __init__(
        self, server: ServerProcess, upstream: Upstream, options: dict[str, object], nursery: trio.Nursery
    ) -> None:
        self._server = server
        self._upstream = upstream
        self._options = options
        self._nursery = nursery
        self._count = 0
        self._finished: dict[str, float] = {}
        self._changed = trio.Event()

    async def enter(self) -> _Viewer:
        """Ask for a generation, and wait until it runs."""
        self._count += 1
        name = f"conversation-{self._count}"
        conversation = self._upstream.expect(name)
        asked: dict[str, object] = {"messages": [{"role": "user", "content": name}]}
        stream = await _connected(self._server)
        await stream.send_all(_post("/generations", asked | self._options))
        with _patience(f"{name} to begin"):
            head = await _read_head(stream)
            location = _LOCATION.search(head)
            if location is None:
                raise ChildError(f"no generation, but {head[:200]!r}")
            viewer = _Viewer(self._server, stream, location[1].decode(), name, conversation)
            self._nursery.start_soon(self._read, viewer)
            await conversation.begun.wait()
        return viewer

    async def clean_after(self, viewer: _Viewer, end: End) -> float:
        """End one; seconds until nothing of it is left."""
        began = time.monotonic()
        with _patience(f"{viewer.name} to be closed"):
            await end(viewer)
            await viewer.conversation.closed.wait()
            finished = viewer.conversation.closed_at
            if self._options:
                finished = max(finished, await self._wait_finished(viewer.name))
        viewer.reading.cancel()
        return finished - began

    async def _wait_finished(self, name: str) -> float:
        while name not in self._finished:
            await self._changed.wait()
        return self._finished[name]

    async def run_reports(self, reports: trio.socket.SocketType) -> None:
        """Take down when the provider's `finally` has run."""
        while True:
            name, at = (await reports.recv(1024)).decode().split()
            self._finished[name] = float(at)
            self._changed.set()
            self._changed = trio.Event()

    async def _read(self, viewer: _Viewer) -> None:
        with viewer.reading:
            try:
                async with viewer.stream as stream:
                    while await stream.receive_some():
                        pass
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass


@asynccontextmanager
async def _open_crowd(
    server: ServerProcess, upstream: Upstream, listening: socket.socket, *, reporting: bool
) -> AsyncIterator[_Crowd]:
    with (
        tempfile.TemporaryDirectory() as folder,
        trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reports,
    ):
        path = str(Path(folder, "reports"))
        await reports.bind(path)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening.dup()))
        options: dict[str, object] = {}
        if reporting:
            options = {"options": {"port": listening.getsockname()[1], "report": path}}
        async with trio.open_nursery() as nursery:
            crowd = _Crowd(server, upstream, options, nursery)
            nursery.start_soon(crowd.run_reports, reports)
            nursery.start_soon(trio.serve_listeners, upstream.serve, [listener])
            yield crowd
            nursery.cancel_scope.cancel()


@contextmanager
def _patience(what: str) -> Iterator[None]:
    """Raises ChildError where what is in the block takes too long."""
    with trio.move_on_after(_PATIENCE_SECONDS) as scope:
        yield
    if scope.cancelled_caught:
        raise ChildError(f"waited {_PATIENCE_SECONDS:g} s for {what}")


async def _connected(server: ServerProcess) -> trio.SocketStream:
    return await trio.open_tcp_stream(server.host, server.port)


def _post(path: str, body: object) -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
    return f"{head}Content-Type: application/json\r\n\r\n".encode() + data


async def _read_head(stream: trio.SocketStream) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        data = await stream.receive_some()
        if not data:
            raise ChildError(f"no answer, but {head[:200]!r}")
        head += data
    return head
