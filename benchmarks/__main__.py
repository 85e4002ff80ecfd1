"""The command line: ``python -m benchmarks NAME`` runs one benchmark and prints its table."""

import argparse
import sys
from typing import Protocol

from benchmarks import burst, cancel, churn, departure, fanout, files, idle, publish, rooms, rows, slow
from benchmarks.machine import describe_machine
from benchmarks.options import add_peers_folder, peers_of
from benchmarks.processors import stay_off_the_servers_processor


class Benchmark(Protocol):
    """A module that is a benchmark; its docstring's first line is its help."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, options: argparse.Namespace) -> str: ...


BENCHMARKS: dict[str, Benchmark] = {
    "fanout": fanout,
    "rooms": rooms,
    "churn": churn,
    "slow": slow,
    "idle": idle,
    "publish": publish,
    "burst": burst,
    "departure": departure,
    "files": files,
    "rows": rows,
    "cancel": cancel,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare Sluiceway with peers.")
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, benchmark in BENCHMARKS.items():
        about = (benchmark.__doc__ or "").partition("\n")[0]
        benchmark.add_arguments(names.add_parser(name, help=about, description=about))
    installing = "Install the peers that are no part of the project, into a folder of their own."
    add_peers_folder(names.add_parser("peers", help=installing, description=installing))
    options = parser.parse_args()
    peers = peers_of(options)
    if options.name == "peers":
        failures = peers.install()
        print(f"{peers.folder}: {peers.versions()}.")
        if failures:
            sys.exit("\n".join(["could not be installed:", *failures]))
        return
    stay_off_the_servers_processor()
    print(f"{BENCHMARKS[options.name].run(options)}\n\n{describe_machine()} Peers: {peers.versions()}.")


if __name__ == "__main__":
    main()
