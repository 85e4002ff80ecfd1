"""Whether a request applies to the file as it is now: preconditions (RFC 9110, section 13).

Their order is that of section 13.2.2.  A date that is none is passed over, as the sections ask.  A list of
tags that is none matches nothing, except before a write, which it was meant to guard: that is refused.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ..lifecycle import RequestHead
from ..wire.entity_tags import EntityTags, parse_entity_tags
from ..wire.http_dates import parse_date
from .folder import StoredFile


class MalformedConditionError(ValueError):
    """A write has a precondition that cannot be read."""


class Verdict(enum.Enum):
    """What becomes of a request that reads."""

    SEND = enum.auto()
    NOT_MODIFIED = enum.auto()
    """The client has the file as it is (304)."""
    FAILED = enum.auto()
    """The file is another one (412)."""


@dataclass(frozen=True, slots=True)
class Preconditions:
    """The preconditions of one request, as its head has them."""

    head: RequestHead

    def verdict(self, current: StoredFile) -> Verdict:
        """Whether a GET or HEAD of `current` is to be answered with it."""
        if not self._unchanged(current):
            return Verdict.FAILED
        tags = self._tags("if-none-match")
        if tags is not None:
            return Verdict.NOT_MODIFIED if tags.match(current.etag, weak=True) else Verdict.SEND
        since = self._date("if-modified-since")
        return Verdict.NOT_MODIFIED if since is not None and current.modified <= since else Verdict.SEND

    def allow_write(self, current: StoredFile | None) -> bool:
        """Whether a PUT or DELETE applies to `current`, None where there is no such file."""
        tags = self._tags("if-none-match")
        if tags is not None and tags.match(_etag(current), weak=True):
            return False
        return self._unchanged(current)

    def check_readable(self) -> None:
        """Before a write.

        Raises:
            MalformedConditionError: what is to guard it is no list of entity tags.
        """
        for name in ("if-match", "if-none-match"):
            values = list(self.head.header_values(name))
            if values and parse_entity_tags(values) is None:
                raise MalformedConditionError(name)

    def range_applies(self, current: StoredFile) -> bool:
        """Whether a part of `current` is what the client wants: `If-Range` (section 13.1.5), if there is one,
        names it.
        """
        value = self.head.header("if-range")
        if value is None:
            return True
        # Strong comparison: parts of two files that are merely alike do not make one.
        return value.strip() == current.etag or parse_date(value) == current.modified

    def _unchanged(self, current: StoredFile | None) -> bool:
        tags = self._tags("if-match")
        if tags is not None:
            return tags.match(_etag(current))
        since = self._date("if-unmodified-since")
        return since is None or current is None or current.modified <= since

    def _tags(self, name: str) -> EntityTags | None:
        """The tags of a header, None where it is not there."""
        values = list(self.head.header_values(name))
        return (parse_entity_tags(values) or EntityTags()) if values else None

    def _date(self, name: str) -> int | None:
        value = self.head.header(name)
        return None if value is None else parse_date(value)


def _etag(current: StoredFile | None) -> str | None:
    return None if current is None else current.etag
