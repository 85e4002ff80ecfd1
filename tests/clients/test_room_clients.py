"""Other people's WebSocket clients, in one room on one port, beside an event stream: all see one order."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.request import Request, urlopen

import pytest
import trustme
from playwright.sync_api import Browser, Page
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.browser.conftest import chromium
from tests.support.npm import npm_install
from tests.support.process import ServerProcess

__all__ = ["chromium"]

NODE_CLIENT = Path(__file__).with_name("room_client.cjs")
PATIENCE = 15.0
LINES = 20
"""How many messages each member says."""


class Talker(Protocol):
    """A member of the room, by whatever client."""

    name: str

    def say(self, lines: list[str]) -> None: ...

    def hear(self, count: int) -> list[str]:
        """Wait for so many messages, and return what is in them, in order."""


@dataclass
class PythonTalker:
    """A member by the `websockets` package."""

    name: str
    socket: ClientConnection

    def say(self, lines: list[str]) -> None:
        for line in lines:
            self.socket.send(json.dumps({"type": "message", "data": line}))

    def hear(self, count: int) -> list[str]:
        heard: list[str] = []
        while len(heard) < count:
            frame = json.loads(self.socket.recv(timeout=PATIENCE))
            if frame["type"] == "message":
                heard.append(frame["data"])
        return heard


@dataclass
class NodeTalker:
    """A member by the `ws` package."""

    name: str
    process: subprocess.Popen[str]

    def say(self, lines: list[str]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines))
        self.process.stdin.flush()

    def wait_welcome(self) -> None:
        self._frame("welcome")

    def hear(self, count: int) -> list[str]:
        return [self._frame("message")["data"] for _ in range(count)]

    def _frame(self, kind: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            frame: dict[str, Any] = json.loads(line)
            if frame["type"] == kind:
                return frame
        raise AssertionError(f"the client ended before a {kind} came")


@dataclass
class TabTalker:
    """A member by the server's own module, in Chromium."""

    name: str
    page: Page

    def join(self, room: str) -> None:
        self.page.evaluate(
            """([room, name]) => new Promise(async (live) => {
                const { joinRoom } = await import("/client/rooms.js");
                window.heard = [];
                window.room = joinRoom(room, {
                    name,
                    onMessage: ({ data }) => {
                        heard.push(data);
                        window.onHeard?.();
                    },
                    onState: (state) => state === "live" && live(),
                });
            })""",
            [room, self.name],
        )

    def say(self, lines: list[str]) -> None:
        self.page.evaluate("lines => { for (const line of lines) room.send(line); }", lines)

    def hear(self, count: int) -> list[str]:
        heard: list[str] = self.page.evaluate(
            """([count, patience]) => new Promise((resolve, reject) => {
                window.onHeard = () => heard.length >= count && resolve(heard);
                setTimeout(() => reject(new Error(`heard ${heard.length} of ${count}`)), patience);
                onHeard();
            })""",
            [count, PATIENCE * 1000],
        )
        return heard


@dataclass(frozen=True)
class Secured:
    """A server under TLS, and what a client must trust."""

    server: ServerProcess
    authority: Path


