"""The command line: `python -m server`, installed as `sluiceway`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .settings import CommandLine

if TYPE_CHECKING:
    from quart import Blueprint

    from .generations import Provider, Stream
    from .hub import Feed


def main(
    arguments: Sequence[str] | None = None,
    *,
    blueprints: Sequence[Blueprint] = (),
    feeds: Sequence[Feed] = (),
    providers: Mapping[str, Provider | Stream] | None = None,
) -> int:
    """Run the server as the command line, the environment and a file say, with `blueprints`, `feeds` and
    `providers` added to it.  Returns the exit code.
    """
    command = CommandLine.load_or_exit(sys.argv[1:] if arguments is None else arguments, os.environ)
    if command.check:
        print(command.describe())
        return 0
    # Imported late: `--help` and `--check` need none of it.
    import trio  # noqa: PLC0415

    from .application import Extension, innermost, serve  # noqa: PLC0415
    from .generations import ProviderMissingError  # noqa: PLC0415
    from .observability import configure  # noqa: PLC0415

    configure(command.settings.log_format)
    code = 0
    try:
        trio.run(serve, command.settings, _announce, Extension(blueprints, feeds, providers or {}))
    except* ProviderMissingError as errors:
        print(f"sluiceway: error: {innermost(errors)}", file=sys.stderr)
        code = 2
    except* OSError as errors:
        print(f"sluiceway: error: {innermost(errors)}", file=sys.stderr)
        code = 1
    return code


def _announce(urls: list[str]) -> None:
    print("sluiceway: listening on", *urls, flush=True)


if __name__ == "__main__":
    sys.exit(main())
