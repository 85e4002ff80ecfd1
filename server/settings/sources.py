"""Where settings come from: flags, environment variables and a TOML file, read into one form.

The one idea: every source answers with a mapping from a setting's name to what was `Given` there, checked and
with the name a person would look for (`--heartbeat`, `SLUICEWAY_HEARTBEAT`, `app.toml: heartbeat`), so that
precedence is a union of mappings and any complaint can point at its cause. Which settings there are, and what
they mean together, is left to `model`.
"""

import argparse
import difflib
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeVar

from server.settings.kinds import Kind, UnfitError, brief

PREFIX = "SLUICEWAY_"

T = TypeVar("T")


class SettingsError(ValueError):
    """A setting is wrong. The message names the flag, variable or key, the value, and what is wanted."""


@dataclass(frozen=True, slots=True)
class Option:
    """What a field of `Settings` is, beside its name and type.

    `repeatable` makes it a tuple of `kind`, in the environment parted by `separator`; `optional` lets it be
    None; `fixed` leaves it to Python alone, `stock` to Python and to the environment of a stock ASGI
    server's process, `secret` to Python and to the environment; what is secret is never shown.
    """

    kind: Kind
    help: str
    default: object
    repeatable: bool = False
    optional: bool = False
    fixed: bool = False
    stock: bool = False
    secret: bool = False
    separator: str = ","

    def show(self, value: object) -> str:
        """`value` as it could be given in the environment; `none` where there is none."""
        return self.separator.join(self._show_each(value)) or "none"

    def show_lines(self, value: object) -> list[str]:
        """`show`, but values that are long enough for a separator of their own have a line of their own."""
        return [self.show(value)] if self.separator == "," else self._show_each(value) or ["none"]

    def _show_each(self, value: object) -> list[str]:
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        if self.secret:
            return ["given, and not shown"] if values else []
        return [self.kind.show(each) for each in values]


@dataclass(frozen=True, slots=True)
class Given:
    """A checked value, `where` it was given (`flag`, `environment`, `file`) and the `name` it has there."""

    value: object
    where: str
    name: str


def setting(
    default: T,
    kind: Kind,
    help: str,  # the word argparse and every reader use
    *,
    repeatable: bool = False,
    optional: bool = False,
    fixed: bool = False,
    stock: bool = False,
    secret: bool = False,
    separator: str = ",",
) -> T:
    """A dataclass field with its `Option` in the metadata."""
    option = Option(kind, help, default, repeatable, optional, fixed, stock, secret, separator)
    return field(default=default, repr=not secret, metadata={"option": option})


def flag(name: str) -> str:
    """`write_deadline` → `--write-deadline`."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """`write_deadline` → `SLUICEWAY_WRITE_DEADLINE`."""
    return PREFIX + name.upper()


def check_value(option: Option, name: str, value: object) -> object:
    """The normal form of a value from TOML or Python; raises SettingsError in the name of `name`."""
    if option.optional and value is None:
        return None
    if not option.repeatable:
        return _accept(option, name, option.kind.check, value)
    if not isinstance(value, list | tuple):
        raise SettingsError(f"{name}: {brief(value)} is not an array, each of it {option.kind.wanted}")
    return tuple(_accept(option, name, option.kind.check, each) for each in value)


def read_flags(options: Mapping[str, Option], arguments: argparse.Namespace) -> dict[str, Given]:
    """What the flags say; raises SettingsError."""
    given = {name: texts for name, texts in vars(arguments).items() if name in options}
    return {
        name: Given(_parse_all(options[name], flag(name), texts), "flag", flag(name))
        for name, texts in given.items()
    }


def read_environment(options: Mapping[str, Option], environ: Mapping[str, str]) -> dict[str, Given]:
    """What the SLUICEWAY_… variables say; an empty one counts as unset. Unknown ones raise SettingsError."""
    names = {variable(name): name for name in options}
    _refuse_unknown("environment variable", (each for each in environ if each.startswith(PREFIX)), names)
    readings = {}
    for variable_name, name in names.items():
        text = environ.get(variable_name, "").strip()
        texts = text.split(options[name].separator) if options[name].repeatable else [text]
        texts = [each.strip() for each in texts if each.strip()]
        if texts:
            value = _parse_all(options[name], variable_name, texts)
            readings[name] = Given(value, "environment", variable_name)
    return readings


def read_file(options: Mapping[str, Option], path: str) -> dict[str, Given]:
    """What the TOML file at `path` says; raises SettingsError, also where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"--config: cannot read {path!r}: {error.strerror}") from error
    except ValueError as error:  # not TOML, not UTF-8, or a path with a NUL
        raise SettingsError(f"--config: {path!r} is not a TOML file: {error}") from error
    names = {key: key.replace("-", "_") for key in table}
    known = {name.replace("_", "-") for name in options} | options.keys()
    _refuse_unknown(f"key in {path}:", table, known)
    readings: dict[str, Given] = {}
    for key, name in names.items():
        if name in readings:
            raise SettingsError(f"{path}: {key} is given twice, with a hyphen and with an underscore")
        label = f"{path}: {key}"
        readings[name] = Given(check_value(options[name], label, table[key]), "file", label)
    return readings


