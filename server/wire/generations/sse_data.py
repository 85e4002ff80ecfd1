"""What the forms that are event streams have in common: JSON as the data of an event, and ids that go out
once.
"""

from __future__ import annotations

from .. import json_text

DONE = b"data: [DONE]\n\n"


def data_event(value: object, *, event: str | None = None, id: str | None = None) -> bytes:
    """`value` as JSON in one event.  `event` and `id` are one line without NUL."""
    # JSON is one line, so there is nothing for `sse.encode_event` to split.
    head = "" if id is None else f"id: {id}\n"
    if event is not None:
        head += f"event: {event}\n"
    return f"{head}data: {json_text.encode(value)}\n\n".encode()


class Place:
    """Where a stream stands, told once for each place.

    A delta may make several events or none.  Its id belongs on the last of them: whoever has an id has
    everything up to it.  It belongs on one of them only: a client that drops what it has seen takes a second
    event with the same id for a repetition.
    """

    __slots__ = ("_untold",)

    def __init__(self, start: str | None) -> None:
        self._untold = start

    def moves_to(self, id: str) -> None:
        """The stream has come to the delta with this id."""
        self._untold = id

    def tell(self) -> str | None:
        """The id for the event that is sent now, None where the client has it already."""
        untold, self._untold = self._untold, None
        return untold
