"""The peers that have to be installed, in a folder of their own: a virtual environment and Node's packages.

The project's own environment is left alone, and so is the system's.  Versions are fixed, so that two runs
compare with the same.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PYTHON_PACKAGES = {
    "aiohttp": "3.14.5",
    "starlette": "1.10.0",
    "uvicorn[standard]": "0.54.0",
    "uvloop": "0.23.0",
    "websockets": "17.4",
    "picows": "2.3.1",
}
NODE_PACKAGES = {"ws": "8.23.0"}


class PeerMissingError(Exception):
    """A peer, or a program that it needs, is not there; says which."""


@dataclass(frozen=True)
class Peers:
    """Where they are, or would be."""

    folder: Path

    @property
    def _python(self) -> Path:
        return self.folder / "python" / "bin" / "python"

    @property
    def _modules(self) -> Path:
        return self.folder / "node_modules"

    def python(self, module: str, *packages: str) -> list[str | Path]:
        """The command that runs one of our modules; raises PeerMissingError without those packages."""
        found = {path.name.partition("-")[0] for path in self._python_packages()}
        _need(package for package in packages if package not in found)
        return [self._python, "-m", module]

    def node(self, script: Path, *packages: str) -> list[str | Path]:
        """The command that runs one of our scripts; raises PeerMissingError without those packages."""
        node = shutil.which("node")
        if node is None:
            raise PeerMissingError("there is no node here")
        _need(package for package in packages if not (self._modules / package).exists())
        # Node does not look for a script's packages elsewhere than beside it, unless it is told here.
        return ["env", f"NODE_PATH={self._modules}", node, script]

    def install(self) -> list[str]:
        """Install what can be installed; answers what could not, and why."""
        failures = []
        self.folder.mkdir(parents=True, exist_ok=True)
        steps: list[tuple[str, list[str | Path]]] = [
            ("a virtual environment", [sys.executable, "-m", "venv", self.folder / "python"])
        ]
        for package, version in PYTHON_PACKAGES.items():
            pip: list[str | Path] = [self._python, "-m", "pip", "install", "--quiet"]
            steps.append((package, [*pip, f"{package}=={version}"]))
        for package, version in NODE_PACKAGES.items():
            npm: list[str | Path] = ["npm", "install", "--no-audit", "--no-fund", "--prefix", self.folder]
            steps.append((package, [*npm, f"{package}@{version}"]))
        for name, command in steps:
            print(f"installing {name}", file=sys.stderr)
            try:
                subprocess.run(command, check=True, stdout=sys.stderr)
            except (OSError, subprocess.CalledProcessError) as failure:
                failures.append(f"{name}: {failure}")
        return failures

    def versions(self) -> str:
        """What is installed of them, in a sentence."""
        python = [path.name.removesuffix(".dist-info").split("-") for path in self._python_packages()]
        names = {name.partition("[")[0] for name in PYTHON_PACKAGES}
        listed = [f"{name} {version}" for name, version in sorted(python) if name in names]
        for name in NODE_PACKAGES:
            package = self._modules / name / "package.json"
            if package.exists():
                listed.append(f"{name} {json.loads(package.read_text())['version']}")
        return ", ".join([*listed, f"Node {_node_version()}"])

    def _python_packages(self) -> Iterable[Path]:
        return self.folder.glob("python/lib/python3*/site-packages/*.dist-info")


def default_folder() -> Path:
    """In the user's cache (XDG Base Directory Specification)."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "sluiceway" / "benchmarks"


def _need(missing: Iterable[str]) -> None:
    names = list(missing)
    if names:
        listed = " and ".join(names)
        raise PeerMissingError(f"{listed} not installed: `python -m benchmarks peers` does that")


def _node_version() -> str:
    try:
        done = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "not installed"
    return done.stdout.strip().removeprefix("v")
