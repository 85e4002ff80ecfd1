"""Generations in Chromium, by what a page has without any library: EventSource, and a loop over fetch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.clients.generating import LONG, SAID, SLOW, troubled, wait_none_runs
from tests.support.narrows import Narrows
from tests.support.process import ServerProcess
from tests.support.trouble import AWKWARD, BREAK, REFUSE

EVENT_SOURCE = """async ({ text, more }) => {
    const started = await fetch("/generations", {
        method: "POST",
        headers: { "Content-Type": "application/json", Prefer: "respond-async" },
        body: JSON.stringify({ messages: [{ role: "user", content: text }], ...more }),
    });
    if (!started.ok) return { problem: await started.json() };
    const { id } = await started.json();
    return new Promise((resolve) => {
        const answer = { id, text: "", opened: 0 };
        const source = new EventSource(`/generations/${id}/events`);
        const end = (more) => {
            source.close();
            resolve(Object.assign(answer, more));
        };
        source.addEventListener("open", () => answer.opened++);
        source.addEventListener("token", ({ data }) => (answer.text += JSON.parse(data).content));
        source.addEventListener("done", ({ data }) => end({ done: data }));
        source.addEventListener("error", ({ data }) => data && end({ error: JSON.parse(data) }));
    });
}"""

LOOP = """async ({ text, more, leave }) => {
    const leaving = new AbortController();
    const response = await fetch("/generations?format=raw", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ messages: [{ role: "user", content: text }], ...more }),
        signal: leaving.signal,
    });
    if (!response.ok) return { problem: await response.json() };
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    const answer = { text: "" };
    let waiting = "";
    for (;;) {
        let done, value;
        try {
            ({ done, value } = await reader.read());
        } catch (error) {
            return { ...answer, aborted: error.name };
        }
        if (done) return answer;
        waiting += decoder.decode(value, { stream: true });
        const lines = waiting.split("\\n");
        waiting = lines.pop();
        for (const line of lines) {
            if (!line.startsWith("data: ")) continue;
            const data = line.slice(6);
            if (data === "[DONE]") {
                answer.done = data;
                continue;
            }
            const { content, error } = JSON.parse(data);
            if (error) answer.error = error;
            else answer.text += content;
            if (leave) leaving.abort();
        }
    }
}"""
WAYS = pytest.mark.parametrize("way", [EVENT_SOURCE, LOOP], ids=["EventSource", "loop"])


@pytest.fixture(scope="module")
def troubled_server() -> Iterator[ServerProcess]:
    with troubled() as server:
        yield server


def run(page: Page, url: str, way: str, text: str, **more: Any) -> dict[str, Any]:
    page.goto(f"{url}/health/live")
    came: dict[str, Any] = page.evaluate(way, {"text": text, "more": {}, "leave": False} | more)
    return came


@WAYS
def test_an_answer_is_read(page: Page, running_server: ServerProcess, way: str) -> None:
    came = run(page, running_server.url, way, SAID)
    assert (came["text"], came["done"]) == (SAID, "[DONE]")


@WAYS
def test_text_that_is_cut_everywhere_is_whole(page: Page, troubled_server: ServerProcess, way: str) -> None:
    with Narrows(troubled_server.port) as narrows:
        came = run(page, narrows.url, way, AWKWARD)
        assert (came["text"], came["done"]) == (AWKWARD, "[DONE]")


@WAYS
@pytest.mark.parametrize(
    ("said", "code"), [(REFUSE + AWKWARD, "provider_refused"), (BREAK + AWKWARD, "provider_failed")]
)
def test_a_provider_that_fails_is_told(
    page: Page, troubled_server: ServerProcess, way: str, said: str, code: str
) -> None:
    came = run(page, troubled_server.url, way, said)
    assert came["error"]["code"] == code
    assert came["text"] == (said if code == "provider_failed" else "")
    assert "done" not in came


@WAYS
def test_bad_input_is_a_problem(page: Page, running_server: ServerProcess, way: str) -> None:
    assert run(page, running_server.url, way, "")["problem"]["code"] == "body_invalid"
    assert run(page, running_server.url, way, "a", more={"model": "x"})["problem"]["code"] == "model_unknown"


def test_event_source_goes_on_where_it_was_cut(page: Page, troubled_server: ServerProcess) -> None:
    # Which of a browser's connections has the stream is not said; page and id have come by then on any.
    with Narrows(troubled_server.port, [2500, 2500, 2500]) as narrows:
        came = run(page, narrows.url, EVENT_SOURCE, AWKWARD * 30)
        assert (came["text"], came["done"]) == (AWKWARD * 30, "[DONE]")
        assert came["opened"] >= 2


def test_an_aborted_fetch_cancels(page: Page, running_server: ServerProcess) -> None:
    came = run(page, running_server.url, LOOP, LONG, more=SLOW, leave=True)
    assert came["aborted"] == "AbortError"
    wait_none_runs(running_server)