@pytest.fixture
def plain_server() -> Iterator[ServerProcess]:
    with ServerProcess(["--bind", "127.0.0.1:0", "--drain-seconds", "2"]) as server:
        yield server


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    authority, certificate = tmp_path / "authority.pem", tmp_path / "certificate.pem"
    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(str(authority))
    issuer.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    tls = ["--certfile", str(certificate), "--keyfile", str(certificate)]
    with ServerProcess(["--bind", "127.0.0.1:0", "--drain-seconds", "2", *tls]) as server:
        yield Secured(server, authority)


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `ws` in it."""
    return npm_install(tmp_path_factory.mktemp("node"), "ws@8")


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_python_node_and_two_tabs_see_one_order_beside_an_event_stream(
    plain_server: ServerProcess, node_modules: Path, chromium: Browser, closing: ExitStack
) -> None:
    events = closing.enter_context(urlopen(f"{plain_server.url}/topics/beside/events", timeout=PATIENCE))
    python = python_talker(plain_server, closing)
    node = node_talker(plain_server, node_modules, closing)
    tabs = [tab_talker(f"tab-{number}", plain_server, chromium, closing) for number in range(2)]
    members = get(f"{plain_server.url}/rooms/mixed")["members"]
    assert sorted(member["name"] for member in members) == ["node", "python", "tab-0", "tab-1"]
    heard = talk([python, node], tabs)
    assert_one_order(heard)
    post(f"{plain_server.url}/topics/beside", "still flowing")
    assert next(line for line in events if line.startswith(b"data: ")) == b'data: "still flowing"\n'


def test_python_and_node_see_one_order_over_tls(
    secured: Secured, node_modules: Path, closing: ExitStack
) -> None:
    python = python_talker(secured.server, closing, secured.authority)
    node = node_talker(secured.server, node_modules, closing, secured.authority)
    assert_one_order(talk([python, node], []))


def python_talker(server: ServerProcess, closing: ExitStack, authority: Path | None = None) -> PythonTalker:
    trusting = ssl.create_default_context(cafile=str(authority)) if authority is not None else None
    socket = connect(
        room_url(server, "python"), subprotocols=[Subprotocol("sluiceway.v1.json")], ssl=trusting, proxy=None
    )
    closing.enter_context(socket)
    assert socket.subprotocol == "sluiceway.v1.json"
    assert json.loads(socket.recv(timeout=PATIENCE))["type"] == "welcome"
    return PythonTalker("python", socket)


def node_talker(
    server: ServerProcess, node_modules: Path, closing: ExitStack, authority: Path | None = None
) -> NodeTalker:
    trusting = {"NODE_EXTRA_CA_CERTS": str(authority)} if authority is not None else {}
    process = subprocess.Popen(
        ["node", str(NODE_CLIENT), room_url(server, "node")],
        env={**os.environ, "NODE_PATH": str(node_modules), **trusting},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    closing.enter_context(process)
    closing.callback(process.kill)
    # A frame that never comes ends the read for it.
    watchdog = threading.Timer(2 * PATIENCE, process.kill)
    watchdog.start()
    closing.callback(watchdog.cancel)
    talker = NodeTalker("node", process)
    talker.wait_welcome()
    return talker


def tab_talker(name: str, server: ServerProcess, chromium: Browser, closing: ExitStack) -> TabTalker:
    page = closing.enter_context(chromium.new_context()).new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(f"{server.url}/#demo")
    talker = TabTalker(name, page)
    talker.join("mixed")
    return talker


def talk(others: list[PythonTalker | NodeTalker], tabs: list[TabTalker]) -> list[list[str]]:
    """Let all speak at once, and return what each has heard.

    Tabs speak in this thread: Playwright asks for it.
    """
    talkers: list[Talker] = [*others, *tabs]
    total = LINES * len(talkers)
    with ThreadPoolExecutor(len(others)) as threads:
        saying = [threads.submit(talker.say, lines_of(talker)) for talker in others]
        for tab in tabs:
            tab.say(lines_of(tab))
        for done in saying:
            done.result(PATIENCE)
        hearing = [threads.submit(talker.hear, total) for talker in others]
        heard_by_tabs = [tab.hear(total) for tab in tabs]
        heard = [done.result(PATIENCE) for done in hearing] + heard_by_tabs
    for talker in talkers:
        assert [line for line in heard[0] if line.startswith(f"{talker.name} ")] == lines_of(talker)
    return heard


def assert_one_order(heard: list[list[str]]) -> None:
    assert all(one == heard[0] for one in heard)


def lines_of(talker: Talker) -> list[str]:
    return [f"{talker.name} says {number} wörds" for number in range(LINES)]


def room_url(server: ServerProcess, name: str) -> str:
    return f"{server.url.replace('http', 'ws', 1)}/rooms/mixed?name={name}"


def get(url: str) -> dict[str, Any]:
    with urlopen(url, timeout=PATIENCE) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def post(url: str, data: object) -> None:
    body = json.dumps({"data": data}).encode()
    with urlopen(Request(url, body, {"Content-Type": "application/json"}), timeout=PATIENCE) as answer:
        assert answer.status == 201
