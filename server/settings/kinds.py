"""The kinds of value a setting can have: seconds, counts, sizes, addresses, names.

The one idea: a kind turns text (`parse`, for flags and the environment) or a native value (`check`, for TOML
and Python) into the normal form of the value, or raises ValueError; `wanted` says in words what it would have
taken, and `show` is the inverse of `parse`. Who gave the value, and the message, are left to `sources`.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a host and a port.

    The host is a name, an IP address without brackets, or empty for all interfaces; port 0 picks a free one.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `HOST:PORT`, `[IPV6]:PORT` or `:PORT`; raises ValueError for anything else."""
        host, colon, port = text.rpartition(":")
        if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
            raise ValueError(text)
        if host.startswith("[") and host.endswith("]"):
            return cls(str(ipaddress.IPv6Address(host[1:-1])), int(port))
        if ":" in host:
            raise ValueError(text)
        return cls(_normal_host(host) if host else "", int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`: `localhost`, 127.0.0.0/8 or ::1 (with or without brackets).

    An empty host, `0.0.0.0` and `::` mean all interfaces and are not loopback; other names are not looked up.
    """
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    # Spelled out because is_loopback of a mapped address differs between Python versions.
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def show_size(size: int) -> str:
    """The shortest exact way to write `size` bytes, as `Size.parse` reads it: `1 MiB`, `1536 KiB`, `1000`."""
    for unit, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size >= factor and size % factor == 0:
            return f"{size // factor} {unit}"
    return str(size)


class UnfitError(ValueError):
    """A value that a kind refuses, with a message that says more than what was `wanted`."""


def brief(value: object) -> str:
    """`value` as messages show it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 100 else text[:99] + "…"


class Kind(Protocol):
    """What a setting's value may be. `metavar` stands for it in `--help`; empty, the flag takes no value.

    What is wrong with a value follows from `wanted`, unless the error is `UnfitError` and says it itself.
    """

    @property
    def metavar(self) -> str: ...

    @property
    def wanted(self) -> str: ...

    def parse(self, text: str) -> object: ...

    def check(self, value: object) -> object: ...

    def show(self, value: object) -> str: ...


@dataclass(frozen=True, slots=True)
class Seconds:
    """A duration: a finite number above 0 (from 0 with `zero`) and at most `most`."""

    zero: bool = False
    most: float = 3_600.0
    metavar: str = "SECONDS"

    @property
    def wanted(self) -> str:
        return f"a number of seconds {'from 0 to' if self.zero else 'above 0 and at most'} {self.most:g}"

    def parse(self, text: str) -> float:
        return self.check(float(text))

    def check(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(value)
        if not 0 <= value <= self.most or (value == 0 and not self.zero):
            raise ValueError(value)
        return float(value)

    def show(self, value: object) -> str:
        return str(value).removesuffix(".0")


@dataclass(frozen=True, slots=True)
class Count:
    """A whole number from `least` to `most`."""

    most: int = 1_000_000
    metavar: str = "N"
    least: int = 1

    @property
    def wanted(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def parse(self, text: str) -> int:
        return self.check(int(text))

    def check(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not self.least <= value <= self.most:
            raise ValueError(value)
        return value

    def show(self, value: object) -> str:
        return str(value)


_UNITS = {"": 1, "kib": KIB, "mib": MIB, "gib": GIB, "k": 10**3, "m": 10**6, "g": 10**9}


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes from 1 to `most`.

    Text may have a suffix: KiB, MiB and GiB count by 1024; k, M and G by 1000. Case does not matter.
    """

    most: int = GIB
    metavar: str = "BYTES"

    @property
    def wanted(self) -> str:
        return f"a size up to {show_size(self.most)}, in bytes or with a suffix (KiB, MiB, GiB, k, M, G)"

    def parse(self, text: str) -> int:
        match = re.fullmatch(r"([0-9]+) ?([a-z]*)", text.strip().lower())
        if match is None or match[2] not in _UNITS:
            raise ValueError(text)
        return self.check(int(match[1]) * _UNITS[match[2]])

    def check(self, value: object) -> int:
        if isinstance(value, str):
            return self.parse(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= self.most:
            raise ValueError(value)
        return value

    def show(self, value: object) -> str:
        return show_size(value) if isinstance(value, int) else str(value)


@dataclass(frozen=True, slots=True)
class Switch:
    """On or off. As a flag it takes no value; in the environment 1, true, yes, on and their opposites."""

    metavar: str = ""
    wanted: str = "true or false"

    def parse(self, text: str) -> bool:
        word = text.strip().lower()
        if word not in {"1", "true", "yes", "on", "0", "false", "no", "off"}:
            raise ValueError(text)
        return word in {"1", "true", "yes", "on"}

    def check(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError(value)
        return value

    def show(self, value: object) -> str:
        return "true" if value else "false"


@dataclass(frozen=True, slots=True)
class Text:
    """Something written as text everywhere; `read` normalises it, `native` is what Python may give too."""

    metavar: str
    wanted: str
    read: Callable[[str], object]
    native: type = str

    def parse(self, text: str) -> object:
        return self.read(text.strip())

    def check(self, value: object) -> object:
        if not isinstance(value, str | self.native):
            raise ValueError(value)
        return self.parse(str(value))

    def show(self, value: object) -> str:
        return str(value)


def choice(*words: str) -> Text:
    """One of `words`, exactly."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return Text("|".join(words), " or ".join(words), read)


def _read_path(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError(text)
    return text


def _read_origin(text: str) -> str:
    if text == "*":
        return text
    match = re.fullmatch(r"([a-z][a-z0-9+.-]*)://(\[[^\[\]]*\]|[^\[\]/:]+)(?::([0-9]{1,5}))?", text.lower())
    if match is None or (match[3] and int(match[3]) > 65_535):
        raise ValueError(text)
    scheme, host, port = match.groups()
    host = f"[{ipaddress.IPv6Address(host[1:-1])}]" if host.startswith("[") else _normal_host(host)
    # A browser leaves the default port out of Origin; kept here, it would never match.
    if port is None or (scheme, int(port)) in {("http", 80), ("https", 443)}:
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{int(port)}"


def _read_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(text)
    if parts.username is not None or parts.password is not None or re.search(r"\s", text):
        raise ValueError(text)
    return text.rstrip("/")


def _read_provider(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_.-]+(?::[A-Za-z0-9_.]+)?", text) is None:
        raise ValueError(text)
    return text


def _read_model(text: str) -> str:
    if not text or len(text) > 256 or not text.isprintable():
        raise ValueError(text)
    return text


def _read_secret(text: str) -> str:
    if re.fullmatch(r"[!-~]{1,4096}", text) is None:
        raise ValueError
    return text


def _read_host(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        return str(ipaddress.IPv6Address(text[1:-1]))
    return _normal_host(text)


def _normal_host(text: str) -> str:
    """A host name in lower case, or an IP address in its usual form; raises ValueError for anything else."""
    host = text.lower()
    if ":" in host:
        return str(ipaddress.IPv6Address(host))
    # As in URLs: what ends in a number is an IPv4 address, so that 127.1 is a mistake and no name.
    if re.fullmatch(r"[0-9]*", host.rpartition(".")[2]):
        return str(ipaddress.IPv4Address(host))
    label = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
    if len(host) > 253 or not re.fullmatch(rf"{label}(?:\.{label})*", host):
        raise ValueError(text)
    return host


FILE = Text("FILE", "a path to a file", _read_path, native=Path)
DIRECTORY = Text("DIR", "a path to a directory", _read_path, native=Path)
LISTEN_ADDRESS = Text(
    "HOST:PORT",
    "HOST:PORT with a port from 0 to 65535 (an IPv6 address goes in brackets, [::1]:8000)",
    Address.parse,
    native=Address,
)
ORIGIN = Text(
    "ORIGIN",
    "an origin, scheme://host or scheme://host:port without a path or a slash at the end, or *",
    _read_origin,
)
URL = Text("URL", "an http or https URL without a query, a fragment or a user in it", _read_url)
PROVIDER = Text("NAME", "the name of a provider, or module:function", _read_provider)
MODEL = Text("NAME", "the name of a model, up to 256 characters", _read_model)
SECRET = Text("SECRET", "one word of visible ASCII", _read_secret)
HOST = Text("HOST", "a host name or an IP address, without a port", _read_host)
