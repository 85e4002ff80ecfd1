"""Compiles the C programs on the spot.

The executable lies in a private temporary folder under a name that holds the hash of what it was made
from, so a changed source is compiled again and an unchanged one is not.
"""

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
COMPILE = ("cc", "-O2", "-Wall", "-Wextra")


def compiled(name: str) -> Path:
    """The executable made from ``benchmarks/<name>.c``.

    Raises ``subprocess.CalledProcessError`` when the compiler refuses, ``FileNotFoundError`` when there
    is none.
    """
    source = HERE / f"{name}.c"
    made_from = [*COMPILE, source.read_text(), *(header.read_text() for header in sorted(HERE.glob("*.h")))]
    digest = hashlib.sha256("\0".join(made_from).encode()).hexdigest()[:16]
    executable = _cache() / f"{source.stem}-{digest}"
    if not executable.exists():
        # Under a name of its own first: two runs at once must not execute each other's half-written file.
        unfinished = executable.with_suffix(f".{os.getpid()}")
        subprocess.run([*COMPILE, "-o", unfinished, source], check=True)
        unfinished.replace(executable)
    return executable


def _cache() -> Path:
    folder = Path(tempfile.gettempdir()) / f"sluiceway-benchmarks-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    return folder
