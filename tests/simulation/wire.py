"""The client's side of HTTP over a line: slow readers, cuts, and answers read as they come."""

from __future__ import annotations

from random import Random

import h11
import trio

from tests.support.memory_socket import ClientEnd

from .script import Reader


class PacedEnd(trio.abc.Stream):
    """A client's end that reads as `reader` says, and is cut after `cut_after` bytes."""

    def __init__(self, end: ClientEnd, reader: Reader, random: Random, cut_after: int | None) -> None:
        self._end = end
        self._reader = reader
        self._random = random
        self._cut_after = cut_after
        self._stalls = sorted(reader.stalls)
        self.hurried = False
        """Whether it now reads as fast as it can."""
        self.sent_at = trio.current_time()
        """When it has last sent anything."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has arrived, some of it.

        Raises:
            trio.BrokenResourceError: the connection was reset, or cut by itself.
        """
        end, chunk = self._end, self._reader.chunk
        if not self.hurried:
            while self._stalls and end.received >= self._stalls[0][0]:
                await trio.sleep(self._stalls.pop(0)[1])
            await trio.sleep(self._reader.pause)
        if self._cut_after is not None:
            left = self._cut_after - end.received
            if left <= 0:
                end.reset()
                raise trio.BrokenResourceError("cut")
            chunk = min(chunk, left)
        return await end.receive_some(chunk if chunk > 40 else self._random.randint(1, chunk))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send."""
        self.sent_at = trio.current_time()
        await self._end.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """There is always room."""
        await self._end.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close."""
        await self._end.aclose()


class HttpClient:
    """One connection of an HTTP client: a request after the other."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)

    async def send(self, method: str, target: str, body: bytes = b"", /, **headers: str) -> None:
        """Send a request; headers are keywords with `_` for `-`.

        Raises:
            trio.BrokenResourceError: the connection is over.
        """
        sent = {"host": "127.0.0.1:8000", **{name.replace("_", "-"): v for name, v in headers.items()}}
        if method == "POST":
            sent["content-length"] = str(len(body))
        parts = [
            self._http.send(h11.Request(method=method, target=target, headers=list(sent.items()))),
            self._http.send(h11.Data(data=body)) if body else b"",
            self._http.send(h11.EndOfMessage()),
        ]
        await self._stream.send_all(b"".join(part or b"" for part in parts))

    async def next(self) -> h11.Event | None:
        """The next part of the answer, None where the connection ended within it."""
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._stream.receive_some())  # type: ignore[arg-type]
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            return None
        if isinstance(event, h11.ConnectionClosed):
            return None
        assert isinstance(event, h11.Event), event
        return event

    async def answer(self) -> tuple[int, bytes] | None:
        """Status and body, None where the connection ended before."""
        status, body = 0, b""
        while True:
            match await self.next():
                case h11.Response(status_code=code):
                    status = code
                case h11.Data(data=data):
                    body += bytes(data)
                case h11.EndOfMessage():
                    if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
                        self._http.start_next_cycle()
                    return status, body
                case None:
                    return None
