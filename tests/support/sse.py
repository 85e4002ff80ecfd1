"""A strict reader of event streams, for tests (HTML Living Standard, section 9.2.6).

It parses as the standard says, in pieces of any size, and raises where the standard would silently drop or
repair what no good server sends: invalid UTF-8, unknown fields, an id with NUL, a retry that is no number.
So text that broke out of its `data` line is an error here and not a field that nobody looks at.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

_FIELDS = frozenset({"data", "event", "id", "retry"})


class SSEError(ValueError):
    """The stream holds what a good server does not send."""


@dataclass(frozen=True, slots=True)
class Event:
    """One block of the stream, up to its blank line.

    `data` is None in a block without data lines, which a browser takes in but shows to nobody; `id` and
    `retry` (milliseconds) are the block's own, None if it has none; `comment` holds its comment lines.
    """

    id: str | None = None
    event: str = "message"
    data: str | None = None
    retry: int | None = None
    comment: str | None = None


class SSEParser:
    """Bytes in, events out.

    `last_event_id` is what a browser would send as Last-Event-ID now.
    """

    def __init__(self) -> None:
        self.last_event_id = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._at_start = True
        self._after_cr = False
        self._line = ""
        self._block: list[tuple[str, str]] = []

    @property
    def is_between_events(self) -> bool:
        """Whether the stream could end here without a browser dropping a block that is not whole."""
        return not self._line and not self._block and not self._decoder.getstate()[0]

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes.

        Raises:
            SSEError: the stream is not what a good server sends.
        """
        try:
            text = self._decoder.decode(data)
        except UnicodeDecodeError as error:
            raise SSEError(f"not UTF-8: {error}") from error
        if self._at_start and text:
            self._at_start = False
            text = text.removeprefix("\ufeff")
        return [event for line in self._split(text) if (event := self._take(line)) is not None]

    def _split(self, text: str) -> list[str]:
        """The lines that `text` ends: a CR ends its line at once, and a LF right after it, even later, is
        none."""
        if self._after_cr and text:
            text = text.removeprefix("\n")
            self._after_cr = False
        self._after_cr = self._after_cr or text.endswith("\r")
        *lines, self._line = (self._line + text.replace("\r\n", "\n").replace("\r", "\n")).split("\n")
        return lines

    def _take(self, line: str) -> Event | None:
        if not line:
            return self._finish_block()
        name, _, value = line.partition(":")
        self._block.append((name, value.removeprefix(" ")))
        if name and name not in _FIELDS:
            raise SSEError(f"unknown field: {line!r}")
        return None

    def _finish_block(self) -> Event | None:
        block, self._block = self._block, []
        if not block:
            return None
        event = Event(
            id=_last(block, "id"),
            event=_last(block, "event") or "message",
            data=_joined(block, "data"),
            retry=_milliseconds(_last(block, "retry")),
            comment=_joined(block, ""),
        )
        if event.id is not None:
            if "\0" in event.id:
                raise SSEError(f"NUL in an id: {event.id!r}")
            self.last_event_id = event.id
        return event


def _last(block: list[tuple[str, str]], name: str) -> str | None:
    values = [value for field, value in block if field == name]
    return values[-1] if values else None


def _joined(block: list[tuple[str, str]], name: str) -> str | None:
    values = [value for field, value in block if field == name]
    return "\n".join(values) if values else None


def _milliseconds(value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdigit()):
        raise SSEError(f"retry is no number: {value!r}")
    return int(value)
