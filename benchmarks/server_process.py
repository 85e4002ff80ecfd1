"""A server under test: started on a free port, awaited until it accepts, and watched through /proc.

Every candidate announces itself by one line on stdout, ``<name>: listening on http://127.0.0.1:<port>``.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.candidates import Candidate
from benchmarks.child import ChildError, open_child
from benchmarks.processors import SERVER_CPU

_READY_LINE = re.compile(rb"^[\w-]+: listening on http://([\d.]+):(\d+)$")
_SECONDS_TO_START = 20.0
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ServerProcess:
    """Where the server listens, and what it has used so far."""

    pid: int
    host: str
    port: int

    def cpu_seconds(self) -> float:
        """User and system time of all its threads, to the hundredth of a second."""
        # The command's name, in brackets, may hold blanks; what follows it does not.
        fields = self._read("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND

    def memory_kib(self) -> int:
        """Its own pages and its share of those it shares (PSS); the kernel's socket buffers are not in it."""
        match = re.search(r"^Pss:\s+(\d+) kB$", self._read("smaps_rollup"), re.MULTILINE)
        assert match is not None
        return int(match[1])

    def descriptors(self) -> int:
        """How many files and sockets it holds open, by the kernel's account."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def _read(self, name: str) -> str:
        return Path(f"/proc/{self.pid}/{name}").read_text()


@contextmanager
def open_server(candidate: Candidate) -> Iterator[ServerProcess]:
    """Run the candidate for the length of the block.

    Raises ChildError, with the end of what it wrote to stderr, when it does not come up or something in the
    block fails: then its own words are usually the explanation.
    """
    with tempfile.TemporaryFile() as stderr:
        try:
            with open_child(candidate.command(), cpu=SERVER_CPU, name=candidate.name, stderr=stderr) as child:
                line = child.read_line(_SECONDS_TO_START)
                match = _READY_LINE.match(line)
                if match is None:
                    raise ChildError(f"{candidate.name} is not ready, but says: {line.decode()}")
                yield ServerProcess(child.pid, match[1].decode(), int(match[2]))
        except ChildError as failure:
            stderr.seek(0)
            last_words = stderr.read()[-2000:].decode(errors="replace")
            raise ChildError(f"{failure}\n{last_words}".rstrip()) from failure
