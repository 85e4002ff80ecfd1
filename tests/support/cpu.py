"""What the processor does for a process: how much, and whether at all (proc(5))."""

from __future__ import annotations

import time
from pathlib import Path


class CpuMeter:
    """Of the process `pid`, all threads together."""

    def __init__(self, pid: int) -> None:
        self._tasks = Path(f"/proc/{pid}/task")

    def seconds(self) -> float:
        """Time that the processor has spent for the threads it has now."""
        return sum(int(self._read(task, "schedstat").split()[0] or 0) for task in self._tasks.iterdir()) / 1e9

    def wait_idle(self, seconds: float = 60.0) -> float:
        """Wait until no thread runs, or wants to, and none has for a moment; the `seconds()` of then.

        Threads that want to run and get no processor are not idle, so that a busy machine changes nothing.

        Raises:
            TimeoutError: that did not come.
        """
        deadline = time.monotonic() + seconds
        spent = self.seconds()
        while time.monotonic() < deadline:
            time.sleep(0.05)
            before, spent = spent, self.seconds()
            if spent - before < 0.001 and not any(self._runs(task) for task in self._tasks.iterdir()):
                return spent
        raise TimeoutError(f"still busy after {seconds:g} s")

    def _runs(self, task: Path) -> bool:
        # The name of the program may hold spaces and brackets.
        return self._read(task, "stat").rpartition(")")[2].split()[:1] in (["R"], ["D"])

    def _read(self, task: Path, name: str) -> str:
        try:
            return (task / name).read_text()
        except (FileNotFoundError, ProcessLookupError):
            return "0"  # it has ended meanwhile
