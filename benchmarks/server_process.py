"""A server under test: started on a free port, awaited until it accepts, and stopped at the end.

Every candidate announces itself by one line on stdout, ``<name>: listening on http://127.0.0.1:<port>``.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.candidates import Candidate
from benchmarks.child import ChildError, open_child
from benchmarks.installed import Peers
from benchmarks.processors import SERVER_CPU

_READY_LINE = re.compile(rb"^[\w-]+: listening on http://([\d.]+):(\d+)$")
_SECONDS_TO_START = 20.0


@dataclass(frozen=True)
class ServerProcess:
    """Where the server listens, and the process to ask the kernel about."""

    pid: int
    host: str
    port: int


@contextmanager
def open_server(candidate: Candidate, peers: Peers) -> Iterator[ServerProcess]:
    """Run the candidate for the length of the block.

    Raises PeerMissingError where it is not installed.  Raises ChildError, with the end of what it wrote to
    stderr, when it does not come up or something in the block fails: then its own words are usually the
    explanation.
    """
    with tempfile.TemporaryFile() as stderr:
        try:
            command = candidate.command(peers)
            with open_child(command, cpu=SERVER_CPU, name=candidate.name, stderr=stderr) as child:
                line = child.read_line(_SECONDS_TO_START)
                match = _READY_LINE.match(line)
                if match is None:
                    raise ChildError(f"{candidate.name} is not ready, but says: {line.decode()}")
                yield ServerProcess(child.pid, match[1].decode(), int(match[2]))
        except ChildError as failure:
            stderr.seek(0)
            last_words = stderr.read()[-2000:].decode(errors="replace")
            raise ChildError(f"{failure}\n{last_words}".rstrip()) from failure
