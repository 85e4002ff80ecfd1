"""Which topics a subscription is to: names, and patterns that end in an asterisk."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Selection:
    """A set of topics.  Each topic belongs to it by one entry at most, so that nobody gets a message twice.

    A prefix stands for every topic whose name begins with it, those to come among them.  Topics with a slash
    are internal and only reached by name.
    """

    names: tuple[str, ...]
    prefixes: tuple[str, ...] = ()

    @classmethod
    def of(cls, entries: Collection[str]) -> Self:
        """The selection of `entries`, each a name or, with a trailing asterisk, a pattern.

        What a shorter pattern covers already is left out.
        """
        patterns = sorted({entry[:-1] for entry in entries if entry.endswith("*")})
        prefixes: list[str] = []
        for prefix in patterns:
            if not prefix.startswith(tuple(prefixes)):
                prefixes.append(prefix)
        names = dict.fromkeys(entry for entry in entries if not entry.endswith("*"))
        return cls(tuple(name for name in names if not _is_covered(name, tuple(prefixes))), tuple(prefixes))

    def __contains__(self, topic: str) -> bool:
        return topic in self.names or _is_covered(topic, self.prefixes)

    def __iter__(self) -> Iterator[str]:
        """The entries as they were written."""
        yield from self.names
        yield from (prefix + "*" for prefix in self.prefixes)


def _is_covered(topic: str, prefixes: tuple[str, ...]) -> bool:
    return topic.startswith(prefixes) and "/" not in topic


def matches(prefix: str, topic: str) -> bool:
    """Whether the pattern of `prefix` stands for `topic` too."""
    return _is_covered(topic, (prefix,))
