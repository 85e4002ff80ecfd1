"""Many topics on one connection, what was missed, and emptying a topic: the client module and the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE_MS, Visit
from tests.clients.sockets import Api
from tests.support.process import ServerProcess

expect.set_options(timeout=PATIENCE_MS)

SUBSCRIBE = """async ([topics, options]) => {
    const { subscribe } = await import("/client/sluiceway.js");
    const seen = window.seen = { messages: [], gaps: [], states: [] };
    await new Promise((live) => {
        window.subscription = subscribe(topics, {
            ...options,
            onMessage: (message) => seen.messages.push(message),
            onGap: (gap) => seen.gaps.push(gap),
            onState: (state) => { seen.states.push(state); if (state === "live") live(); },
        });
    });
}"""


@pytest.fixture
def api(running_server: ServerProcess) -> Iterator[Api]:
    with Api(running_server.port) as api:
        yield api


def subscribe(page: Page, server: ServerProcess, topics: str | list[str], **options: object) -> None:
    page.goto(f"{server.url}/#quiet")
    page.evaluate(SUBSCRIBE, [topics, options])


def wait_messages(page: Page, count: int) -> list[tuple[Any, ...]]:
    """Topic, `seq` and data of the messages, once so many have come."""
    page.wait_for_function("count => window.seen.messages.length >= count", arg=count)
    messages = page.evaluate("window.seen.messages")
    return [(each["topic"], each["seq"], each["data"]) for each in messages]


def test_the_client_follows_several_topics_and_patterns(
    running_server: ServerProcess, api: Api, page: Page
) -> None:
    subscribe(page, running_server, ["many.a", "many.b.*"])
    api.publish("many.a", 1.0)
    api.publish("many.c", "not asked for")
    api.publish("many.b.new", {"n": [1, 2]})
    assert wait_messages(page, 2) == [("many.a", 1, "1.0"), ("many.b.new", 1, '{"n":[1,2]}')]
    assert page.evaluate("window.subscription.topics") == ["many.a", "many.b.*"]


def test_an_envelope_keeps_the_digits_of_numbers(running_server: ServerProcess, api: Api, page: Page) -> None:
    subscribe(page, running_server, "digits", envelope=True)
    api.publish("digits", 12345678901234567890)
    assert wait_messages(page, 1) == [("digits", 1, "12345678901234567890")]


def test_a_changed_set_goes_on_from_where_it_stood(
    running_server: ServerProcess, api: Api, page: Page
) -> None:
    api.publish("changed.b", "before the beginning")
    subscribe(page, running_server, "changed.a")
    api.publish("changed.a", "a1")
    wait_messages(page, 1)
    api.publish("changed.b", "b2")
    page.evaluate("window.subscription.setTopics(['changed.*'])")
    assert wait_messages(page, 2)[1:] == [("changed.b", 2, '"b2"')]
    api.publish("changed.a", "a2")
    assert wait_messages(page, 3)[2:] == [("changed.a", 2, '"a2"')]
    assert page.evaluate("window.seen.gaps") == []
    assert page.evaluate("window.subscription.state") == "live"


def test_a_set_that_changes_before_anything_came_is_a_gap_of_unknown_size(
    running_server: ServerProcess, page: Page
) -> None:
    """EventSource shows no id before the first event."""
    subscribe(page, running_server, "early.a")
    page.evaluate("window.subscription.setTopics(['early.b'])")
    gap = {"id": "", "reason": "unknown", "topics": [{"topic": "early.b", "missed": None}], "missed": None}
    assert page.evaluate("window.seen.gaps") == [gap]


def test_the_client_says_how_many_were_missed_where_that_is_known(
    running_server: ServerProcess, api: Api, page: Page
) -> None:
    (first, *_) = api.publish_batch("missed.a", range(3))
    api.publish_batch("missed.b", range(4))
    page.goto(f"{running_server.url}/#quiet")
    page.evaluate(
        """async () => {
            const { purge } = await import("/client/sluiceway.js");
            await purge("missed.b");
        }"""
    )
    api.publish("missed.b", "kept")
    page.evaluate(SUBSCRIBE, [["missed.a", "missed.b"], {"lastEventId": first}])
    assert wait_messages(page, 3) == [("missed.a", 2, "1"), ("missed.a", 3, "2"), ("missed.b", 5, '"kept"')]
    (gap,) = page.evaluate("window.seen.gaps")
    assert (gap["reason"], gap["missed"]) == ("purged", 4)
    assert gap["topics"] == [{"topic": "missed.b", "missed": 4}]
    page.evaluate("window.subscription.close()")
    page.evaluate(SUBSCRIBE, [["missed.a", "missed.b"], {"lastEventId": "elsewhere:1"}])
    page.wait_for_function("() => window.seen.gaps.length === 1")
    assert page.evaluate("window.seen.gaps[0].missed") is None


def test_the_client_reads_what_is_kept_page_by_page(
    running_server: ServerProcess, api: Api, page: Page
) -> None:
    ids = api.publish_batch("paged", range(5))
    page.goto(f"{running_server.url}/#quiet")
    found = page.evaluate(
        """async (after) => {
            const { readMessages } = await import("/client/sluiceway.js");
            const newest = await readMessages("paged", { limit: 2 });
            const first = await readMessages("paged", { after, limit: 2 });
            const second = await readMessages("paged", { after: first.next });
            const foreign = await readMessages("paged", { after: "elsewhere:1", limit: 1 });
            return [newest, first, second, foreign];
        }""",
        ids[0],
    )
    assert [[each["data"] for each in page["messages"]] for page in found] == [[3, 4], [1, 2], [3, 4], [0]]
    assert found[1]["next"] == ids[2]
    assert found[3]["gap"]["missed"] is None


def test_the_page_shows_several_topics_with_their_counts(
    running_server: ServerProcess, api: Api, visit: Visit
) -> None:
    page = visit.page
    page.goto(running_server.url)
    page.get_by_label("Topics", exact=True).fill("shown.*, clock, ")
    page.get_by_label("Topics", exact=True).press("Enter")
    expect(page.locator("#shown")).to_have_text("shown.*, clock")
    expect(page.locator("#curl-events")).to_contain_text("/events?topic=shown.*&topic=clock'")
    expect(page.locator("#state")).to_have_text("Live")
    api.publish("shown.eu", {"n": 1})
    api.publish("shown.eu", {"n": 2})
    row = page.locator(".message", has_text='{"n": 2}')
    expect(row.locator(".topic")).to_have_text("shown.eu")
    expect(row.locator(".seq")).to_have_text("#2")
    expect(page.locator(".message .topic", has_text="clock").first).to_be_visible()
    expect(page.get_by_role("button", name="Empty topic…")).to_be_hidden()
    page.reload()
    expect(page.locator("#shown")).to_have_text("shown.*, clock")
    assert visit.faults == []


def test_the_page_publishes_to_one_of_several(running_server: ServerProcess, page: Page) -> None:
    page.goto(f"{running_server.url}/#clock,several.*")
    expect(page.locator("#state")).to_have_text("Live")
    publish = page.get_by_role("button", name="Publish", exact=True)
    publish.click()
    expect(page.locator("#to-error")).to_contain_text("does not begin with a dot")
    page.get_by_label("To topic").fill("several.one")
    publish.click()
    expect(page.locator(".message .topic", has_text="several.one")).to_be_visible()
    expect(page.locator("#curl-publish")).to_contain_text("/topics/several.one'")


def test_the_page_empties_a_topic_once_it_is_confirmed_by_keyboard(
    running_server: ServerProcess, api: Api, visit: Visit
) -> None:
    page = visit.page
    page.goto(f"{running_server.url}/#emptied")
    expect(page.locator("#state")).to_have_text("Live")
    api.publish("emptied", 1)
    empty = page.get_by_role("button", name="Empty topic…")
    empty.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Empty emptied?")
    expect(dialog.get_by_role("button", name="Keep")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert api.publish("emptied", 2)
    assert _kept(page, "emptied") == [1, 2]
    expect(empty).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator(".gap")).to_contain_text("Nothing was missed. The topic was emptied.")
    assert _kept(page, "emptied") == []
    assert visit.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_several_topics_fit_on_a_narrow_screen(
    running_server: ServerProcess, api: Api, page: Page, scheme: Any
) -> None:
    name = "a-rather-long-name." * 6
    page.set_viewport_size({"width": 320, "height": 640})
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{running_server.url}/#{name},{name}*")
    expect(page.locator("#state")).to_have_text("Live")
    api.publish(name, {"unbroken": "w" * 500})
    expect(page.locator(".message").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    page.goto(f"{running_server.url}/#{name}")
    page.get_by_role("button", name="Empty topic…").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def _kept(page: Page, topic: str) -> list[Any]:
    text = page.evaluate("topic => fetch(`/topics/${topic}/messages`).then((answer) => answer.text())", topic)
    return [each["data"] for each in json.loads(text)["messages"]]
