"""When Python's collector of cycles runs.

A full collection stops everything while it looks at every object there is: some 90 µs for each member of a
room, so 0.9 s with ten thousand of them, and as often as a quarter of all objects is new.  Nothing here waits
for it: what a stream holds goes with its last reference (tests/lifecycle/test_garbage.py).  So the young are
collected as ever, and all of them only now and then, for the cycles of libraries and of other people's code.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import trio

YOUNG = 5000
"""Objects more than before that bring about a collection of those; ten of these bring about the next one."""
SECONDS = 600.0
"""Between full collections."""
_NEVER = 1_000_000


@contextmanager
def rare_full_collections() -> Iterator[None]:
    """No full collection but `run_full_collections`'s, and none of what is there already.

    For a process of our own: it is the interpreter's one collector that is set, and set back at the end.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 10, _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def run_full_collections() -> None:
    """Collect all that is unreachable every `SECONDS`, until cancelled."""
    while True:
        await trio.sleep(SECONDS)
        gc.collect()
