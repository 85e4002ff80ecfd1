"""Rooms of the real process, over real sockets."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import trio
import trustme

from tests.support.frames import Close
from tests.support.house import hear, hear_to_the_end, hear_until, saying
from tests.support.process import ROOT, ServerProcess
from tests.support.websocket_peer import WebSocketPeer

RESET_AT_CLOSE = struct.pack("ii", 1, 0)
GONE_SECONDS = 10.0
"""How long a loaded machine may take over what is due within 100 ms."""


def stats_of(server: ServerProcess) -> dict[str, Any]:
    with urlopen(f"{server.url}/stats", timeout=10) as answer:
        stats: dict[str, Any] = json.load(answer)
    return stats


async def stats_where(server: ServerProcess, **expected: object) -> dict[str, Any]:
    """`/stats`, once it shows `expected`; as it is where it does not in time."""
    deadline = time.monotonic() + GONE_SECONDS
    while True:
        stats = await trio.to_thread.run_sync(stats_of, server)
        if all(stats[name] == value for name, value in expected.items()) or time.monotonic() > deadline:
            return stats
        await trio.sleep(0.02)


@asynccontextmanager
async def member(
    port: int, room: str = "lobby", *, buffer: int | None = None
) -> AsyncIterator[WebSocketPeer]:
    """A member, welcome and all, until the end of the block, where it leaves by RST.

    With `buffer` its kernel takes about as many bytes and no more.
    """
    sock = trio.socket.socket()
    try:
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        await sock.connect(("127.0.0.1", port))
        peer = await WebSocketPeer.connect(trio.SocketStream(sock), f"/rooms/{room}")
        assert (await hear_until(peer, "welcome"))["room"] == room
        yield peer
    finally:
        sock.close()


async def test_sigterm_tells_members_to_come_back_and_exits_with_0() -> None:
    with ServerProcess() as server:
        async with member(server.port) as first, member(server.port) as second:
            assert (await hear(first))["type"] == "joined"
            exits: list[int | None] = []
            async with trio.open_nursery() as nursery:

                async def terminate() -> None:
                    exits.append(await trio.to_thread.run_sync(server.terminate))

                nursery.start_soon(terminate)
                for peer in (first, second):
                    objects, close = await hear_to_the_end(peer)
                    assert objects[-1]["type"] == "closing"
                    assert (objects[-1]["reason"], objects[-1]["reconnect"]) == ("server_draining", True)
                    assert close == Close(1012, "server_draining")
            assert exits == [0]
        assert "Traceback" not in server.stderr


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess(env={"SLUICEWAY_DRAIN_SECONDS": "2"}) as process:
        yield process
        assert "Traceback" not in process.stderr


async def test_a_stalled_member_is_gone_and_the_others_get_everything(server: ServerProcess) -> None:
    before = stats_of(server)["closed"].get("room", {}).get("slow_consumer", 0)
    # No reader that reads is ever further behind than `ahead`, well within the capacity of 1 MiB.
    count, ahead, padding = 600, 20, "x" * 20_000
    async with member(server.port, "flood") as speaker, member(server.port, "flood") as listener:
        async with member(server.port, "flood", buffer=4096):
            heard: list[list[str]] = [[], []]
            progress = trio.Condition()

            async def listen(peer: WebSocketPeer, into: list[str]) -> None:
                while len(into) < count:
                    frame = await hear(peer)
                    if frame["type"] == "message":
                        into.append(frame["data"].removesuffix(padding))
                        async with progress:
                            progress.notify_all()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen, speaker, heard[0])
                nursery.start_soon(listen, listener, heard[1])
                for number in range(count):
                    async with progress:
                        while min(map(len, heard)) + ahead < number:
                            await progress.wait()
                    await speaker.send(saying(f"{number}{padding}"))
            assert heard[0] == heard[1] == [str(number) for number in range(count)]
            await stats_where(server, subscriptions=2)
    stats = await stats_where(server, subscriptions=0)
    assert stats["closed"]["room"]["slow_consumer"] == before + 1
    assert stats["leaked"] == 0


async def test_two_hundred_members_cut_at_once_leave_nothing(server: ServerProcess) -> None:
    before = await stats_where(server, subscriptions=0)
    async with trio.open_nursery() as nursery:
        everybody_is_in, cut = trio.Event(), trio.Event()
        inside = 0

        async def be_cut() -> None:
            nonlocal inside
            async with member(server.port, "crowd"):
                inside += 1
                if inside == 200:
                    everybody_is_in.set()
                await cut.wait()

        for _ in range(200):
            nursery.start_soon(be_cut)
        await everybody_is_in.wait()
        assert (await stats_where(server, subscriptions=200))["subscriptions"] == 200
        cut.set()
    stats = await stats_where(server, subscriptions=0, connections=before["connections"])
    same = ("subscriptions", "connections", "streams", "tasks", "leaked")
    assert {name: stats[name] for name in same} == {name: before[name] for name in same}
    assert stats["leaked"] == 0
    was = before["closed"].get("room", {}).get("client_disconnected", 0)
    assert stats["closed"]["room"]["client_disconnected"] == was + 200


async def test_a_room_works_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    both = str(tmp_path / "both.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with ServerProcess(["--bind", "127.0.0.1:0", "--certfile", both, "--keyfile", both]) as server:
        streams = [
            await trio.open_ssl_over_tcp_stream(
                "localhost", server.port, ssl_context=context, https_compatible=True
            )
            for _ in range(2)
        ]
        peers = [await WebSocketPeer.connect(stream, "/rooms/lobby") for stream in streams]
        for peer in peers:
            await hear_until(peer, "welcome")
        for number in range(20):
            await peers[0].send(saying(number))
            # A pong under way must not cost a member its place.
            await peers[1].ping(b"here")
        for peer in peers:
            assert [(await hear_until(peer, "message"))["data"] for _ in range(20)] == list(range(20))
        await peers[0].close()
        assert (await hear_to_the_end(peers[0]))[1] == Close(1000, "")
        await peers[1].aclose()
        await peers[0].aclose()


@contextmanager
def stock_hypercorn(rooms_port: int) -> Iterator[subprocess.Popen[str]]:
    """`hypercorn -k trio server:app`, its own port unused, with rooms at `rooms_port`."""
    with subprocess.Popen(
        [sys.executable, "-m", "hypercorn", "-k", "trio", "-b", "127.0.0.1:0", "server:app"],
        cwd=ROOT,
        env={"SLUICEWAY_ROOMS_BIND": f"127.0.0.1:{rooms_port}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def free_port() -> int:
    """A port that nobody listens at, as far as one can know."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


async def test_a_room_works_beside_a_stock_hypercorn() -> None:
    port = free_port()
    with stock_hypercorn(port) as process:
        await _wait_listening(port)
        async with member(port) as first, member(port) as second:
            assert (await hear(first))["type"] == "joined"
            await second.send(saying("hello"))
            assert (await hear(first))["data"] == "hello"
            process.send_signal(signal.SIGTERM)
            for peer in (first, second):
                assert (await hear_to_the_end(peer))[1] == Close(1012, "server_draining")
        assert await trio.to_thread.run_sync(process.wait, 20) == 0


async def _wait_listening(port: int) -> None:
    with trio.fail_after(20):
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                await trio.sleep(0.05)
            else:
                await stream.aclose()
                return
