"""EventSource in Chromium, on compressed streams."""

from __future__ import annotations

import json
import urllib.request

import pytest
from playwright.sync_api import Page

from tests.support.process import ServerProcess

OPEN = """url => new Promise((opened) => {
    window.seen = [];
    const source = new EventSource(url);
    source.onopen = opened;
    source.onmessage = (event) => window.seen.push([event.lastEventId, event.data]);
})"""


def publish(server: ServerProcess, topic: str, data: object) -> str:
    request = urllib.request.Request(
        f"{server.url}/topics/{topic}",
        json.dumps({"data": data}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=15) as answer:
        return str(json.load(answer)["id"])


@pytest.mark.parametrize("announced", [None, "zstd", "gzip", "br"])
def test_eventsource_shows_each_event_of_a_compressed_stream_at_once(
    running_server: ServerProcess, page: Page, announced: str | None
) -> None:
    topic = f"compressed-{announced}"
    page.goto(running_server.url)
    if announced is not None:
        page.set_extra_http_headers({"Accept-Encoding": announced})
    with page.expect_response(lambda response: topic in response.url) as answered:
        page.evaluate(OPEN, f"{running_server.url}/topics/{topic}/events?compress=1")
    # By itself Chromium announces gzip, deflate, br and zstd; zstd is what we like best.
    assert answered.value.headers["content-encoding"] == (announced or "zstd")
    for number in range(5):
        published = publish(running_server, topic, {"wörld": number})
        page.wait_for_function("count => window.seen.length === count", arg=number + 1)
        shown_id, data = page.evaluate("window.seen.at(-1)")
        assert (shown_id, json.loads(data)) == (published, {"wörld": number})
