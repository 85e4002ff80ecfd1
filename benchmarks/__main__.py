"""The command line: ``python -m benchmarks NAME`` runs one benchmark and prints its table."""

import argparse
from typing import Protocol

from benchmarks import departure, fanout, idle
from benchmarks.machine import describe_machine
from benchmarks.processors import stay_off_the_servers_processor


class Benchmark(Protocol):
    """A module that is a benchmark; its docstring's first line is its help."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, options: argparse.Namespace) -> str: ...


BENCHMARKS: dict[str, Benchmark] = {"fanout": fanout, "idle": idle, "departure": departure}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare Sluiceway with peers.")
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, benchmark in BENCHMARKS.items():
        about = (benchmark.__doc__ or "").partition("\n")[0]
        benchmark.add_arguments(names.add_parser(name, help=about))
    options = parser.parse_args()
    stay_off_the_servers_processor()
    print(f"{BENCHMARKS[options.name].run(options)}\n\n{describe_machine()}")


if __name__ == "__main__":
    main()
