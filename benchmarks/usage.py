"""What the kernel says a process uses, read from /proc."""

import os
import re
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of all its threads so far, to the hundredth of a second."""
    # The command's name, in brackets, may hold blanks; what follows it does not.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def memory_kib(pid: int) -> int:
    """Its own pages and its share of those it shares (PSS); the kernel's socket buffers are not in it."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    match = re.search(r"^Pss:\s+(\d+) kB$", rollup, re.MULTILINE)
    if match is None:
        raise ProcessLookupError(f"process {pid} has no memory: it ended")
    return int(match[1])


def open_descriptors(pid: int) -> int:
    """How many files and sockets it holds open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
