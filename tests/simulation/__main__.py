"""Long runs: `python -m tests.simulation --seeds 10000 --start 0`.

At a failure the seed and its script are printed, with `--shrink` after leaving out what the failure does not
need, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import re
import sys
import time

from .play import play, simulate
from .script import Script, write_script
from .truth import SimulationError


def main() -> int:
    """Run, and answer the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--start", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--without", default="", help="numbers of pieces to leave out, with commas")
    parser.add_argument("--shrink", action="store_true", help="leave out what a failure does not need")
    parser.add_argument("--keep-going", action="store_true", help="go on after a failure")
    options = parser.parse_args()
    without = {int(number) for number in options.without.split(",") if number}
    failed, began = 0, time.monotonic()
    for seed in range(options.start, options.start + options.seeds):
        try:
            simulate(seed, lambda script: script.without(without))
        except SimulationError as failure:
            failed += 1
            if options.shrink:
                failure = _shrunk(write_script(seed).without(without), failure)
            print(failure, end="\n\n", flush=True)
            if not options.keep_going:
                break
    seconds = time.monotonic() - began
    print(f"{failed} failed; {seconds:.1f} s, {seconds / max(1, options.seeds) * 1000:.0f} ms a seed")
    return 1 if failed else 0


def _shrunk(script: Script, failure: SimulationError) -> SimulationError:
    """The failure of the smallest part of `script` that is found to fail: half of the pieces, then fewer, are
    left out as long as what remains fails.
    """
    whole, kind = set(script.pieces), _kind(failure)
    size = max(1, len(script.pieces) // 2)
    while size:
        numbers = list(script.pieces)
        for start in range(0, len(numbers), size):
            smaller = script.without(numbers[start : start + size])
            try:
                play(smaller)
            except SimulationError as again:
                # Another failure than the one looked for may hide behind it.
                if _kind(again) == kind:
                    script, failure = smaller, again
        size //= 2
    without = ",".join(map(str, sorted(whole - set(script.pieces))))
    return SimulationError(f"{failure}\nshrunk with --without {without}\n{script.describe()}")


def _kind(failure: SimulationError) -> list[str]:
    """What went wrong, without where."""
    return re.split(r"[:;\d]", str(failure))[0].split()[:2]


if __name__ == "__main__":
    sys.exit(main())
