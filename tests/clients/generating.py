"""What tests of generations with other people's clients share: servers, and a look at what they hold."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from tests.support.process import ServerProcess

PATIENCE = 15.0
SAID = "hello wörld, it\n flows 😀"
LONG = " ".join(f"word{number}" for number in range(600))
"""Half a minute of `echo` at `SLOW`."""
SLOW = {"options": {"delay_ms": 50}}


@contextmanager
def troubled() -> Iterator[ServerProcess]:
    """A server whose provider cuts at every code point and fails where it is told to."""
    args = ["--bind", "127.0.0.1:0", "--drain-seconds", "2", "--provider", "tests.support.trouble:provider"]
    with ServerProcess(args) as server:
        yield server
        assert "the app failed" not in server.stderr
        assert "a route failed" not in server.stderr


def state_of(server: ServerProcess, id: str) -> dict[str, Any]:
    """A generation as it stands."""
    shown: dict[str, Any] = _get(server, f"/generations/{id}")
    return shown


def wait_none_runs(server: ServerProcess, seconds: float = PATIENCE) -> None:
    """Wait until no generation runs and no stream is open."""
    deadline = time.monotonic() + seconds
    while _get(server, "/generations")["generations"] or _get(server, "/stats")["streams"]["generation"]:
        assert time.monotonic() < deadline, "a generation still runs"
        time.sleep(0.05)
    assert _get(server, "/stats")["leaked"] == 0


def running(server: ServerProcess) -> list[str]:
    """The ids of those that run."""
    return [each["id"] for each in _get(server, "/generations")["generations"]]


def _get(server: ServerProcess, path: str) -> Any:
    return httpx2.get(server.url + path, timeout=PATIENCE, trust_env=False).json()
