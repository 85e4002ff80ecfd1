"""The page at `/chat` in Chromium against the real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Page, Route, expect
from playwright.sync_api import Request as PageRequest

from tests.browser.conftest import PATIENCE_MS, Visit
from tests.browser.scripted import SECRET
from tests.browser.test_page import STRICT_POLICY
from tests.support.process import ServerProcess

expect.set_options(timeout=PATIENCE_MS)

ARGUMENTS = ["--bind", "127.0.0.1:0", "--provider", "tests.browser.scripted:answer"]


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a file lets answers go on."""
    return tmp_path_factory.mktemp("gates")


@pytest.fixture(scope="module")
def server(gates: Path) -> Iterator[ServerProcess]:
    with ServerProcess(ARGUMENTS, env={"GATES": str(gates), "SLUICEWAY_DRAIN_SECONDS": "2"}) as server:
        yield server


@pytest.fixture
def own_server(gates: Path) -> Iterator[ServerProcess]:
    with ServerProcess(ARGUMENTS, env={"GATES": str(gates), "SLUICEWAY_DRAIN_SECONDS": "2"}) as server:
        yield server


@pytest.fixture
def other(page: Page) -> Page:
    """A second tab."""
    return page.context.new_page()


def test_an_answer_comes_piece_by_piece(server: ServerProcess, visit: Visit, gates: Path) -> None:
    page = visit.page
    _open(page, server)
    expect(page.locator("#chat-empty")).to_be_visible()
    _ask(page, "one two GATE:pieces three")
    expect(_answer(page)).to_have_text("one two")
    expect(page.locator("#chat-state")).to_have_text("Answering")
    expect(page.locator(".answer")).to_have_attribute("aria-busy", "true")
    (gates / "pieces").touch()
    expect(_answer(page)).to_have_text("one two three")
    expect(page.locator("#chat-state")).to_have_text("Answered")
    expect(page.locator(".answer")).to_have_attribute("aria-busy", "false")
    assert visit.faults == []


def test_white_space_markup_and_unicode_are_kept(server: ServerProcess, page: Page) -> None:
    _open(page, server)
    said = "a  b\n\n\tindented <b>x</b> & 日本語 🌊👩‍👩‍👧 é עברית\u2028end"
    _ask(page, said)
    expect(page.locator("#chat-state")).to_have_text("Answered")
    assert page.locator(".said .text").all_text_contents() == [said, said]
    assert _answer(page).evaluate("element => getComputedStyle(element).whiteSpace") == "pre-wrap"
    assert page.locator("#turns b").count() == 0


def test_a_long_answer_comes_whole_and_the_list_follows(server: ServerProcess, page: Page) -> None:
    _open(page, server)
    said = " ".join(f"word-{number}" for number in range(3000))
    _ask(page, said)
    expect(page.locator("#chat-state")).to_have_text("Answered")
    assert _answer(page).text_content() == said
    to_go = page.locator("#chat-scroller").evaluate("e => e.scrollHeight - e.scrollTop - e.clientHeight")
    assert to_go < 2


@pytest.mark.parametrize("how", ["button", "escape"])
def test_stop_ends_it_on_the_server(server: ServerProcess, page: Page, how: str) -> None:
    _open(page, server)
    _ask(page, "one GATE:never two")
    expect(_answer(page)).to_have_text("one")
    expect(page.get_by_label("Question", exact=True)).to_be_focused()
    if how == "button":
        page.get_by_role("button", name="Stop", exact=True).click()
    else:
        page.keyboard.press("Escape")
    expect(page.locator("#chat-state")).to_have_text("Stopped")
    expect(page.locator(".answer .end")).to_have_text("Stopped.")
    assert _stand(page, server)["state"] == "stopped"
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()
    expect(page.get_by_label("Question", exact=True)).to_be_focused()


def test_a_reload_in_mid_answer_goes_on(server: ServerProcess, visit: Visit, gates: Path) -> None:
    page = visit.page
    _open(page, server)
    question = "one two GATE:reload three"
    _ask(page, question)
    expect(_answer(page)).to_have_text("one two")
    address = page.url
    page.get_by_label("Question", exact=True).fill("a draft")
    visit.requests.clear()
    page.reload()
    expect(page.locator("#chat-state")).to_have_text("Answering")
    expect(_answer(page)).to_have_text("one two")
    expect(page.locator(".said.own .text")).to_have_text(question)
    expect(page.get_by_label("Question", exact=True)).to_have_value("a draft")
    assert page.url == address
    (gates / "reload").touch()
    expect(_answer(page)).to_have_text("one two three")
    expect(page.locator("#chat-state")).to_have_text("Answered")
    assert f"{server.url}/generations" not in visit.requests
    page.reload()
    expect(_answer(page)).to_have_text("one two three")
    assert visit.faults == []