def parse_arguments(
    options: Mapping[str, Option], description: str, argv: Sequence[str]
) -> argparse.Namespace:
    """Sort `argv` (without the program's name) by flag, values still text; raises SettingsError.

    `--help` prints itself and raises SystemExit(0). Flags that were not given are absent from the result.
    """
    parser = make_parser(options, description)
    arguments, rest = parser.parse_known_args(argv)
    known = {flag(name) for name in options} | {"--config", "--check", "--version", "--help"}
    # Names without their values: what is unknown may be a secret.
    _refuse_unknown("flag", (each.partition("=")[0] for each in rest if each.startswith("-")), known)
    if rest:
        raise SettingsError(f"unexpected argument {rest[0]!r}: everything is given by flags")
    return arguments


def make_parser(options: Mapping[str, Option], description: str) -> argparse.ArgumentParser:
    """The argument parser that `options` imply; its errors are SettingsError."""
    parser = _Parser(
        prog="sluiceway",
        usage="%(prog)s [--bind HOST:PORT] [--config FILE.toml] [--check] [--flag VALUE ...]",
        description=description,
        epilog=f"Each flag is also a variable, {PREFIX}<NAME>, and a key of the config file, <name>. "
        "A flag beats the environment beats the file.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--config", metavar="FILE.toml", help="read settings from this file")
    parser.add_argument(
        "--check", action="store_true", help="print the settings and their memory ceiling, and exit"
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    for name, option in options.items():
        again = "; repeatable" if option.repeatable else ""
        text = f"{option.help} (default: {option.show(option.default)}{again})".replace("%", "%%")
        if option.kind.metavar:
            parser.add_argument(flag(name), action="append", metavar=option.kind.metavar, help=text)
        else:
            parser.add_argument(flag(name), action="append_const", const="true", help=text)
    return parser


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print and exit, so that every bad setting is one type of error."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(message)


def _parse_all(option: Option, name: str, texts: Sequence[str]) -> object:
    """All of `texts` for a repeatable option, else the last one."""
    values = tuple(_accept(option, name, option.kind.parse, text) for text in texts)
    return values if option.repeatable else values[-1]


def _accept(option: Option, name: str, read: Callable[[T], object], value: T) -> object:
    try:
        return read(value)
    except UnfitError as error:
        raise SettingsError(f"{name}: {brief(value)}: {error}") from error
    except ValueError as error:
        if option.secret:
            # Neither it nor the error that holds it.
            raise SettingsError(f"{name}: it is not {option.kind.wanted}") from None
        raise SettingsError(f"{name}: {brief(value)} is not {option.kind.wanted}") from error


def _refuse_unknown(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise SettingsError for names that are not known, with the nearest. Their values are not shown."""
    known = sorted(known)
    unknown = [name for name in names if name not in known]
    if not unknown:
        return
    near = difflib.get_close_matches(unknown[0], known, n=1)
    hint = f"did you mean {near[0]}?" if near else "see sluiceway --help for what exists"
    raise SettingsError(f"unknown {what} {', '.join(unknown)} ({hint})")
