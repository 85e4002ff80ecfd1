"""Entity tags, and the lists of them that preconditions hold (RFC 9110, sections 8.8.3 and 13.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_BETWEEN = re.compile(r"[ \t]*(?:,[ \t,]*)?")


@dataclass(frozen=True, slots=True)
class EntityTags:
    """What `If-Match` or `If-None-Match` lists: tags as they stand there, or (`anything`) an asterisk."""

    tags: frozenset[str] = frozenset()
    anything: bool = False

    def match(self, tag: str | None, *, weak: bool = False) -> bool:
        """Whether the current tag, None where there is no representation, is among these.

        Strong comparison, in which a weak tag is like no other; `weak` compares without regard to that.
        """
        if tag is None:
            return False
        if self.anything:
            return True
        if weak:
            return opaque(tag) in {opaque(each) for each in self.tags}
        return not tag.startswith("W/") and tag in self.tags


def parse_entity_tags(values: Iterable[str]) -> EntityTags | None:
    """All the header's `values` together; None where they are no list of entity tags."""
    text = ", ".join(values).strip(" \t,")
    if text == "*":
        return EntityTags(anything=True)
    tags = set()
    place = 0
    while match := _TAG.match(text, place):
        tags.add(match[0])
        between = _BETWEEN.match(text, match.end())
        place = between.end() if between is not None else match.end()
        if place == len(text):
            return EntityTags(frozenset(tags))
        if "," not in text[match.end() : place]:
            break
    return None


def is_entity_tag(text: str) -> bool:
    """Whether `text` is one entity tag, weak or strong."""
    return _TAG.fullmatch(text) is not None


def opaque(tag: str) -> str:
    """A tag without the mark of weakness."""
    return tag.removeprefix("W/")
