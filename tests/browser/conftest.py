"""What the browser tests share: a real server, a real Chromium, and a page that remembers its faults."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Playwright, sync_playwright

from tests.support.process import ServerProcess

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync")
PATIENCE_MS = 15_000


@dataclass
class Visit:
    """A page, with the faults its console reported and the addresses it asked for."""

    page: Page
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def running_server() -> Iterator[ServerProcess]:
    # Streams end spread over the drain time, and the pages here hold some.
    flags = ["--bind", "127.0.0.1:0", "--room", "counted.*:presence=count"]
    with ServerProcess(flags, env={"SLUICEWAY_DRAIN_SECONDS": "2"}) as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[ServerProcess]:
    """For a test that restarts it: a restart leaves other descriptors open than there were."""
    with ServerProcess(["--bind", "127.0.0.1:0"], env={"SLUICEWAY_DRAIN_SECONDS": "2"}) as server:
        yield server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    # A module and no longer: Playwright's sync interface keeps an event loop in this thread, which the Trio
    # tests of other modules should not meet.
    with sync_playwright() as playwright:
        with launched_chromium(playwright) as browser:
            yield browser


def launched_chromium(playwright: Playwright) -> Browser:
    """A Chromium, to be closed with `with`; skips the test where there is none."""
    return playwright.chromium.launch(executable_path=_find_chromium(playwright), args=QUIET)


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Visit]:
    with chromium.new_context(reduced_motion="reduce") as context:
        context.set_default_timeout(PATIENCE_MS)
        visit = Visit(context.new_page())

        def note_console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                visit.faults.append(message.text)

        def note_error(error: Error) -> None:
            visit.faults.append(error.message)

        visit.page.on("console", note_console)
        visit.page.on("pageerror", note_error)
        visit.page.on("request", lambda request: visit.requests.append(request.url))
        yield visit


@pytest.fixture
def page(visit: Visit) -> Page:
    return visit.page


def _find_chromium(playwright: Playwright) -> str:
    own = playwright.chromium.executable_path
    found = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), own if Path(own).exists() else None)
    if found is None:
        pytest.skip("the browser tests need Chromium: install it, or run `playwright install chromium`")
    return found
