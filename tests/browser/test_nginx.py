"""An unmodified EventSource in Chromium, and the page's rooms, behind a real nginx (docs/how-to/nginx.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PATIENCE_MS
from tests.clients.sockets import Api
from tests.support.nginx import Nginx, blocks, replaced
from tests.support.process import ServerProcess

expect.set_options(timeout=PATIENCE_MS)

LISTEN = """url => {
    const seen = window.seen = [];
    const source = new EventSource(url);
    for (const type of ["open", "message", "gap", "closing", "error"]) {
        source.addEventListener(type, (event) => seen.push(
            { type, id: event.lastEventId, data: event.data ?? null, closed: source.readyState === 2 }));
    }
}"""


@pytest.fixture
def nginx(own_server: ServerProcess, tmp_path: Path) -> Iterator[Nginx]:
    with Nginx(tmp_path, own_server.port) as nginx:
        yield nginx


def test_after_a_drain_and_a_restart_eventsource_is_back(
    own_server: ServerProcess, nginx: Nginx, page: Page
) -> None:
    listen(page, nginx, [1, 2])
    own_server.terminate()
    wait_seen(page, "closing", 1)
    # Whether it comes back before the server does is chance; then nginx says the same.
    own_server.restart()
    assert_back_with_a_gap(page, nginx, [1, 2])


def test_after_a_restart_eventsource_is_back(own_server: ServerProcess, nginx: Nginx, page: Page) -> None:
    listen(page, nginx, [1, 2])
    own_server.restart()
    assert_back_with_a_gap(page, nginx, [1, 2])


def test_eventsource_outlasts_a_crash(own_server: ServerProcess, nginx: Nginx, page: Page) -> None:
    listen(page, nginx, [1, 2])
    own_server.kill()
    # Two attempts while the server is away, each answered by nginx.
    wait_seen(page, "closing", 2)
    own_server.restart()
    assert_back_with_a_gap(page, nginx, [1, 2])


def test_after_a_restart_of_nginx_eventsource_has_missed_nothing(
    own_server: ServerProcess, nginx: Nginx, page: Page
) -> None:
    listen(page, nginx, [1, 2])
    nginx.stop()
    publish(own_server.port, 3)
    nginx.start()
    wait_seen(page, "message", 3)
    publish(own_server.port, 4)
    wait_seen(page, "message", 4)
    assert data_of(page) == [1, 2, 3, 4]
    assert not of_type(page, "gap")
    assert not any(event["closed"] for event in seen(page))


def test_a_room_is_joined_again_after_a_restart(own_server: ServerProcess, nginx: Nginx, page: Page) -> None:
    page.goto(f"{nginx.url}/#room=lobby")
    page.get_by_label("Your name", exact=True).fill("Ada")
    page.get_by_label("Your name", exact=True).press("Enter")
    expect(page.locator("#room-state")).to_have_text("Live")
    own_server.terminate()
    expect(page.locator("#said .closing")).to_contain_text("The server is shutting down.")
    expect(page.locator("#room-state")).to_have_text("Reconnecting")
    own_server.restart()
    expect(page.locator("#room-state")).to_have_text("Live")
    page.get_by_label("Message", exact=True).fill("we are back")
    page.get_by_label("Message", exact=True).press("Enter")
    expect(page.locator(".said .text")).to_have_text("we are back")


def test_over_http_2_a_page_has_more_streams_than_six_and_may_publish(
    own_server: ServerProcess, tmp_path: Path, chromium: Browser
) -> None:
    authority = trustme.CA()
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(key))
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    site = replaced(blocks()[0], "    listen 80;\n", blocks()[2])
    site = replaced(
        replaced(site, "/etc/nginx/app.example.pem", str(certificate)), "/etc/nginx/app.example.key", str(key)
    )
    with (
        Nginx(tmp_path, own_server.port, site, scheme="https") as nginx,
        chromium.new_context(ignore_https_errors=True) as context,
    ):
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{nginx.url}/health/live")
        page.evaluate(
            """() => {
                window.opened = 0;
                for (let number = 0; number < 12; number++) {
                    new EventSource(`/topics/topic-${number}/events`).onopen = () => window.opened++;
                }
            }"""
        )
        page.wait_for_function("() => window.opened === 12")
        status = page.evaluate(
            """async () => (await fetch("/topics/topic-0", {
                method: "POST", body: "x", headers: { "Content-Type": "text/plain" },
            })).status"""
        )
        assert status == 201


def listen(page: Page, nginx: Nginx, numbers: list[int]) -> None:
    """Open the EventSource that the test is about, and let it have `numbers`."""
    page.goto(f"{nginx.url}/health/live")
    page.evaluate(LISTEN, f"{nginx.url}/topics/news/events")
    wait_seen(page, "open", 1)
    for number in numbers:
        publish(nginx.port, number)
    wait_seen(page, "message", len(numbers))


def assert_back_with_a_gap(page: Page, nginx: Nginx, before: list[int]) -> None:
    """The server has forgotten everything, and says so, which it does only to one that brings an id."""
    wait_seen(page, "gap", 1)
    publish(nginx.port, "after")
    wait_seen(page, "message", len(before) + 1)
    assert data_of(page) == [*before, "after"]
    (gap,) = of_type(page, "gap")
    assert json.loads(gap["data"])["reason"] == "epoch"
    assert not any(event["closed"] for event in seen(page))


def publish(port: int, data: object) -> None:
    with Api(port) as api:
        api.publish("news", data)


def wait_seen(page: Page, type: str, count: int) -> None:
    page.wait_for_function(
        "([type, count]) => window.seen.filter((event) => event.type === type).length >= count",
        arg=[type, count],
    )


def seen(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate("window.seen")
    return found


def of_type(page: Page, type: str) -> list[dict[str, Any]]:
    return [event for event in seen(page) if event["type"] == type]


def data_of(page: Page) -> list[Any]:
    return [json.loads(event["data"]) for event in of_type(page, "message")]
