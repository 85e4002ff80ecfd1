"""A child process that is pinned to a processor, spoken with in lines, and gone when its block ends.

Should this process itself be killed, the kernel takes the child with it.
"""

import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

HERE = Path(__file__).parent
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_SECONDS_TO_STOP = 5.0


class ChildError(Exception):
    """A child ended, or fell silent, where a line of it was expected."""


class Child:
    """Lines to and from one child process."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.pid = process.pid
        self.name = name
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._received = b""

    def tell(self, line: str) -> None:
        try:
            self._stdin.write(line.encode() + b"\n")
            self._stdin.flush()
        except BrokenPipeError as failure:
            raise ChildError(f"{self.name} ended") from failure

    def read_line(self, seconds: float) -> bytes:
        """The next line of its stdout; raises ChildError if none comes within that time."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._received:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._stdout], [], [], left)[0]:
                raise ChildError(f"{self.name} said nothing for {seconds:g} s")
            more = os.read(self._stdout.fileno(), 65536)
            if not more:
                raise ChildError(f"{self.name} ended")
            self._received += more
        line, self._received = self._received.split(b"\n", 1)
        return line


@contextmanager
def open_child(
    command: Sequence[str | Path], *, cpu: int, name: str, stderr: IO[bytes] | None = None
) -> Iterator[Child]:
    """Run ``command`` on processor ``cpu``; SIGTERM at the block's end, SIGKILL if that does not suffice."""

    def prepare() -> None:
        os.sched_setaffinity(0, {cpu})
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    environment = {key: value for key, value in os.environ.items() if not key.startswith("SLUICEWAY_")}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd=HERE.parent,
        env=environment,
        preexec_fn=prepare,  # this process has one thread, so this is safe here
    ) as process:
        try:
            yield Child(process, name)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