def test_a_reload_before_the_server_has_answered_asks_only_once(server: ServerProcess, page: Page) -> None:
    started: list[str] = []

    def answer_nobody(route: Route) -> None:
        if started:
            return route.continue_()
        headers = {name: route.request.headers[name] for name in ("content-type", "idempotency-key")}
        request = Request(f"{server.url}/generations", route.request.post_data_buffer, headers)
        with urlopen(request, timeout=10) as answer:
            started.append(answer.headers["Location"].rpartition("/")[2])
        return None

    page.route(f"{server.url}/generations", answer_nobody)
    _open(page, server)
    _ask(page, "once GATE:never")
    expect(page.locator("#chat-state")).to_have_text("Asking")
    page.reload()
    expect(_answer(page)).to_have_text("once")
    assert page.url.endswith(f"#generation={started[0]}")
    page.keyboard.press("Escape")
    expect(page.locator("#chat-state")).to_have_text("Stopped")


def test_two_tabs_watch_the_same_answer(server: ServerProcess, page: Page, other: Page, gates: Path) -> None:
    _open(page, server)
    _ask(page, "one GATE:tabs-1 two GATE:never three")
    expect(_answer(page)).to_have_text("one")
    other.goto(page.url)
    expect(_answer(other)).to_have_text("one")
    expect(other.locator(".answer .tag")).to_have_text("asked for elsewhere")
    (gates / "tabs-1").touch()
    for tab in (page, other):
        expect(_answer(tab)).to_have_text("one two")
    other.get_by_role("button", name="Stop", exact=True).click()
    for tab in (page, other):
        expect(tab.locator("#chat-state")).to_have_text("Stopped")
        expect(_answer(tab)).to_have_text("one two")
    # Whoever comes afterwards gets the same.
    other.reload()
    expect(_answer(other)).to_have_text("one two")


def test_what_was_said_before_is_sent_along(server: ServerProcess, page: Page) -> None:
    bodies: list[Any] = []

    def note_body(request: PageRequest) -> None:
        if request.post_data is not None:
            bodies.append(json.loads(request.post_data))

    page.on("request", note_body)
    _open(page, server)
    for question in ("first", "second"):
        _ask(page, question)
        expect(page.locator("#chat-state")).to_have_text("Answered")
        expect(_answer(page)).to_have_text(question)
    assert bodies[1]["messages"] == [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "first"},
        {"role": "user", "content": "second"},
    ]
    page.get_by_role("button", name="New chat").click()
    expect(page.locator("#chat-empty")).to_be_visible()
    assert page.url == f"{server.url}/chat"
    page.reload()
    expect(page.locator("#chat-empty")).to_be_visible()


def test_keys(server: ServerProcess, page: Page) -> None:
    _open(page, server)
    text = page.get_by_label("Question", exact=True)
    send = page.get_by_role("button", name="Send", exact=True)
    expect(send).to_be_disabled()
    text.press("Enter")
    text.fill("  ")
    text.press("Enter")
    expect(page.locator(".said")).to_have_count(0)
    text.fill("one")
    text.press("Shift+Enter")
    text.press_sequentially("two GATE:never")
    expect(text).to_have_value("one\ntwo GATE:never")
    text.press("Enter")
    expect(text).to_have_value("")
    # While it answers, Enter keeps what is written for later.
    text.fill("later")
    text.press("Enter")
    expect(text).to_have_value("later")
    expect(page.locator(".said")).to_have_count(2)
    text.press("Escape")
    expect(page.locator("#chat-state")).to_have_text("Stopped")
    expect(text).to_have_value("later")


def test_after_a_crash_the_page_says_so_and_asks_again(own_server: ServerProcess, page: Page) -> None:
    _open(page, own_server)
    _ask(page, "one GATE:never two")
    expect(_answer(page)).to_have_text("one")
    own_server.kill()
    expect(page.locator("#chat-state")).to_have_text("Reconnecting")
    own_server.restart()
    expect(page.locator(".answer .end")).to_contain_text("perhaps it was restarted")
    expect(page.locator("#chat-state")).to_have_text("Failed")
    expect(_answer(page)).to_have_text("one")
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator("#chat-state")).to_have_text("Answering")
    expect(_answer(page)).to_have_text("one")
    expect(page.locator(".said")).to_have_count(2)


