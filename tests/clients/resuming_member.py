"""A member of a room that comes back after each cut, by the `websockets` package.

`python -m tests.clients.resuming_member URL` is told in lines of JSON: `{"say": [lines], "hear": n}` is
answered with the report once all is acknowledged and n messages heard.  It resumes by subprotocol.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import uuid
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

WINDOW = 4
"""How many messages may be on their way without an ack."""
FORMAT = Subprotocol("sluiceway.v1.json")


@dataclass
class Report:
    """What a member has heard, as pairs of id and data, and how."""

    member: str | None = None
    heard: list[tuple[str, str]] = field(default_factory=list)
    connections: int = 0
    duplicates: int = 0
    faults: list[str] = field(default_factory=list)


class ResumingMember:
    """The resume loop.  `run` must be running."""

    def __init__(self, url: str) -> None:
        self.report = Report()
        self._url = url
        self._session: str | None = None
        self._cursor: str | None = None
        self._to_say: deque[str] = deque()
        self._unacknowledged: dict[str, str] = {}
        self._socket: ClientConnection | None = None
        self._changed = asyncio.Event()

    async def say(self, lines: list[str]) -> None:
        """Say `lines`, soon."""
        self._to_say.extend(lines)
        if self._socket is not None:
            await self._speak(self._socket)

    async def wait_heard(self, count: int) -> None:
        """Wait until so many messages have come, and everything that was said is acknowledged."""
        while (
            self.report.member is None
            or self._to_say
            or self._unacknowledged
            or len(self.report.heard) < count
        ):
            self._changed.clear()
            await self._changed.wait()

    async def run(self) -> None:
        """Be in the room until cancelled."""
        while True:
            try:
                await self._stay()
            except ConnectionClosed as closed:
                if closed.rcvd is not None:
                    self.report.faults.append(f"closed with {closed.rcvd.code} {closed.rcvd.reason}")
            except (OSError, EOFError, InvalidHandshake):
                pass  # cut before it was open
            self._socket = None
            await asyncio.sleep(random.uniform(0, 0.1))

    async def _stay(self) -> None:
        subprotocols = [FORMAT]
        if self._session is not None:
            subprotocols.append(Subprotocol(f"sluiceway.session.{self._session}"))
        behind = f"&last_event_id={self._cursor}" if self._cursor is not None else ""
        async with connect(
            self._url + behind, subprotocols=subprotocols, proxy=None, compression=None
        ) as socket:
            while True:
                await self._hear(json.loads(await socket.recv()), socket)

    async def _hear(self, frame: dict[str, Any], socket: ClientConnection) -> None:
        report = self.report
        match frame["type"]:
            case "welcome":
                if report.member not in (None, frame["member"]):
                    report.faults.append("another member")
                report.member = frame["member"]
                report.connections += 1
                self._session = frame["session"]
                self._cursor = self._cursor or frame["cursor"]
                for unacknowledged in list(self._unacknowledged.values()):
                    await socket.send(unacknowledged)
                self._socket = socket
            case "message":
                self._cursor = frame["id"]
                report.heard.append((frame["id"], frame["data"]))
            case "ack":
                report.duplicates += frame["duplicate"]
                self._unacknowledged.pop(frame["ref"], None)
            case "joined" if report.connections == 1:
                pass
            case _:
                report.faults.append(json.dumps(frame))
        await self._speak(socket)
        self._changed.set()

    async def _speak(self, socket: ClientConnection) -> None:
        while self._to_say and len(self._unacknowledged) < WINDOW:
            ref = str(uuid.uuid4())
            frame = json.dumps({"type": "message", "data": self._to_say.popleft(), "ref": ref})
            self._unacknowledged[ref] = frame
            await socket.send(frame)


async def main(url: str) -> None:
    """Be told on stdin, answer on stdout."""
    member = ResumingMember(url)
    running = asyncio.create_task(member.run())
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        try:
            await member.say(order["say"])
        except ConnectionClosed:
            pass  # said again after the next welcome
        await member.wait_heard(order["hear"])
        print(json.dumps(asdict(member.report)), flush=True)
    running.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
