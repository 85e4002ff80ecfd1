"""A small server that speaks OpenAI's chat completions, over loopback, and misbehaves as told.

Each connection is answered with what `script` says: bytes to send, seconds to wait, or an end: `CUT` (a
reset), `END` (no more, the chunked body unfinished).  `requests` holds the bodies that came; `open` counts
the connections that are.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import h11
import trio

CUT = object()
END = object()
HEAD = object()
"""The head of a stream of events."""

Step = bytes | float | object


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    """One chunk of an answer, as an event."""
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta | more, "finish_reason": finish}
    return event(
        {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    )


def usage(prompt: int, completion: int) -> bytes:
    """The chunk that says what it cost."""
    cost = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    said = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
    return event(said | {"usage": cost})


def event(value: object) -> bytes:
    """`value` as an event."""
    return f"data: {json.dumps(value)}\n\n".encode()


DONE = b"data: [DONE]\n\n"


class ModelServer:
    """Made by `open_model_server`."""

    def __init__(self, script: Sequence[Step]) -> None:
        self.script = script
        self.requests: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.open = 0
        self.base_url = ""
        self.changed = trio.Condition()

    async def wait_open(self, count: int) -> None:
        """Wait until so many connections are open."""
        async with self.changed:
            while self.open != count:
                await self.changed.wait()

    async def wait_requests(self, count: int) -> None:
        """Wait until so many requests have come."""
        async with self.changed:
            while len(self.requests) < count:
                await self.changed.wait()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer one connection, and watch for its end."""
        self.open += 1
        await self._tell()
        http = h11.Connection(h11.SERVER)
        try:
            while await self._read_request(stream, http):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch, stream, nursery.cancel_scope)
                    await self._answer(stream)
                    nursery.cancel_scope.cancel()
                return
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                await trio.aclose_forcefully(stream)
                self.open -= 1
                await self._tell()

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def _read_request(self, stream: trio.SocketStream, http: h11.Connection) -> bool:
        body = b""
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(bytes(await stream.receive_some()))
            elif isinstance(event, h11.Request):
                self.headers.append({name.decode(): value.decode() for name, value in event.headers})
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.requests.append(json.loads(body))
                await self._tell()
                return True
            else:
                return False

    async def _watch(self, stream: trio.SocketStream, scope: trio.CancelScope) -> None:
        """End the answer when the client has gone."""
        try:
            while await stream.receive_some():
                pass
        except trio.BrokenResourceError:
            pass
        scope.cancel()

    async def _answer(self, stream: trio.SocketStream) -> None:
        for step in self.script:
            if isinstance(step, bytes):
                await stream.send_all(b"%x\r\n%b\r\n" % (len(step), step) if step[:5] != b"HTTP/" else step)
            elif isinstance(step, int | float):
                await trio.sleep(step)
            elif step is HEAD:
                await stream.send_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n"
                )
            elif step is CUT:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            else:
                return
        await stream.send_all(b"0\r\n\r\n")


def refusal(status: int, words: str) -> bytes:
    """A whole answer that says no."""
    body = json.dumps({"error": {"message": words, "type": "t", "code": "c"}}).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@asynccontextmanager
async def open_model_server(*script: Step) -> AsyncIterator[ModelServer]:
    """The server, on a free port of loopback."""
    server = ModelServer(script)
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server.base_url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/v1"
        nursery.start_soon(trio.serve_listeners, server.serve, [listener])
        yield server
        nursery.cancel_scope.cancel()
