"""Notifications in Chromium against the real server: toasts of what is published to `notifications`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import PATIENCE_MS, Visit
from tests.clients.sockets import Api, wait_until
from tests.support.process import ServerProcess

expect.set_options(timeout=PATIENCE_MS)

TOPIC = "notifications"
SHOW = """hidden => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
"""What a page is told when somebody turns to another tab, or back."""


@pytest.fixture
def api(running_server: ServerProcess) -> Iterator[Api]:
    with Api(running_server.port) as api:
        # Each test has the topic for itself: the page of the one before is gone.
        wait_until(lambda: _subscribers(api) == 0, "nobody listens")
        yield api


def _subscribers(api: Api) -> int:
    return api.subscribers().get(TOPIC, 0)


def _open(page: Page, server: ServerProcess, api: Api, path: str = "/#quiet") -> None:
    page.goto(f"{server.url}{path}")
    wait_until(lambda: _subscribers(api) == 1, "the page listens")


def _toasts(page: Page) -> Locator:
    return page.locator(".toast")


@pytest.mark.parametrize("path", ["/#quiet", "/#room=lobby", "/#dataset=cities", "/chat"])
def test_what_is_published_from_outside_is_shown_on_every_part(
    running_server: ServerProcess, api: Api, visit: Visit, path: str
) -> None:
    _open(visit.page, running_server, api, path)
    api.publish(TOPIC, {"title": "High water", "body": "91 %", "level": "warning"})
    region = visit.page.get_by_role("region", name="Notifications (F8)")
    expect(region.locator(".toast-title")).to_have_text("High water")
    expect(region.locator(".toast-body")).to_have_text("91 %")
    expect(region.locator(".toast-level")).to_have_text("Warning: ")
    status = region.get_by_role("status")
    expect(status).to_have_attribute("aria-live", "polite")
    expect(status).to_contain_text("High water")
    assert visit.faults == []


def test_data_of_any_kind_is_shown_as_text(running_server: ServerProcess, api: Api, page: Page) -> None:
    _open(page, running_server, api)
    shown = {
        "<b>x</b><img src=x onerror=alert(1)>": "<b>x</b><img src=x onerror=alert(1)>",
        "two\nlines": "two\nlines",
        12345678901234567890: "12345678901234567890",
    }
    for data in shown:
        api.publish(TOPIC, data)
    api.publish(TOPIC, {"title": 7, "level": "constructor"})
    texts = [*shown.values(), '{"title":7,"level":"constructor"}']
    expect(page.locator(".toast-body")).to_have_text(texts, use_inner_text=True)
    assert page.locator(".toast :is(b, img)").count() == 0
    assert page.locator(".toast[data-level=info]").count() == 4


def test_a_long_text_is_cut(running_server: ServerProcess, api: Api, page: Page) -> None:
    _open(page, running_server, api)
    api.publish(TOPIC, {"title": "t" * 5_000, "body": "🌊" * 5_000})
    expect(page.locator(".toast-title")).to_have_text("t" * 100 + "…")
    expect(page.locator(".toast-body")).to_have_text("🌊" * 300 + "…")


def test_of_many_the_newest_four_are_shown_and_the_others_counted(
    running_server: ServerProcess, api: Api, page: Page
) -> None:
    _open(page, running_server, api)
    api.publish_batch(TOPIC, range(500))
    expect(page.locator(".toasts-count")).to_have_text("and 496 more")
    expect(_toasts(page)).to_have_text([f"{number}×" for number in range(496, 500)])
    page.get_by_role("link", name="and 496 more").click()
    expect(page.locator("#shown")).to_have_text(TOPIC)
    page.get_by_role("button", name="Close all").click()
    expect(_toasts(page)).to_have_count(0)
    expect(page.locator(".toasts-more")).to_be_hidden()


def test_one_is_closed_with_its_button(running_server: ServerProcess, api: Api, page: Page) -> None:
    _open(page, running_server, api)
    api.publish_batch(TOPIC, ["first", "second"])
    first = _toasts(page).filter(has_text="first")
    first.get_by_role("button", name="Close this notification").click()
    expect(page.locator(".toast-body")).to_have_text(["second"])


