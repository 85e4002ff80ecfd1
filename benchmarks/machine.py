"""One line on what the figures were measured on: what matters for them, nothing that names the machine."""

import os
import platform
import re
from pathlib import Path


def describe_machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = re.match(r"[\d.]*\d", platform.release())
    system = f"{platform.system()} {kernel[0] if kernel else '?'}"
    return (
        f"{os.cpu_count()} cores of {_processor()}, {memory:.0f} GiB, {system}, "
        f"Python {platform.python_version()}."
    )


def _processor() -> str:
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return model[1] if model else platform.machine()
