"""Pages whose `python` blocks are one program, which serves: it ends with `server.run`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.process import READY, ROOT


def is_program(text: str) -> bool:
    """Whether the blocks of a page with `text` are one program."""
    return "server.run(" in program_of(text)


def program_of(text: str) -> str:
    """The blocks of the page, in their order."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))


@contextmanager
def running(program: str, folder: Path, env: Mapping[str, str]) -> Iterator[str]:
    """The address at which `program` serves, with `folder` as its own."""
    path = folder / "mine.py"
    path.write_text(program)
    command: list[str | Path] = [sys.executable, path, "--bind", "127.0.0.1:0", "--drain-seconds", "1"]
    with (
        (folder / "stderr").open("w") as stderr,
        subprocess.Popen(
            command,
            cwd=folder,
            env={**env, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(READY), (folder / "stderr").read_text()
            yield line.removeprefix(f"{READY}http://").strip()
        finally:
            process.terminate()
            process.wait(10)