def test_a_shutdown_in_mid_answer_is_said(own_server: ServerProcess, page: Page) -> None:
    _open(page, own_server)
    _ask(page, "one GATE:never two")
    expect(_answer(page)).to_have_text("one")
    own_server.terminate()
    expect(page.locator(".answer .end")).to_have_text("The server is shutting down, and ended it.")
    expect(_answer(page)).to_have_text("one")
    # What is asked of a server that is away is asked again when it is back.
    page.get_by_label("Question", exact=True).fill("two")
    page.get_by_label("Question", exact=True).press("Enter")
    expect(page.locator("#chat-state")).to_have_text("Reconnecting")
    own_server.restart()
    expect(page.locator("#chat-state")).to_have_text("Answered", timeout=60_000)
    expect(_answer(page)).to_have_text("two")


def test_a_provider_that_fails_is_said_in_the_servers_words(server: ServerProcess, page: Page) -> None:
    _open(page, server)
    _ask(page, "one BREAK")
    expect(page.locator("#chat-state")).to_have_text("Failed")
    expect(_answer(page)).to_have_text("one")
    expect(page.locator(".answer .end")).to_have_text("The model's provider failed.")
    assert SECRET not in page.content()
    _ask(page, "fine")
    expect(page.locator("#chat-state")).to_have_text("Answered")
    expect(_answer(page)).to_have_text("fine")


def test_a_question_too_large_is_given_back(server: ServerProcess, page: Page) -> None:
    _open(page, server)
    long = "w" * 300_000
    _ask(page, long)
    expect(page.locator("#ask-error")).to_have_text(
        "All messages together may have 262144 bytes. A new chat begins with less."
    )
    expect(page.get_by_label("Question", exact=True)).to_have_value(long)
    expect(page.locator(".said")).to_have_count(0)
    expect(page.locator("#chat-state")).to_have_text("Refused")


def test_a_full_server_gives_the_question_back(gates: Path, page: Page, other: Page) -> None:
    full = [*ARGUMENTS, "--max-generations", "1", "--generation-queue", "0"]
    with ServerProcess(full, env={"GATES": str(gates), "SLUICEWAY_DRAIN_SECONDS": "1"}) as server:
        _open(page, server)
        _ask(page, "one GATE:never")
        expect(_answer(page)).to_have_text("one")
        _open(other, server)
        _ask(other, "me too")
        expect(other.locator("#ask-error")).to_contain_text("As many generations run and wait")
        expect(other.get_by_label("Question", exact=True)).to_have_value("me too")


def test_an_address_that_leads_nowhere_says_so(server: ServerProcess, page: Page) -> None:
    page.goto(f"{server.url}/chat#generation=nowhere")
    expect(page.locator(".answer .end")).to_contain_text("does not know this answer")
    _ask(page, "fine")
    expect(_answer(page)).to_have_text("fine")


def test_the_pages_link_to_each_other(server: ServerProcess, page: Page) -> None:
    page.goto(server.url)
    page.get_by_role("link", name="Chat", exact=True).click()
    expect(page.get_by_role("heading", name="Chat", exact=True)).to_be_visible()
    page.get_by_role("link", name="Rooms", exact=True).click()
    expect(page.locator("#room-shown")).to_have_text("lobby")


def test_the_page_needs_nothing_a_strict_policy_forbids(server: ServerProcess, visit: Visit) -> None:
    def add_policy(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": STRICT_POLICY})

    visit.page.route(f"{server.url}/chat", add_policy)
    _open(visit.page, server)
    _ask(visit.page, "fine")
    expect(visit.page.locator("#chat-state")).to_have_text("Answered")
    assert visit.faults == []
    assert [url for url in visit.requests if not url.startswith(f"{server.url}/")] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_at_320_pixels(server: ServerProcess, page: Page, scheme: Any) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    page.emulate_media(color_scheme=scheme)
    _open(page, server)
    _ask(page, "w" * 500)
    expect(page.locator("#chat-state")).to_have_text("Answered")
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def _open(page: Page, server: ServerProcess) -> None:
    page.goto(f"{server.url}/chat")
    expect(page.locator("#chat-state")).to_have_text("Ready")


def _ask(page: Page, question: str) -> None:
    page.get_by_label("Question", exact=True).fill(question)
    page.get_by_label("Question", exact=True).press("Enter")


def _answer(page: Page) -> Any:
    return page.locator(".answer .text").last


def _stand(page: Page, server: ServerProcess) -> dict[str, Any]:
    name = page.url.partition("#generation=")[2]
    with urlopen(f"{server.url}/generations/{name}", timeout=10) as answer:
        stand: dict[str, Any] = json.load(answer)
    return stand
