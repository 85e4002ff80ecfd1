"""A two-way connection of whole messages, as rooms see it: a protocol, so that they know of no socket."""

from __future__ import annotations

from typing import Protocol

from .writes import Sent


class ConnectionEndedError(Exception):
    """The connection is over.

    `code` is the close code, 1006 where there was none; `ours` whether this side closed.
    """

    def __init__(self, code: int, *, ours: bool = False) -> None:
        super().__init__(f"the connection was closed with {code}")
        self.code = code
        self.ours = ours


class Connection(Protocol):
    """One two-way connection.

    Frames to send are ready-made (`wire.websocket`), so that many members share one.
    """

    @property
    def bytes_sent(self) -> int:
        """Bytes taken off the writer's hands so far."""

    @property
    def last_heard(self) -> float:
        """Trio's clock when the last byte came; now, where what came before has not been received yet, and
        nobody reads on: a silence would be this side's.
        """

    @property
    def refused_at(self) -> float | None:
        """Trio's clock when the kernel began to refuse what is to be written; None where it does not."""

    def try_send(self, frame: bytes) -> Sent:
        """Offer one frame to the kernel.  Never waits, never raises."""

    async def send_all(self, data: bytes) -> None:
        """Write whole frames after all that was sent before.  A cancelled call breaks the connection.

        Raises:
            trio.BrokenResourceError: the peer is gone; WriteDeadlineError where it takes nothing.
        """

    async def receive(self) -> str | bytes:
        """The next whole message: text or binary.  Cancelling it loses nothing.

        Raises:
            ConnectionEndedError: there will be none.
        """

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye with `code` and `reason` (at most 123 bytes), and wait for the peer's, for a moment.

        Safe to call again.  Nothing is sent after it.
        """
