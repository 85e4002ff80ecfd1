"""A model server that never comes to an end: chat completions as OpenAI streams them, one token after another
until the client has gone, and a note of when that was.

Each conversation is known by the text of its only message.
"""

import json
import re
import time
from dataclasses import dataclass, field

import trio

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


@dataclass
class Conversation:
    """`begun` is set with its first token, `closed` when the client has gone.

    `closed_at` is the time of that, by the monotonic clock, which all processes share.
    """

    begun: trio.Event = field(default_factory=trio.Event)
    closed: trio.Event = field(default_factory=trio.Event)
    closed_at: float = 0.0


class Upstream:
    """Says `rate` tokens a second in each conversation."""

    def __init__(self, rate: float) -> None:
        self._pause = 1 / rate
        self._conversations: dict[str, Conversation] = {}

    def expect(self, name: str) -> Conversation:
        """The conversation called `name`, which is about to come."""
        return self._conversations.setdefault(name, Conversation())

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer one connection until the client closes it."""
        async with stream:
            conversation = self.expect(await _asked(stream))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._talk, stream, conversation)
                await _gone(stream)
                conversation.closed_at = time.monotonic()
                conversation.closed.set()
                nursery.cancel_scope.cancel()

    async def _talk(self, stream: trio.SocketStream, conversation: Conversation) -> None:
        try:
            await stream.send_all(_HEAD)
            while True:
                await stream.send_all(_TOKEN)
                conversation.begun.set()
                await trio.sleep(self._pause)
        except trio.BrokenResourceError:
            pass


async def _asked(stream: trio.SocketStream) -> str:
    """Read the request; the text of its message."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive_some()
    head, _, body = data.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    assert length is not None
    while len(body) < int(length[1]):
        body += await stream.receive_some()
    asked: dict[str, list[dict[str, str]]] = json.loads(body)
    return asked["messages"][0]["content"]


async def _gone(stream: trio.SocketStream) -> None:
    try:
        while await stream.receive_some():
            pass
    except trio.BrokenResourceError:
        pass


def _chunk() -> bytes:
    choice = {"index": 0, "delta": {"content": " flows"}, "finish_reason": None}
    said = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    event = f"data: {json.dumps(said)}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


_TOKEN = _chunk()
