"""The whole system, simulated: nothing lost, doubled or out of order but behind a gap that says so, and
nothing left.
"""

from __future__ import annotations

import pytest

from .play import simulate

CHUNK = 20
"""Seeds to a test."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`--seed` is played alone; else the first `--seeds` are, some to each test."""
    seed = metafunc.config.getoption("--seed")
    count = metafunc.config.getoption("--seeds")
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    if seed is not None:
        chunks = [range(seed, seed + 1)]
    ids = [f"{chunk.start}-{chunk.stop - 1}" for chunk in chunks]
    metafunc.parametrize("seeds", chunks, ids=ids)


def test_every_client_gets_everything_or_is_told(seeds: range) -> None:
    for seed in seeds:
        simulate(seed)
