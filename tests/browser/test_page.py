"""The page at `/` and the client module under it, in Chromium against the real server."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import PATIENCE_MS, Visit
from tests.support.process import ServerProcess

STRICT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

expect.set_options(timeout=PATIENCE_MS)


def test_the_page_shows_the_clock_ticking(running_server: ServerProcess, page: Page) -> None:
    page.goto(running_server.url)
    expect(page.locator("#state")).to_have_text("Live")
    expect(page.locator(".message .event", has_text="time").nth(1)).to_be_visible()
    newest, older = page.locator(".message .data").all_text_contents()[:2]
    assert json.loads(newest)["time"] > json.loads(older)["time"]


def test_an_event_published_by_curl_reaches_eventsource(running_server: ServerProcess, page: Page) -> None:
    url = f"{running_server.url}/topics/by-curl"
    page.goto(running_server.url)
    page.evaluate(
        """url => new Promise((opened) => {
            const source = new EventSource(url);
            window.received = new Promise((resolve) => source.addEventListener("greeting", (event) =>
                resolve({ data: event.data, id: event.lastEventId })));
            source.onopen = opened;
        })""",
        f"{url}/events",
    )
    body = json.dumps({"data": {"hello": "wörld"}, "event": "greeting"})
    published = _curl("-H", "Content-Type: application/json", "--data-raw", body, url)
    received = page.evaluate("window.received")
    assert json.loads(received["data"]) == {"hello": "wörld"}
    assert received["id"] == published["id"]
    assert published["subscribers"] == 1


def test_published_markup_is_shown_as_text(running_server: ServerProcess, page: Page) -> None:
    _open_topic(page, running_server, "markup")
    _publish(running_server, "markup", "<b>x</b>")
    expect(page.locator(".message .data")).to_have_text('"<b>x</b>"')
    assert page.locator(".message b").count() == 0


def test_numbers_are_shown_as_they_were_published(running_server: ServerProcess, page: Page) -> None:
    _open_topic(page, running_server, "numbers")
    page.get_by_label("Data", exact=True).fill('{"many": 12345678901234567890}')
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.locator(".message .data")).to_contain_text("12345678901234567890")


def test_after_a_restart_the_page_resumes_and_shows_the_gap(own_server: ServerProcess, page: Page) -> None:
    _open_topic(page, own_server, "restarted")
    _publish(own_server, "restarted", "before")
    expect(page.locator(".message .data").first).to_have_text('"before"')
    own_server.restart()
    expect(page.locator(".gap")).to_contain_text("gap: epoch")
    _publish(own_server, "restarted", "after")
    expect(page.locator(".message .data").first).to_have_text('"after"')
    expect(page.locator("#state")).to_have_text("Live")


def test_the_client_comes_back_after_a_proxys_502(running_server: ServerProcess, page: Page) -> None:
    """EventSource alone gives up there for good."""
    refused: list[str] = []

    def refuse_once(route: Route) -> None:
        if refused:
            route.continue_()
        else:
            refused.append(route.request.url)
            route.fulfill(status=502, content_type="text/html", body="Bad gateway")

    page.route("**/topics/behind-a-proxy/events*", refuse_once)
    page.goto(f"{running_server.url}/#behind-a-proxy")
    expect(page.locator("#state")).to_have_text("Reconnecting")
    expect(page.locator("#state")).to_have_text("Live")
    _publish(running_server, "behind-a-proxy", "through")
    expect(page.locator(".message .data")).to_have_text('"through"')


def test_a_refused_subscription_says_why_and_stays_closed(running_server: ServerProcess, page: Page) -> None:
    problem = {"status": 403, "title": "Not allowed", "code": "forbidden", "detail": "Not with this token."}
    page.route(
        "**/topics/forbidden/events*",
        lambda route: route.fulfill(
            status=403, content_type="application/problem+json", body=json.dumps(problem)
        ),
    )
    page.goto(f"{running_server.url}/#forbidden")
    expect(page.locator("#state")).to_have_text("Closed")
    expect(page.locator("#closed-why")).to_contain_text("Not allowed. Not with this token.")


def test_the_publish_form_shows_the_id(running_server: ServerProcess, page: Page) -> None:
    _open_topic(page, running_server, "form")
    expect(page.locator("#empty")).to_have_text("No message yet. Publish one below.")
    page.get_by_label("Event name optional", exact=True).fill("placed")
    page.get_by_role("button", name="Publish", exact=True).click()
    result = page.locator("#publish-result")
    expect(result).to_have_text(re.compile(r"^published \S+ to 1 subscriber$"))
    expect(page.locator(".message .event")).to_have_text("placed")
    expect(page.locator(".message .id")).to_have_text((result.text_content() or "").split()[1])


def test_plain_text_is_published_whole(running_server: ServerProcess, page: Page) -> None:
    _open_topic(page, running_server, "plain")
    page.get_by_text("Plain text", exact=True).click()
    page.get_by_label("Data", exact=True).fill("two lines,\nnot JSON")
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.locator(".message .data")).to_have_text("two lines,\nnot JSON", use_inner_text=True)


def test_the_shown_curl_command_publishes_the_draft(running_server: ServerProcess, page: Page) -> None:
    _open_topic(page, running_server, "shown-command")
    page.get_by_label("Data", exact=True).fill('{"quote": "it\'s $HOME"}')
    command = page.locator("#curl-publish").text_content() or ""
    subprocess.run(["sh", "-c", command], check=True, capture_output=True, timeout=10)
    expect(page.locator(".message .data")).to_have_text('{"quote": "it\'s $HOME"}')


@pytest.mark.parametrize("name", ["two words", ".hidden", "a/b", "x" * 129])
def test_a_bad_name_shows_the_problem(running_server: ServerProcess, page: Page, name: str) -> None:
    page.goto(running_server.url)
    page.get_by_label("Topics", exact=True).fill(name)
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#topic-error")).to_contain_text("does not begin with a dot")
    expect(page.locator("#shown")).to_have_text("clock")


def test_the_client_raises_the_servers_problem(running_server: ServerProcess, page: Page) -> None:
    page.goto(running_server.url)
    problem = page.evaluate(
        """async () => {
            const { publish, ProblemError } = await import("/client/sluiceway.js");
            const error = await publish(".hidden", 1).catch((error) => error);
            return { ours: error instanceof ProblemError, status: error.status, code: error.code };
        }"""
    )
    assert problem == {"ours": True, "status": 400, "code": "name_invalid"}


def test_the_client_publishes_once_under_one_key(running_server: ServerProcess, page: Page) -> None:
    page.goto(f"{running_server.url}/")
    ids = page.evaluate(
        """async () => {
            const { publish } = await import("/client/sluiceway.js");
            const once = () => publish("keyed", 1, { idempotencyKey: "one" });
            return [(await once()).id, (await once()).id, (await publish("keyed", 1)).id];
        }"""
    )
    assert ids[0] == ids[1] != ids[2]


def test_a_fault_is_shown_beside_its_field(running_server: ServerProcess, page: Page) -> None:
    _open_topic(page, running_server, "faults")
    page.get_by_label("Event name optional", exact=True).fill("gap")
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.locator("#event-error")).not_to_be_empty()
    expect(page.locator("#publish-result")).to_have_attribute("data-outcome", "failed")


def test_a_topic_of_the_servers_own_takes_no_messages(running_server: ServerProcess, page: Page) -> None:
    page.goto(running_server.url)
    expect(page.get_by_role("button", name="Publish", exact=True)).to_be_disabled()
    expect(page.locator("#publish-refused")).to_contain_text("clock is the server’s own topic")
    page.get_by_role("link", name="Open demo").click()
    expect(page.get_by_role("button", name="Publish", exact=True)).to_be_enabled()


def test_a_reload_keeps_the_topic(running_server: ServerProcess, page: Page) -> None:
    page.goto(running_server.url)
    page.get_by_label("Topics", exact=True).fill("kept")
    page.get_by_label("Topics", exact=True).press("Enter")
    expect(page.locator("#shown")).to_have_text("kept")
    page.reload()
    expect(page.locator("#shown")).to_have_text("kept")
    expect(page.get_by_label("Topics", exact=True)).to_have_value("kept")


def test_a_paused_list_holds_messages_back(running_server: ServerProcess, page: Page) -> None:
    _open_topic(page, running_server, "paused")
    page.get_by_role("button", name="Pause").click()
    _publish(running_server, "paused", 1)
    resume = page.get_by_role("button", name="Resume (1)")
    expect(resume).to_be_visible()
    expect(page.locator(".message")).to_have_count(0)
    resume.click()
    expect(page.locator(".message")).to_have_count(1)


def test_the_list_keeps_the_newest_two_hundred(running_server: ServerProcess, page: Page) -> None:
    _open_topic(page, running_server, "many")
    for number in range(210):
        _publish(running_server, "many", number)
    expect(page.locator(".message .data").first).to_have_text("209")
    expect(page.locator(".message")).to_have_count(200)
    expect(page.locator("#tally")).to_have_text("210 messages received.")


def test_the_page_needs_nothing_a_strict_policy_forbids(running_server: ServerProcess, visit: Visit) -> None:
    def add_policy(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": STRICT_POLICY})

    visit.page.route(f"{running_server.url}/", add_policy)
    visit.page.goto(running_server.url)
    expect(visit.page.locator(".message").first).to_be_visible()
    assert visit.faults == []
    assert [url for url in visit.requests if not url.startswith(f"{running_server.url}/")] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_at_320_pixels(running_server: ServerProcess, page: Page, scheme: Any) -> None:
    topic = "a-rather-long-name." * 6
    page.set_viewport_size({"width": 320, "height": 640})
    page.emulate_media(color_scheme=scheme)
    _open_topic(page, running_server, topic)
    _publish(running_server, topic, {"unbroken": "w" * 500})
    expect(page.locator(".message").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def _open_topic(page: Page, server: ServerProcess, topic: str) -> None:
    page.goto(f"{server.url}/#{topic}")
    expect(page.locator("#state")).to_have_text("Live")


def _publish(server: ServerProcess, topic: str, data: object) -> None:
    body = json.dumps({"data": data}).encode()
    request = Request(f"{server.url}/topics/{topic}", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=10) as answer:
        assert answer.status == 201


def _curl(*arguments: str) -> dict[str, Any]:
    command = ["curl", "--silent", "--show-error", "--fail", "--max-time", "10", *arguments]
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return answer
