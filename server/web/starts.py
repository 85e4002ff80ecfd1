"""Where a reader of topics wants to begin, from the request."""

from __future__ import annotations

from ..hub import After, Cursor, Earliest, Live, Rewind, Start
from ..lifecycle import RequestHead
from .requests import whole_number


def start_of(head: RequestHead, query: dict[str, str]) -> Start:
    """Where the stream begins.  The header wins: EventSource moves it, while the URL stays as it was."""
    rewind = whole_number(query, "rewind", 0, least=0, most=1_000_000)
    text = head.header("last-event-id") or query.get("last_event_id") or ""
    if text == "earliest":
        return Earliest()
    if text:
        # An id that is none is of an epoch that never was: the client is told of a gap, not of an error.
        return After(Cursor.parse(text) or Cursor("", 0))
    return Rewind(rewind) if rewind else Live()
