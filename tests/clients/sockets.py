"""Clients of bare sockets, for what well-behaved clients never do: stall, vanish, send half a head.

What a server answers is read by h11 and by the strict parser of `tests.support.sse`, so that a broken framing
or a torn event fails the test that met it.  Everything waits `PATIENCE` seconds at most.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h11

from tests.support.sse import Event, SSEParser

NDJSON = "application/x-ndjson"
PATIENCE = 15.0
"""Seconds that anything may take.  Generous: a machine may be busy."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def wait_until(holds: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Ask `holds` over and over until it is true.

    Raises:
        AssertionError: it was not within `seconds`; says `what` was waited for.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.005)


class Connection:
    """One TCP connection to a server on loopback, to be used with `with`."""

    def __init__(self, port: int, *, receive_buffer: int | None = None, host: str = "127.0.0.1") -> None:
        """`receive_buffer` (bytes) makes the kernel of this side take little while nobody reads."""
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            self.socket.settimeout(PATIENCE)
            if receive_buffer is not None:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.socket.connect((host, port))
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Shake hands as a TLS client."""
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def send(self, data: bytes) -> None:
        """Write all of `data`."""
        self.socket.sendall(data)

    def receive(self) -> bytes:
        """What came; b"" at the server's end, also where it is a reset."""
        try:
            return self.socket.recv(65536)
        except ConnectionError:
            return b""

    def receive_all(self) -> bytes:
        """Everything up to the server's end."""
        return b"".join(iter(self.receive, b""))

    def half_close(self) -> None:
        """Say that nothing more is sent, and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leave with RST in place of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.socket.close()

    def close(self) -> None:
        self.socket.close()


class Subscriber(Connection):
    """A client that reads an event stream.  Made, it has asked; it reads only when told to."""

    def __init__(
        self,
        port: int,
        topic: str,
        *,
        query: str = "",
        last_event_id: str | None = None,
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(port, receive_buffer=receive_buffer)
        self._h11 = h11.Connection(h11.CLIENT)
        self._parser = SSEParser()
        self.head: h11.Response | None = None
        self.events: list[Event] = []
        self.ended = False
        """Whether the answer has ended as an answer does, and not by a cut."""
        fields = {"Host": "localhost", "Accept": "text/event-stream", **(headers or {})}
        if last_event_id is not None:
            fields["Last-Event-ID"] = last_event_id
        target = f"/topics/{topic}/events" + (f"?{query}" if query else "")
        try:
            if tls is not None:
                self.start_tls(tls)
            encoded = [(name.encode(), value.encode()) for name, value in fields.items()]
            request = h11.Request(method="GET", target=target, headers=encoded)
            self.send((self._h11.send(request) or b"") + (self._h11.send(h11.EndOfMessage()) or b""))
        except BaseException:
            self.close()
            raise

    @property
    def last_event_id(self) -> str:
        """What a browser would resume from now."""
        return self._parser.last_event_id

    @property
    def messages(self) -> list[Event]:
        """The events that were published, or are built in: not what the server says of the stream."""
        return [
            each
            for each in self.events
            if each.data is not None and each.event not in ("gap", "closing", "heartbeat")
        ]

    @property
    def data(self) -> list[Any]:
        """The data of `messages`, as JSON."""
        return [json.loads(each.data or "") for each in self.messages]

    def named(self, event: str) -> list[Event]:
        """The events of this name."""
        return [each for each in self.events if each.event == event]

    def wait_open(self) -> Self:
        """Read up to the first block: the subscription is there."""
        return self.wait_for(lambda: bool(self.events))

    def wait_messages(self, count: int) -> Self:
        """Read until `count` messages have come."""
        return self.wait_for(lambda: len(self.messages) >= count)

    def wait_for(self, holds: Callable[[], bool]) -> Self:
        """Read until `holds`, or fail where the stream ends before."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, f"not in time; so far: {self.events}"
            assert self._read(), f"the stream has ended; so far: {self.events}"
        return self

    def wait_end(self) -> Self:
        """Read up to the server's end."""
        while self._read():
            pass
        return self

    def _read(self) -> bool:
        """Take in what came.  False at the end of the answer or of the connection."""
        if self.ended:
            return False
        data = self.receive()
        try:
            self._h11.receive_data(data)
            while True:
                event = self._h11.next_event()
                if isinstance(event, h11.Response):
                    self.head = event
                elif isinstance(event, h11.Data):
                    self.events += self._parser.feed(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    self.ended = True
                    return False
                else:
                    return bool(data)
        except h11.RemoteProtocolError:
            assert not data, "the answer is not framed as HTTP/1.1 is"
            return False


class Api:
    """The calls of a server that tests make beside what they test, over one kept connection."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._http = (
            http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            if tls is None
            else http.client.HTTPSConnection("localhost", port, timeout=PATIENCE, context=tls)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def publish(self, topic: str, data: object, **fields: object) -> str:
        """Publish `data`, and return the message's id."""
        body = json.dumps({"data": data, **fields})
        answer = self._call("POST", f"/topics/{topic}", body, {"Content-Type": "application/json"})
        return str(answer["id"])

    def publish_batch(self, topic: str, values: Iterable[object]) -> list[str]:
        """Publish each of `values` in one batch, and return the messages' ids."""
        body = "".join(json.dumps({"data": value}) + "\n" for value in values)
        answer = self._call("POST", f"/topics/{topic}", body, {"Content-Type": NDJSON})
        return [str(each) for each in answer["ids"]]

    def stats(self) -> dict[str, Any]:
        return self._call("GET", "/stats")

    def subscribers(self) -> dict[str, int]:
        """How many subscribers each topic has."""
        topics = self._call("GET", "/topics")["topics"]
        return {each["topic"]: each["subscribers"] for each in topics}

    def open_events(self) -> int:
        """How many event streams are open."""
        return int(self.stats()["streams"]["events"])

    def closed_events(self, reason: str) -> int:
        """How many event streams have ended for `reason`."""
        return int(self.stats()["closed"].get("events", {}).get(reason, 0))

    def wait_open_events(self, count: int, seconds: float = PATIENCE) -> None:
        """Wait until exactly `count` event streams are open."""
        wait_until(lambda: self.open_events() == count, f"{count} open event streams", seconds)

    def _call(
        self, method: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        self._http.request(method, path, body, dict(headers or {}))
        answer = self._http.getresponse()
        text = answer.read()
        assert answer.status in (200, 201), text
        value: dict[str, Any] = json.loads(text)
        return value


def exchange(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send `request`, half-close, and read one answer: status, headers (lower case) and body.

    The status is 0 where the server ends the connection without an answer.
    """
    with Connection(port) as connection:
        try:
            connection.send(request)
            connection.half_close()
        except ConnectionError:
            pass  # answered and closed before all was sent
        return parsed(connection.receive_all())


def parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """The parts of an answer whose body is as long as the connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    code = int(status.split()[1]) if status else 0
    return code, {name.lower(): value for name, _, value in pairs}, body


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return sum(1 for _ in Path("/proc", str(pid), "fd").iterdir())
