"""Three members of a room by three unmodified clients, behind a network that cuts each connection.

`python -m tests.clients.through_cuts --seconds 60` lets them speak for so long, and says what came of it.
The folder of Node's `ws` is taken from NODE_PATH.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol
from urllib.request import urlopen

import msgspec
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.conftest import launched_chromium
from tests.clients.resuming_member import Report
from tests.support.cutting_proxy import Cut, CuttingProxy, random_fates
from tests.support.process import ROOT, ServerProcess

HERE = Path(__file__).parent
PATIENCE = 240.0
"""Seconds after which a member that has not heard everything is given up: it is stuck."""
ROOM = "cut"
FLAGS = [
    *("--bind", "127.0.0.1:0", "--drain-seconds", "2", "--leave-grace", "600"),
    *("--room", "*:history=100000,history_seconds=3600"),
]
"""With a grace that no cut outlasts, so that nobody may seem to come or go."""


class Member(Protocol):
    """A client in the room."""

    name: str

    def say(self, lines: list[str], hear: int) -> None:
        """Have it say `lines`, and wait in all for `hear` messages."""

    def wait_report(self) -> Report:
        """Wait until it has."""


@dataclass
class ProgramMember:
    """A client that is a program of its own, and spoken with in lines."""

    name: str
    process: subprocess.Popen[str]

    def say(self, lines: list[str], hear: int) -> None:
        """See `Member`."""
        assert self.process.stdin is not None
        print(json.dumps({"say": lines, "hear": hear}), file=self.process.stdin, flush=True)

    def wait_report(self) -> Report:
        """See `Member`."""
        assert self.process.stdout is not None
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        try:
            line = self.process.stdout.readline()
        finally:
            watchdog.cancel()
        assert line, f"{self.name} has not heard everything"
        return msgspec.json.decode(line, type=Report)


@dataclass
class TabMember:
    """A client in a page of Chromium.  To be used in one thread."""

    name: str
    page: Page

    def say(self, lines: list[str], hear: int) -> None:
        """See `Member`."""
        self.page.evaluate(
            """([lines, hear]) => {
                window.reported = new Promise((resolve) => {
                    const { member } = window;
                    member.onChange = () => {
                        const { report } = member;
                        if (member.isDone && report.member && report.heard.length >= hear) resolve(report);
                    };
                    member.say(lines);
                    member.onChange();
                });
            }""",
            [lines, hear],
        )

    def wait_report(self) -> Report:
        """See `Member`."""
        found = self.page.evaluate(
            """(patience) => new Promise((resolve, reject) => {
                reported.then(resolve);
                setTimeout(() => reject(new Error("it has not heard everything")), patience);
            })""",
            PATIENCE * 1000,
        )
        return msgspec.convert(found, Report)


@dataclass(frozen=True)
class Outcome:
    """What became of one run: the room's messages by its own account, and what each member heard."""

    kept: list[tuple[str, str]]
    said: dict[str, list[str]]
    reports: dict[str, Report]
    member_count: int
    cuts: dict[Cut, int]
    seconds: float

    def assert_all_heard_the_same(self) -> None:
        """Nobody missed, doubled or reordered anything, or was told anything untrue."""
        for name, report in self.reports.items():
            assert report.faults == [], f"{name}: {report.faults}"
            assert report.heard == self.kept, f"{name} heard something else than was kept"
        for name, lines in self.said.items():
            own = [data for _, data in self.kept if data.startswith(f"{name} ")]
            assert own == lines, f"what {name} said is not in the room as it was said"
        assert len(self.kept) == sum(map(len, self.said.values()))
        assert self.member_count == len(self.reports)

    def __str__(self) -> str:
        cuts = ", ".join(f"{number} by {cut.name}" for cut, number in self.cuts.items())
        by_member = "; ".join(
            f"{name}: {report.connections} connections, {report.duplicates} acks of duplicates"
            for name, report in self.reports.items()
        )
        return f"{len(self.kept)} messages, cuts: {cuts}; {by_member}; {self.seconds:.0f} s"


