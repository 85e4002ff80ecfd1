"""The server as a program: started with arguments, known by its ready line, ended by its own process id.

For tests of what only a real process shows: signals, restarts, browsers and other people's clients. What it
wrote to stderr is kept, and is part of every error raised here.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import IO, Self
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
READY = "sluiceway: listening on "
READY_SECONDS = 20.0
EXIT_SECONDS = 10.0


class ServerProcess:
    """`python -m server` with `args`, from `__enter__` to `__exit__`.

    `env` is added to the environment. `__enter__` returns once the ready line has come, and raises
    `RuntimeError` where the process ends or says nothing for `READY_SECONDS`. `__exit__` sends SIGTERM, and
    kills the process and raises `RuntimeError` where it is still there `EXIT_SECONDS` later.
    """

    def __init__(self, args: Sequence[str] = ("--bind", "127.0.0.1:0"), env: Mapping[str, str] | None = None):
        self._args = list(args)
        self._env = {**os.environ, **(env or {})}
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed in __exit__
        self._process: subprocess.Popen[bytes] | None = None
        self.stdout: list[str] = []
        """The lines the process wrote to stdout, over all its starts."""
        self.urls: list[str] = []
        """What the ready line names, in its order."""
        self.url = ""
        """The first of `urls`."""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stderr.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.terminate()
        finally:
            self._stderr.close()

    @property
    def port(self) -> int:
        """The port of the first address."""
        port = urlsplit(self.url).port
        assert port is not None
        return port

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def stderr(self) -> str:
        """What the process wrote to stderr, over all its starts."""
        end = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), end, 0).decode(errors="replace")

    def terminate(self, seconds: float = EXIT_SECONDS) -> int | None:
        """Send SIGTERM and wait. Returns the exit code, None where nothing runs."""
        if self._process is None:
            return None
        self.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def send_signal(self, number: int) -> None:
        self._running().send_signal(number)

    def wait(self, seconds: float = EXIT_SECONDS) -> int:
        """Wait for the process to end by itself. Returns the exit code."""
        try:
            return self._wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"still there after {seconds:g} s{self._said()}") from None

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._wait(EXIT_SECONDS)

    def restart(self) -> None:
        """SIGTERM, wait, and start again on the same port."""
        self.terminate()
        self.start_again()

    def start_again(self) -> None:
        """Start what has ended, on the same port."""
        self._args = [re.sub(r":0$", f":{self.port}", argument) for argument in self._args]
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-m", "server", *self._args]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
        )
        self._process = process
        lines: SimpleQueue[str] = SimpleQueue()
        self._reader = threading.Thread(target=self._pass_on, args=(process.stdout, lines), daemon=True)
        self._reader.start()
        try:
            line = lines.get(timeout=READY_SECONDS)
        except Empty:
            line = ""
        if not line.startswith(READY):
            self.kill()
            raise RuntimeError(f"no ready line but {line!r} from {' '.join(command)}{self._said()}")
        self.urls = line.removeprefix(READY).split()
        self.url = self.urls[0]

    def _wait(self, seconds: float) -> int:
        code = self._running().wait(seconds)
        self._reader.join(seconds)
        self._process = None
        return code

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the process is not running"
        return self._process

    def _said(self) -> str:
        return f"; stderr:\n{self.stderr}"

    def _pass_on(self, stdout: IO[bytes], lines: SimpleQueue[str]) -> None:
        """Read to the end, so that the process never blocks on a full pipe; an empty line is the end."""
        with stdout:
            for line in stdout:
                self.stdout.append(line.decode().rstrip("\n"))
                lines.put(self.stdout[-1])
        lines.put("")