def test_with_the_keyboard_alone(running_server: ServerProcess, api: Api, page: Page) -> None:
    _open(page, running_server, api)
    page.locator("#data").focus()
    api.publish_batch(TOPIC, ["first", "second", "third"])
    expect(_toasts(page)).to_have_count(3)
    page.keyboard.press("F8")
    expect(_toasts(page).nth(2).get_by_role("button")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Escape")
    expect(page.locator(".toast-body")).to_have_text(["first", "third"])
    expect(_toasts(page).nth(1).get_by_role("button")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(_toasts(page)).to_have_count(0)
    expect(page.locator("#data")).to_be_focused()


def test_the_one_with_the_focus_stays_while_others_come(
    running_server: ServerProcess, api: Api, page: Page
) -> None:
    _open(page, running_server, api)
    api.publish(TOPIC, "held")
    held = _toasts(page).get_by_role("button")
    held.focus()
    api.publish_batch(TOPIC, range(4))
    expect(page.locator(".toasts-count")).to_have_text("and 1 more")
    api.publish_batch(TOPIC, range(4, 8))
    expect(page.locator(".toasts-count")).to_have_text("and 5 more")
    expect(page.locator(".toast-body")).to_have_text(["held", "5", "6", "7"])
    expect(held.first).to_be_focused()


def test_each_goes_after_a_while_but_for_errors_and_what_is_held(
    running_server: ServerProcess, api: Api, page: Page
) -> None:
    page.clock.install()
    _open(page, running_server, api)
    api.publish_batch(TOPIC, ["goes", {"title": "stays", "level": "error"}])
    _wait_for_toasts(page, 2)
    page.clock.run_for(7_000)
    assert _toasts(page).count() == 2
    _toasts(page).first.hover()
    page.clock.run_for(20_000)
    assert _toasts(page).count() == 2
    page.mouse.move(0, 0)
    _toasts(page).last.get_by_role("button").focus()
    page.clock.run_for(20_000)
    assert _toasts(page).count() == 2
    page.locator("#data").focus()
    page.clock.run_for(3_000)
    expect(page.locator(".toast-title")).to_have_text(["stays"])
    expect(_toasts(page)).to_have_count(1)
    page.clock.run_for(60_000)
    expect(_toasts(page)).to_have_count(1)


def _wait_for_toasts(page: Page, count: int) -> None:
    """With a clock of the test's own, frames come when it is moved."""
    for _ in range(500):
        page.clock.run_for(20)
        if _toasts(page).count() == count:
            return
    raise AssertionError(f"{count} toasts did not come")


def test_a_page_that_nobody_sees_holds_no_connection_and_misses_nothing(
    running_server: ServerProcess, api: Api, visit: Visit
) -> None:
    page = visit.page
    _open(page, running_server, api)
    api.publish(TOPIC, "seen")
    expect(_toasts(page)).to_have_count(1)
    page.evaluate(SHOW, True)
    wait_until(lambda: _subscribers(api) == 0, "the page has let go")
    api.publish(TOPIC, "while away")
    page.evaluate(SHOW, False)
    expect(_toasts(page).filter(has_text="while away")).to_be_visible()
    api.publish(TOPIC, "back")
    expect(_toasts(page).filter(has_text="back")).to_be_visible()
    assert _subscribers(api) == 1
    assert visit.faults == []


def test_a_page_that_does_not_know_where_it_stands_keeps_its_connection(
    running_server: ServerProcess, api: Api, page: Page
) -> None:
    """It could not resume: what came meanwhile would be lost."""
    _open(page, running_server, api)
    page.evaluate(SHOW, True)
    api.publish(TOPIC, "while away")
    page.evaluate(SHOW, False)
    expect(_toasts(page).filter(has_text="while away")).to_be_visible()
    assert _subscribers(api) == 1


def test_what_was_missed_is_said(own_server: ServerProcess, page: Page) -> None:
    with Api(own_server.port) as api:
        _open(page, own_server, api)
        api.publish(TOPIC, "before")
        expect(_toasts(page)).to_have_count(1)
    own_server.restart()
    expect(page.locator(".toast[data-level=warning] .toast-title")).to_have_text(
        "An unknown number of messages was missed."
    )


def test_the_button_sends_what_the_command_shows(
    running_server: ServerProcess, api: Api, visit: Visit
) -> None:
    page = visit.page
    _open(page, running_server, api)
    command = page.locator("#curl-notify")
    expect(command).to_contain_text(
        '{"data": {"title": "It flows", "body": "The gate is open.", "level": "success"}}'
    )
    page.get_by_role("button", name="Send one").click()
    expect(page.locator(".toast[data-level=success] .toast-title")).to_have_text("It flows")
    expect(page.locator("#notify-result")).to_have_text("sent to 1 subscriber")
    expect(command).to_contain_text("High water")
    assert visit.faults == []


def test_a_page_of_ones_own_chooses_topics_and_times(
    running_server: ServerProcess, api: Api, page: Page
) -> None:
    page.goto(f"{running_server.url}/stats")
    page.evaluate(
        """async () => {
            const { showNotifications } = await import("/client/notifications.js");
            const topics = ["own.a", "own.b"];
            window.shown = showNotifications({ topics, events: ["alert"], most: 2, seconds: 60 });
        }"""
    )
    wait_until(lambda: {"own.a", "own.b"} <= api.subscribers().keys(), "the page listens")
    api.publish("own.a", "one")
    api.publish("own.b", {"title": "two"}, event="alert")
    api.publish("own.a", "three")
    expect(page.locator(".toasts")).to_contain_text("and 1 more")
    expect(_toasts(page)).to_have_text(["two×", "three×"])
    assert page.get_by_role("link").count() == 0
    page.evaluate("window.shown.close()")
    expect(page.locator(".toasts")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_toasts_overflow_nothing_at_320_pixels(
    running_server: ServerProcess, api: Api, page: Page, scheme: Any
) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    page.emulate_media(color_scheme=scheme)
    _open(page, running_server, api)
    api.publish_batch(TOPIC, [{"title": "T" * 200, "body": "w" * 500}, "\n".join("many lines"), *range(4)])
    expect(page.locator(".toasts-count")).to_have_text("and 2 more")
    api.publish_batch(TOPIC, [{"title": "T" * 200, "body": "w" * 500}] * 4)
    expect(page.locator(".toasts-count")).to_have_text("and 6 more")
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    box = page.locator(".toasts").bounding_box()
    assert box is not None
    assert box["x"] >= 0 and box["x"] + box["width"] <= 320
    assert box["y"] >= 0 and box["y"] + box["height"] <= 640
    parts = page.locator(".parts a").evaluate_all("links => links.map((link) => link.offsetTop)")
    assert len(parts) == 4 and len(set(parts)) == 1
