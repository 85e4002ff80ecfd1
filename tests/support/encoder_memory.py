"""What the encoders of streams cost: memory of one, time of one event, and how much smaller events get.

`python -m tests.support.encoder_memory` prints the table of docs/how-to/compression.md, measuring each coding
in a process of its own; `measure_state_bytes` is what the tests hold against `Coding.state_bytes`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from server.wire.content_coding import Coding, offered_codings

STATES = 1000


def measure_state_bytes(coding: str, states: int = STATES) -> int:
    """Bytes of memory that one encoder of `coding` keeps, seen by a process that holds so many of them."""
    command = [sys.executable, "-m", "tests.support.encoder_memory", coding, str(states)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)


def _print_state_bytes(coding: Coding, states: int) -> None:
    # Text fills the window and the hash tables, what cannot be compressed the buffers of the output.
    text = b"".join(orders(4000, 200))
    incompressible = os.urandom(64 * 1024)
    before = _private_bytes()
    encoders = [coding.encoder() for _ in range(states)]
    for encoder in encoders:
        for start in range(0, len(text), 64 * 1024):
            encoder.encode(text[start : start + 64 * 1024])
        encoder.encode(incompressible)
    print((_private_bytes() - before) // states)


def _private_bytes() -> int:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) * 1024
    raise OSError("this kernel does not say how much memory is private")


def orders(count: int, size: int) -> list[bytes]:
    """Events of about `size` bytes, as a shop would publish them: alike, and never the same."""
    source = random.Random(0)
    words = ["placed", "paid", "packed", "shipped", "delivered", "returned", "refunded", "cancelled"]

    def item() -> dict[str, object]:
        name = f"{source.choice(words)}-{source.randrange(1000)}"
        return {"sku": name, "quantity": source.randrange(9), "price": source.randrange(1000)}

    def order(number: int) -> bytes:
        data: dict[str, object] = {
            "order": number,
            "customer": f"c{source.randrange(10**6)}",
            "status": source.choice(words),
            "total": round(source.random() * 1000, 2),
            "items": (items := [item()]),
        }
        while len(json.dumps(data)) < size - 60:
            items.append(item())
        text = json.dumps(data, separators=(",", ":"))
        return f"id: 4f1c2a9be0:{number}\nevent: order\ndata: {text}\n\n".encode()

    return [order(number) for number in range(count)]


def _of_the_size(coding: Coding, events: Sequence[bytes]) -> tuple[float, float]:
    """The encoded size as a part of the size, and microseconds an event; each event flushed."""
    encoder = coding.encoder()
    started = time.perf_counter()
    encoded = sum(len(encoder.encode(event)) for event in events)
    seconds = time.perf_counter() - started
    return encoded / sum(map(len, events)), seconds / len(events) * 1e6


def _print_table() -> None:
    print("| coding | memory | 200-byte events | 1 KB events | 64 events of 200 bytes in one write |")
    print("| --- | --- | --- | --- | --- |")
    small, large = orders(6400, 200), orders(2000, 1000)
    burst = [b"".join(small[start : start + 64]) for start in range(0, len(small), 64)]
    for coding in offered_codings():
        memory = f"{measure_state_bytes(coding.name) / 1024:.0f} KiB"
        figures = [_of_the_size(coding, events) for events in (small, large, burst)]
        shown = [f"{part:.0%}, {microseconds:.0f} µs" for part, microseconds in figures]
        print(f"| {' | '.join([coding.name, memory, *shown])} |")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        named = {coding.name: coding for coding in offered_codings()}
        _print_state_bytes(named[sys.argv[1]], int(sys.argv[2]))
    else:
        _print_table()
