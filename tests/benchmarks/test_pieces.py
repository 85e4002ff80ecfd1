"""The small pieces of the benchmarks: what a table says, what is missing, what counts."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import pytest

from benchmarks.candidates import CANDIDATES, CEILING, NAIVE, SLUICEWAY, Serves
from benchmarks.installed import PeerMissingError, Peers, default_folder
from benchmarks.options import add_candidates, add_number, chosen
from benchmarks.peers.shared import published
from benchmarks.rounds import Measured
from benchmarks.usage import cpu_seconds, memory_kib


def test_the_table_names_those_that_are_missing() -> None:
    measured = Measured({SLUICEWAY: [1.0], NAIVE: [2.0]})
    measured.leave_out(NAIVE, "it does not start\nTraceback")
    assert measured.table(["", "figure"], lambda candidate: ["1"]) == (
        "|  | figure |\n| --- | ---: |\n| Sluiceway | 1 |\n"
        "| Quart-Trio on Hypercorn, as their docs write it (missing) | – |\n\n"
        "Missing: Quart-Trio on Hypercorn, as their docs write it: it does not start"
    )


def test_ratios_are_made_within_a_round() -> None:
    measured = Measured({SLUICEWAY: [50.0, 10.0, 30.0], CEILING: [100.0, 10.0, 60.0]})
    assert measured.to_ceiling(SLUICEWAY, lambda figure: figure) == 0.5
    assert measured.typical(SLUICEWAY, lambda figure: figure) == 30.0


def test_without_the_ceiling_there_is_no_ratio() -> None:
    measured = Measured({SLUICEWAY: [50.0]})
    assert measured.to_ceiling(SLUICEWAY, lambda figure: figure) is None


@pytest.mark.parametrize("name", ["aiohttp", "starlette", "picows", "websockets", "ws"])
def test_a_peer_that_is_not_installed_says_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(PeerMissingError):
        CANDIDATES[name].command(Peers(tmp_path))


def test_peers_are_kept_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "sluiceway" / "benchmarks"


def test_only_candidates_that_serve_what_is_measured_can_be_chosen() -> None:
    parser = argparse.ArgumentParser()
    add_candidates(parser, Serves.MEMBERS)
    assert "aiohttp" not in parser.parse_args([]).candidates
    assert chosen(parser.parse_args(["--only", "sluiceway"])) == [SLUICEWAY]
    with pytest.raises(SystemExit):
        parser.parse_args(["--only", "aiohttp"])


def test_a_number_is_at_least_one() -> None:
    parser = argparse.ArgumentParser()
    add_number(parser, "--rounds", 3, "rounds")
    assert parser.parse_args([]).rounds == 3
    with pytest.raises(SystemExit):
        parser.parse_args(["--rounds", "0"])


def test_a_peer_reads_json_and_ndjson_alike() -> None:
    assert published(b'{"data": "a"}') == ['"a"']
    assert published(b'{"data": "a"}\n{"data": [1]}\n') == ['"a"', "[1]"]


def test_the_processor_time_of_a_process_is_the_kernels() -> None:
    before = time.process_time()
    seen = cpu_seconds(os.getpid())
    assert before <= seen <= time.process_time()


def test_a_process_that_has_ended_has_no_figures() -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    with pytest.raises(ProcessLookupError):
        cpu_seconds(child)


def test_memory_is_read() -> None:
    assert memory_kib(os.getpid()) > 1000
