"""WebSocket frames as a client sees them, parsed by wsproto: independent of what makes them here."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage


@dataclass(frozen=True, slots=True)
class Text:
    """A whole text message."""

    text: str


@dataclass(frozen=True, slots=True)
class Binary:
    """A whole binary message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PingFrame:
    """A ping."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class PongFrame:
    """A pong."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """A close frame; 1005 where it has no code."""

    code: int
    reason: str


Frame = Text | Binary | PingFrame | PongFrame | Close


class FrameReader:
    """Bytes from a server in, frames out.

    `protocol` is wsproto's, for those who also write with it.
    """

    def __init__(self, trailing: bytes = b"") -> None:
        self.protocol = Connection(ConnectionType.CLIENT, trailing_data=trailing)
        self._frames: deque[Frame] = deque()
        self._texts: list[str] = []
        self._parts: list[bytes] = []
        self._take_events()

    def feed(self, data: bytes) -> None:
        """Read `data`.

        Raises:
            RemoteProtocolError: it is no WebSocket.
        """
        self.protocol.receive_data(data)
        self._take_events()

    def pop(self) -> Frame | None:
        """The next frame, None where none is whole."""
        return self._frames.popleft() if self._frames else None

    def _take_events(self) -> None:
        for event in self.protocol.events():
            frame = self._frame_of(event)
            if frame is not None:
                self._frames.append(frame)

    def _frame_of(self, event: Event) -> Frame | None:
        match event:
            case TextMessage():
                self._texts.append(event.data)
                if not event.message_finished:
                    return None
                text, self._texts = "".join(self._texts), []
                return Text(text)
            case BytesMessage():
                self._parts.append(bytes(event.data))
                if not event.message_finished:
                    return None
                data, self._parts = b"".join(self._parts), []
                return Binary(data)
            case Ping():
                return PingFrame(bytes(event.payload))
            case Pong():
                return PongFrame(bytes(event.payload))
            case CloseConnection():
                return Close(event.code, event.reason or "")
            case _:
                raise AssertionError(f"a server has no business with {event!r}")
