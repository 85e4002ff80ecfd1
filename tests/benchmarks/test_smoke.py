"""Each benchmark once, with tiny numbers: that it runs and prints a figure for each that can run anywhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler `cc`")

FEW = "--subscribers=12"
ONCE = "--rounds=1"
RUNS = {
    "fanout": ["fanout", FEW, ONCE, "--messages=20"],
    "rooms": ["rooms", "--members=12", ONCE, "--messages=20"],
    "rooms by post": ["rooms", "--by=post", "--members=12", ONCE, "--messages=20"],
    "churn": ["churn", "--members=12", ONCE, "--churn=5", "--rate=20", "--seconds=1", "--presence=full"],
    "delay": ["slow", "--part=delay", FEW, ONCE, "--rate=50", "--seconds=1"],
    "memory": ["slow", "--part=memory", "--stalled=5", ONCE, "--memory-rate=50", "--memory-seconds=1"],
    "idle": ["idle", FEW, "--members=12", ONCE],
    "departure": ["departure", FEW, "--repeats=1"],
}
BATCHED = {
    "fanout": ["fanout", "--batch=8", FEW, ONCE, "--messages=64"],
    "publish": ["publish", ONCE, "--messages=20", "--batches=3", "--batch=8"],
    "burst": ["burst", ONCE, "--burst=8", "--bursts=3"],
}


FILES = ["files", ONCE, "--megabytes=5"]


def run(arguments: list[str], tmp_path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments, f"--peers-dir={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", RUNS)
def test_it_compares_with_the_ceiling(name: str, tmp_path: Path) -> None:
    table = run([*RUNS[name], "--only=sluiceway", "--only=ceiling"], tmp_path)
    assert "| Sluiceway" in table
    assert "| C, epoll" in table
    assert "missing" not in table


@pytest.mark.parametrize("name", BATCHED)
def test_it_publishes_batches(name: str, tmp_path: Path) -> None:
    table = run([*BATCHED[name], "--only=sluiceway", "--only=ceiling", "--only=naive"], tmp_path)
    assert "| Sluiceway | " in table
    assert "| C, epoll" in table
    assert "| Quart-Trio" in table
    assert "missing" not in table


def test_it_ends_generations_in_each_way(tmp_path: Path) -> None:
    table = run(["cancel", "--generations=5", "--samples=2", "--rate=20"], tmp_path)
    for provider in ("`openai`", "a function"):
        assert table.count(f"| {provider}") == 3


def test_members_of_many_rooms_come_and_go(tmp_path: Path) -> None:
    rooms = ["churn", "--members=12", "--rooms=4", "--churn=5", "--rate=20", "--seconds=1", ONCE]
    table = run([*rooms, "--only=sluiceway"], tmp_path)
    for presence in ("full", "count", "off"):
        [row] = [
            line for line in table.splitlines() if line.startswith(f"| Sluiceway, presence {presence} |")
        ]
        assert row.split(" | ")[4] == "the same"


def test_a_missing_peer_does_not_fail_the_others(tmp_path: Path) -> None:
    table = run([*RUNS["fanout"], "--only=ceiling", "--only=aiohttp"], tmp_path)
    assert "| aiohttp (missing) | – |" in table
    assert "Missing: aiohttp: aiohttp and uvloop not installed" in table


def test_rows_are_compared_with_a_script(tmp_path: Path) -> None:
    table = run(["rows", "--rows=3000", ONCE], tmp_path)
    assert "| Sluiceway | " in table
    assert "| apsw in a script | " in table


def test_it_moves_files(tmp_path: Path) -> None:
    table = run([*FILES, "--only=sluiceway"], tmp_path)
    assert "| Sluiceway | " in table
    assert "missing" not in table
