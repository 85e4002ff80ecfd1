"""Servers as processes, for tests over real sockets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_READY = "sluiceway: listening on http://127.0.0.1:"


@pytest.fixture(scope="module")
def live_server() -> Iterator[int]:
    """The port of a server of ours, in its own process: `python -m server` with all defaults."""
    with subprocess.Popen(
        [sys.executable, "-m", "server", "--bind", "127.0.0.1:0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(_READY), f"no ready line, but {line!r}"
            yield int(line.removeprefix(_READY))
            assert process.poll() is None, f"the server has ended, with {process.returncode}"
        finally:
            process.terminate()
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def stock_server(
    errors: Path, module: str = "tests.transport.stock_server"
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process and port of a stock server, which `module` is; its stderr goes to the file `errors`."""
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    with process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()
