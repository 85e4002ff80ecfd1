"""What the kernel says a process uses, read from /proc."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

_PROCESS_CLOCK = 2  # CPUCLOCK_SCHED, the same that clock_getcpuclockid(3) makes

_SECONDS_BETWEEN_LOOKS = 0.02


def cpu_seconds(pid: int) -> float:
    """User and system time of all its threads so far, to the nanosecond, where /proc counts hundredths of a
    second.
    """
    try:
        return time.clock_gettime(~pid << 3 | _PROCESS_CLOCK)
    except OSError as failure:
        raise ProcessLookupError(f"process {pid} has no time: it ended") from failure


def waited_seconds(pid: int) -> float:
    """How long its first thread has wanted to run and had no processor: what other programs cost it."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def memory_kib(pid: int) -> int:
    """Its own pages and its share of those it shares (PSS); the kernel's socket buffers are not in it."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    match = re.search(r"^Pss:\s+(\d+) kB$", rollup, re.MULTILINE)
    if match is None:
        raise ProcessLookupError(f"process {pid} has no memory: it ended")
    return int(match[1])


@contextmanager
def watched_memory(pid: int) -> Iterator[Callable[[], float]]:
    """Look again and again; gives the most that the process has grown by, in KiB."""
    before = most = memory_kib(pid)
    over = Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(_SECONDS_BETWEEN_LOOKS):
            most = max(most, memory_kib(pid))

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield lambda: most - before
    finally:
        over.set()
        watcher.join()


def open_descriptors(pid: int) -> int:
    """How many files and sockets it holds open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
