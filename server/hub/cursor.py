"""Cursors: where in a store a reader stands.  To clients they are opaque ids of messages."""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple

_FORM = re.compile(r"([0-9a-z]{1,32}):(0|[1-9][0-9]{0,18})")


class Cursor(NamedTuple):
    """A place in a store: behind the message with this `offset`.

    Offsets count all messages of a store, so one cursor resumes any set of its topics.  An `epoch` is a
    stretch of a store's life within which offsets never repeat; cursors of another epoch say nothing about
    this one.
    """

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """The cursor that `str` made `text` from, or None where it made no such text."""
        match = _FORM.fullmatch(text)
        return cls(match[1], int(match[2])) if match else None


def new_epoch() -> str:
    """An epoch that no store has had: 40 random bits."""
    return secrets.token_hex(5)