def talk_through_cuts(
    seed: int, server: ServerProcess, members: list[Member], proxy: CuttingProxy, lines: int, seconds: float
) -> Outcome:
    """Let each of `members` say `lines` lines, over and over until `seconds` are over; at least once."""
    began = time.monotonic()
    random = Random(seed)
    said: dict[str, list[str]] = {member.name: [] for member in members}
    everybody(members, {}, hear=0)
    proxy.doom(random_fates(seed))
    total, reports = 0, {}
    while not total or time.monotonic() < began + seconds:
        new = {
            name: [
                f"{name} says {len(own) + number} {'wörds ' * random.randrange(40)}"
                for number in range(lines)
            ]
            for name, own in said.items()
        }
        for name, own in new.items():
            said[name] += own
        total += lines * len(members)
        reports = everybody(members, new, hear=total)
    return Outcome(
        kept=kept_messages(server),
        said=said,
        reports=reports,
        member_count=json.loads(fetch(f"{server.url}/rooms/{ROOM}"))["member_count"],
        cuts=proxy.cuts,
        seconds=time.monotonic() - began,
    )


def everybody(members: list[Member], new: dict[str, list[str]], hear: int) -> dict[str, Report]:
    """Let all speak at once, and wait until all have heard `hear` messages.

    Tabs are waited for in this thread: Playwright asks for it.
    """
    for member in members:
        member.say(new.get(member.name, []), hear)
    programs = [member for member in members if isinstance(member, ProgramMember)]
    with ThreadPoolExecutor(len(programs)) as threads:
        waiting = {member.name: threads.submit(member.wait_report) for member in programs}
        reports = {member.name: member.wait_report() for member in members if isinstance(member, TabMember)}
        return reports | {name: done.result() for name, done in waiting.items()}


def kept_messages(server: ServerProcess) -> list[tuple[str, str]]:
    """The room's scrollback, whole."""
    kept: list[tuple[str, str]] = []
    more = True
    while more:
        before = f"&before={kept[0][0]}" if kept else ""
        page = json.loads(fetch(f"{server.url}/rooms/{ROOM}/messages?limit=1000{before}"))
        kept[:0] = [(message["id"], message["data"]) for message in page["messages"]]
        more = page["next"] is not None
    return kept


def fetch(url: str) -> bytes:
    with urlopen(url, timeout=30) as answer:
        body: bytes = answer.read()
    return body


@contextmanager
def three_members(
    server: ServerProcess, port: int, chromium: Browser, node_modules: Path
) -> Iterator[list[Member]]:
    """One by the `websockets` package, one by Node's `ws`, one by Chromium's own WebSocket."""
    with ExitStack() as stack:
        yield [
            program(stack, "python", port, [sys.executable, "-m", "tests.clients.resuming_member"]),
            program(stack, "node", port, ["node", str(HERE / "resuming_member.cjs")], node_modules),
            tab(stack, "tab", port, server, chromium),
        ]


def program(
    stack: ExitStack, name: str, port: int, command: list[str], node_modules: Path | None = None
) -> ProgramMember:
    """A member by `command`, which is ended with the stack."""
    process = subprocess.Popen(
        [*command, room_url(name, port)],
        cwd=ROOT,
        env={**os.environ, "NODE_PATH": str(node_modules)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.enter_context(process)
    stack.callback(process.kill)
    return ProgramMember(name, process)


def tab(stack: ExitStack, name: str, port: int, server: ServerProcess, chromium: Browser) -> TabMember:
    """A member in a page of its own: one of the server's that has no modules and no policy."""
    page = stack.enter_context(chromium.new_context()).new_page()
    page.goto(f"{server.url}/health/live")
    page.add_script_tag(path=HERE / "resuming_member.js")
    page.evaluate(
        """(url) => {
            const options = { newRef: () => crypto.randomUUID(), pause: () => Math.random() * 100 };
            window.member = new ResumingMember(WebSocket, url, options);
        }""",
        room_url(name, port),
    )
    return TabMember(name, page)


def room_url(name: str, port: int) -> str:
    return f"ws://127.0.0.1:{port}/rooms/{ROOM}?name={name}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.clients.through_cuts", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the cuts (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default: %(default)s)")
    parser.add_argument(
        "--lines", type=int, default=100, help="of each, again and again (default: %(default)s)"
    )
    options = parser.parse_args()
    node_modules = Path(os.environ.get("NODE_PATH", "node_modules"))
    with (
        ServerProcess(FLAGS) as server,
        CuttingProxy(server.port) as proxy,
        sync_playwright() as playwright,
        launched_chromium(playwright) as chromium,
        three_members(server, proxy.port, chromium, node_modules) as members,
    ):
        outcome = talk_through_cuts(options.seed, server, members, proxy, options.lines, options.seconds)
        print(f"seed {options.seed}: {outcome}")
        outcome.assert_all_heard_the_same()


if __name__ == "__main__":
    main()
