"""Members on a bad network, in virtual time: whatever is cut, all end with the same messages in one order.

Clients do what docs/how-to/rooms.md says: they come back with their session and their last id, and send again
what was not acknowledged.  Everything else is drawn from a seed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock

from server.hub import Overflow
from server.rooms import PROTOCOLS
from tests.support.house import Guest, House, Json, hear, open_house

MEMBERS = 4
EACH_SAYS = 12


@dataclass
class Client:
    """One member, over as many connections as it takes."""

    house: House
    name: str
    draw: random.Random
    heard: list[Json] = field(default_factory=list)
    acks: list[Json] = field(default_factory=list)
    gaps: list[Json] = field(default_factory=list)
    connections: int = 0
    guest: Guest | None = None
    _unacknowledged: dict[str, str] = field(default_factory=dict)
    _session: str | None = None
    _cursor: str | None = None
    _member: str | None = None

    @property
    def settled(self) -> bool:
        """Whether all that it said is acknowledged."""
        return not self._unacknowledged

    async def run(self) -> None:
        """Be in the room, and come back, until cancelled."""
        while True:
            self.connections += 1
            self.guest = self.house.enter(
                self.name,
                buffer=self.draw.choice([150, 1000, 64 * 1024]),
                protocol=self.draw.choice(list(PROTOCOLS.values())),
                session=self._session,
                after=self._cursor,
            )
            try:
                await self._follow(self.guest)
            except* (EOFError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                self.guest.peer.vanish()
            # Sometimes within the grace, sometimes long after it.
            await trio.sleep(self.draw.choice([0, 0, 1, 15]))

    async def say(self, text: str) -> None:
        """Say it, now or on the next connection."""
        ref = f"{self.name}-{len(self.acks) + len(self._unacknowledged)}-{text}"
        self._unacknowledged[ref] = text
        if self.guest is not None and self._member is not None:
            await self._send(self.guest, ref, text)

    async def _send(self, guest: Guest, ref: str, text: str) -> None:
        try:
            await guest.say(text, ref)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _follow(self, guest: Guest) -> None:
        welcome = await self._hear(guest)
        if self._member is not None:
            assert welcome["resumed"]
            assert welcome["member"] == self._member
            assert welcome["cursor"] == self._cursor
        self._member, self._session, self._cursor = welcome["member"], welcome["session"], welcome["cursor"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_again, guest)
            while True:
                self._take(await self._hear(guest))

    async def _send_again(self, guest: Guest) -> None:
        for ref, text in list(self._unacknowledged.items()):
            await self._send(guest, ref, text)

    async def _hear(self, guest: Guest) -> Json:
        try:
            return await hear(guest.peer)
        except AssertionError as error:
            if "Close" in str(error):
                raise EOFError from None
            raise

    def _take(self, frame: Json) -> None:
        match frame["type"]:
            case "message":
                self._cursor = frame["id"]
                self.heard.append(frame)
            case "ack":
                self.acks.append(frame)
                self._unacknowledged.pop(frame["ref"], None)
            case "gap":
                self.gaps.append(frame)
                self._cursor = frame["cursor"]
            case "error":
                raise RuntimeError(frame)


async def disturb(clients: list[Client], draw: random.Random) -> None:
    """Cut, close, or stall somebody, again and again."""
    while True:
        await trio.sleep(draw.expovariate(1))
        client = draw.choice(clients)
        if client.guest is None:
            continue
        peer = client.guest.peer
        match draw.choice(["vanish", "vanish", "close", "leave", "stall", "resume", "resume"]):
            case "vanish":
                peer.vanish()
            case "close":
                await peer.close(1001)
            case "leave":
                await peer.close(1000)
            case "stall":
                peer.stall()
            case "resume":
                peer.resume()


async def play(seed: int) -> None:
    draw = random.Random(seed)
    capacity = draw.choice([3, 10, 1000])
    async with open_house(capacity=capacity, overflow=Overflow.DISCONNECT) as house:
        clients = [
            Client(house, f"m{number}", random.Random(f"{seed} {number}")) for number in range(MEMBERS)
        ]

        async def talk(client: Client) -> None:
            for number in range(EACH_SAYS):
                await trio.sleep(client.draw.expovariate(0.5))
                await client.say(f"{client.name} {number}")

        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(client.run)
            async with trio.open_nursery() as disturbed:
                disturbed.start_soon(disturb, clients, draw)
                async with trio.open_nursery() as talking:
                    for client in clients:
                        talking.start_soon(talk, client)
                disturbed.cancel_scope.cancel()
            for client in clients:
                if client.guest is not None:
                    client.guest.peer.resume()
            with trio.fail_after(200):
                while not all(
                    client.settled and len(client.heard) >= MEMBERS * EACH_SAYS for client in clients
                ):
                    await trio.sleep(1)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        said = house.services.hub.excerpt("rooms/lobby", None, None, 1000).messages
        assert house.failures == []
    check(clients, [str(message.id) for message in said])


def check(clients: list[Client], said: list[str]) -> None:
    assert len(said) == MEMBERS * EACH_SAYS, "nothing is said twice, and nothing is lost"
    # A room is heard from when one first came; nobody came late.
    for client in clients:
        assert client.gaps == []
        assert [frame["id"] for frame in client.heard] == said
        texts = [frame["data"] for frame in client.heard]
        assert len(set(texts)) == len(texts)
        own = {frame["ref"]: frame["id"] for frame in client.heard if frame["from"] == client._member}
        assert len(own) == EACH_SAYS
        for ack in client.acks:
            assert own[ack["ref"]] == ack["id"]
    assert [frame["data"] for frame in clients[0].heard] == [frame["data"] for frame in clients[-1].heard]


@pytest.mark.parametrize("seed", range(0, 200, 20))
def test_cut_at_random_nobody_loses_doubles_or_reorders_anything(seed: int) -> None:
    for each in range(seed, seed + 20):
        try:
            trio.run(play, each, clock=MockClock(autojump_threshold=0))
        except BaseException as error:
            error.add_note(f"seed {each}")
            raise


def test_the_network_is_as_bad_as_it_is_meant_to_be() -> None:
    connections = []

    async def count() -> None:
        draw = random.Random(1)
        async with open_house() as house:
            client = Client(house, "m0", random.Random(2))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.run)
                with trio.move_on_after(60):
                    await disturb([client], draw)
                nursery.cancel_scope.cancel()
            connections.append(client.connections)

    trio.run(count, clock=MockClock(autojump_threshold=0))
    assert connections[0] > 5
