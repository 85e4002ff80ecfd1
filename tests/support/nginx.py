"""A real nginx in front of a server, configured by the very text that docs/how-to/nginx.md shows.

It runs in the foreground as whoever runs the tests, with files of its own in a given directory, and ends with
its `with` block.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "nginx.md"
START_SECONDS = 20.0
STOP_SECONDS = 10.0

# gzip as greedy as it can be set: the site has to keep it away from streams by itself.
_MAIN = """\
daemon off;
{user}
pid nginx.pid;
error_log error.log;
{main}
http {{
    access_log off;
    gzip on;
    gzip_types *;
    gzip_proxied any;
    gzip_min_length 0;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include site.conf;
}}
"""


def blocks() -> list[str]:
    """The page's blocks of nginx configuration: the site, CORS, TLS, the main file's lines."""
    return re.findall(r"^```nginx\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def replaced(text: str, old: str, new: str) -> str:
    """`text` with `old`, which must be there once, replaced."""
    assert text.count(old) == 1, f"{old!r} is not in the page once"
    return text.replace(old, new)


class Nginx:
    """nginx in front of the server at `upstream` (a port on loopback), at a free port of its own.

    `site` is the configuration, with the page's ports; the page's own where it is not given; `main` holds
    lines for the main file. `__enter__` returns once it accepts. Skips the test where nginx is not installed.
    """

    def __init__(
        self,
        directory: Path,
        upstream: int,
        site: str | None = None,
        *,
        main: str = "events { }",
        scheme: str = "http",
    ) -> None:
        self._program = _find_program()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        text = replaced(blocks()[0] if site is None else site, "127.0.0.1:8000", f"127.0.0.1:{upstream}")
        text, count = re.subn(r"listen (80|443)\b", f"listen 127.0.0.1:{self.port}", text)
        assert count == 1, "the site does not listen once"
        (directory / "site.conf").write_text(text)
        # Workers of a master that root runs are nobody's, and could not reach into a test's directory.
        user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
        (directory / "nginx.conf").write_text(_MAIN.format(user=user, main=main))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, at the port it had before."""
        log = self._directory / "error.log"
        command = [self._program, "-p", str(self._directory), "-c", "nginx.conf", "-e", str(log)]
        null = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, stdin=null, stdout=null, stderr=null, start_new_session=True
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"nginx does not listen:\n{log.read_text()}")
            time.sleep(0.02)

    def reload(self) -> None:
        """Have new workers take over; the old ones stay for the connections that they have."""
        assert self._process is not None, "nginx is not running"
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End it at once, and cut every connection."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # The master and its workers, which would outlive it.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise

    def _accepts(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False


def _find_program() -> str:
    # Debian's sbin is in the path of root alone.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    program = shutil.which("nginx", path=path)
    if program is None:
        pytest.skip("nginx is not installed")
    return program


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
