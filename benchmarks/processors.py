"""Who runs on which processor: the server alone on one, everything that loads or watches it on another."""

import os

_AVAILABLE = sorted(os.sched_getaffinity(0))

SERVER_CPU = _AVAILABLE[0]
LOAD_CPU = _AVAILABLE[-1]


def stay_off_the_servers_processor() -> None:
    """Pin this process, and with it what it starts, to the processor of the load."""
    os.sched_setaffinity(0, {LOAD_CPU})
