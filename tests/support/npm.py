"""Packages of npm, installed for one run of the tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

YJS = ("yjs@13", "y-websocket@3", "ws@8")
"""What a Yjs editor is made of."""


def npm_install(prefix: Path, *packages: str) -> Path:
    """The folder of modules with `packages` in it; skips the test where that cannot be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not both installed")
    command = ["npm", "install", *packages, "--prefix", str(prefix), "--no-audit", "--no-fund", "--silent"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        pytest.skip(f"npm could not install {' '.join(packages)}: {done.stderr.strip()}")
    return prefix / "node_modules"
