"""The head of a request, as the doors of a stream look at it.

A value of our own, so that routes, early answers and WebSocket handshakes share the doors, whatever parsed
the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class RequestHead:
    """Method, path, query and headers of a request, and who sent it.

    `path` and `query` are as they came, percent-encoding and all; `headers` holds lower-case names and values
    decoded as Latin-1, in order; `peer` is the client's address and `local` the one it connected to, empty
    where there is none; `secure` says whether TLS was used.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    peer: str = ""
    local: str = ""
    secure: bool = False

    def without_headers(self) -> RequestHead:
        """The head as an open stream keeps it: headers cost more than all the rest of it."""
        return replace(self, headers=())

    def header(self, name: str) -> str | None:
        """The first value of the header `name` (lower case), or None."""
        return next(self.header_values(name), None)

    def header_values(self, name: str) -> Iterator[str]:
        """Every value of the header `name` (lower case)."""
        return (value for key, value in self.headers if key == name)

    def header_has_token(self, name: str, token: str) -> bool:
        """Whether a comma-separated header lists `token`; letter case does not count."""
        return any(
            token == part.strip().lower() for value in self.header_values(name) for part in value.split(",")
        )

    @property
    def accepts_event_stream(self) -> bool:
        """Whether the client named `text/event-stream` in Accept, as EventSource does."""
        return any(
            part.split(";")[0].strip().lower() == "text/event-stream"
            for value in self.header_values("accept")
            for part in value.split(",")
        )
