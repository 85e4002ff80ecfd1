"""Rules: what holds for the topics, or the rooms, whose names match a pattern.

The one idea: a rule says only what differs. `TopicRule` is what was written, with None for each key that was
not; `TopicSettings` is what holds for one name, complete, made from the first rule that matches laid over the
defaults. A key has the kind, and so the bounds, of the setting of that name. Which flags take rules, and
which defaults they are laid over, is left to `model`.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from server.settings.kinds import Count, Kind, Seconds, Size, Switch, UnfitError, brief, choice

Overflow = Literal["disconnect", "drop_oldest", "latest", "block"]
"""What happens to a subscriber that is more than its capacity behind."""

Presence = Literal["full", "count", "off"]
"""What the members of a room are told of each other."""

_COMMON_KEYS: Mapping[str, Kind] = {
    "capacity": Count(),
    "capacity_bytes": Size(),
    "overflow": choice("disconnect", "drop_oldest", "latest", "block"),
    "history": Count(),
    "history_bytes": Size(),
    "history_seconds": Seconds(most=86_400.0),
}
TOPIC_KEYS: Mapping[str, Kind] = {**_COMMON_KEYS, "compress": Switch()}
ROOM_KEYS: Mapping[str, Kind] = {**_COMMON_KEYS, "presence": choice("full", "count", "off")}
"""What a rule may say, in the order in which it is shown."""

# What a name may be made of, and the wildcards: anything else would match no name, and is a slip.
_PATTERN = re.compile(r"(?:[A-Za-z0-9._:*?-]|\[!?[A-Za-z0-9._:-]+\])+")


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """What holds for one topic or room. Sizes are in bytes, `history_seconds` in seconds, the rest in
    messages.
    """

    capacity: int
    capacity_bytes: int
    overflow: Overflow
    history: int
    history_bytes: int
    history_seconds: float
    compress: bool
    presence: Presence


@dataclass(frozen=True, slots=True)
class TopicRule:
    """What differs for the names that match `pattern`; None stands for the default.

    A pattern is a shell glob in which case counts: `*` is any number of characters, dots and colons too, `?`
    is one, `[a-f]` one of these and `[!a-f]` one of the others.
    """

    pattern: str
    capacity: int | None = None
    capacity_bytes: int | None = None
    overflow: Overflow | None = None
    history: int | None = None
    history_bytes: int | None = None
    history_seconds: float | None = None
    compress: bool | None = None
    presence: Presence | None = None

    @property
    def given(self) -> dict[str, Any]:
        """The keys that the rule sets, with their values."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "pattern"}
        return {key: value for key, value in values.items() if value is not None}

    @property
    def matches_everything(self) -> bool:
        return not self.pattern.strip("*")

    def matches(self, name: str) -> bool:
        return fnmatchcase(name, self.pattern)

    def over(self, defaults: TopicSettings) -> TopicSettings:
        """`defaults` with what the rule says instead."""
        return replace(defaults, **self.given)


def settings_for(name: str, rules: Iterable[TopicRule], defaults: TopicSettings) -> TopicSettings:
    """What holds for `name`: the first of `rules` that matches, laid over `defaults`."""
    for rule in rules:
        if rule.matches(name):
            return rule.over(defaults)
    return defaults


def possible_settings(rules: Sequence[TopicRule], defaults: TopicSettings) -> list[TopicSettings]:
    """All that can hold for some name. The defaults are left out where a rule matches everything."""
    possible = [rule.over(defaults) for rule in rules]
    return possible if any(rule.matches_everything for rule in rules) else [*possible, defaults]


def shadowed(rules: Sequence[TopicRule]) -> tuple[TopicRule, TopicRule] | None:
    """A rule that can never apply, behind the earlier one that matches all it does; None if there is none.

    Only what is plain is found: the same pattern twice, and anything behind `*`.
    """
    for index, rule in enumerate(rules):
        for earlier in rules[:index]:
            if earlier.matches_everything or earlier.pattern == rule.pattern:
                return rule, earlier
    return None


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with some of these `keys`: as text, or as a table that has a `pattern` beside them."""

    keys: Mapping[str, Kind]
    metavar: str = "PATTERN:KEY=VALUE,..."
    wanted: str = "a rule PATTERN:key=value,... with one key or more"

    def parse(self, text: str) -> TopicRule:
        # No key has a colon but names may: the last one before the first = ends the pattern.
        head, equals, _ = text.partition("=")
        pattern, colon, _ = head.rpartition(":")
        if not equals or not colon:
            raise ValueError(text)
        pairs = []
        for part in text[len(pattern) + 1 :].split(","):
            key, equals, value = part.partition("=")
            if not equals:
                raise UnfitError(f"{brief(part.strip())} is not key=value")
            kind = self._kind(_normal(key))
            pairs.append((key, _value(key.strip(), kind, kind.parse, value.strip())))
        return self._rule(pattern.strip(), pairs)

    def check(self, value: object) -> TopicRule:
        if isinstance(value, str):
            return self.parse(value)
        if isinstance(value, TopicRule):
            value = {"pattern": value.pattern, **value.given}
        if not isinstance(value, Mapping):
            raise ValueError(value)
        if not isinstance(value.get("pattern"), str):
            raise UnfitError("it needs a pattern, a string")
        pairs = []
        for key, each in value.items():
            if key != "pattern":
                kind = self._kind(_normal(key))
                pairs.append((key, _value(key, kind, kind.check, each)))
        return self._rule(value["pattern"], pairs)

    def show(self, value: object) -> str:
        if not isinstance(value, TopicRule):
            return str(value)
        given = value.given
        said = (f"{key}={kind.show(given[key])}" for key, kind in self.keys.items() if key in given)
        return f"{value.pattern}: {', '.join(said)}"

    def _rule(self, pattern: str, pairs: Sequence[tuple[str, Any]]) -> TopicRule:
        if not _PATTERN.fullmatch(pattern):
            raise UnfitError(
                f"{brief(pattern)} matches no name: a pattern is made of A-Z a-z 0-9 . _ : - "
                "and the wildcards * ? [...] [!...]"
            )
        values: dict[str, Any] = {}
        for key, value in pairs:
            if _normal(key) in values:
                raise UnfitError(f"{_normal(key)} is given twice")
            values[_normal(key)] = value
        if not values:
            raise UnfitError(f"it says nothing: one key or more is wanted, of {', '.join(self.keys)}")
        return TopicRule(pattern, **values)

    def _kind(self, key: str) -> Kind:
        if key in self.keys:
            return self.keys[key]
        if ":" in key:
            hint = "each rule has a flag of its own; in the environment, a ; ends it"
        elif near := difflib.get_close_matches(key, self.keys, n=1):
            hint = f"did you mean {near[0]}?"
        else:
            hint = f"the keys are {', '.join(self.keys)}"
        raise UnfitError(f"unknown key {brief(key)} ({hint})")


def _value(key: str, kind: Kind, read: Callable[[Any], object], value: object) -> object:
    try:
        return read(value)
    except ValueError as error:
        raise UnfitError(f"{key} {brief(value)} is not {kind.wanted}") from error


def _normal(key: str) -> str:
    """The keys of rules as those of the file: hyphens do as well as underscores."""
    return key.strip().replace("-", "_")
