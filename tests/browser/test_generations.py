"""The module `/client/generations.js`, and the parser under it, in Chromium against the real server."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Visit
from tests.support.process import ServerProcess

SAID = "It flows, naïve 日本語 🌊 and on."
WITHOUT_WAITING = """
    const later = window.setTimeout;
    window.setTimeout = (callback, milliseconds) => later(callback, Math.min(milliseconds, 5));
"""
"""Waits before attempts are drawn at random, up to seconds: none of that matters here."""
CUT = """
    // The body of each event stream breaks off behind so many bytes, for the first so many connections.
    function cutAt(sizes) {
        const whole = window.fetch;
        window.asked = [];
        window.fetch = async (url, request) => {
            const headers = Object.fromEntries(new Headers(request?.headers));
            window.asked.push({ method: request?.method ?? "GET", path: new URL(url).pathname, headers });
            const answer = await whole(url, request);
            if (!answer.headers.get("Content-Type")?.startsWith("text/event-stream")) return answer;
            const size = sizes.shift();
            if (size === undefined) return answer;
            let left = size;
            const cut = answer.body.pipeThrough(new TransformStream({
                transform(chunk, controller) {
                    controller.enqueue(chunk.subarray(0, left));
                    left -= chunk.length;
                    if (left < 0) controller.error(new TypeError("network error"));
                },
            }));
            return new Response(cut, { status: answer.status, headers: answer.headers });
        };
    }
"""
IMPORT = 'const module = await import("/client/generations.js");'
STREAM = (
    ":comment\r\n\nid: 1\nretry: 250\r\n\r\nevent: token\rdata: a\r\rdata:b\ndata:  c\nid\n\n"
    "data\n\nid: \0\nretry: soon\nevent: none\n\nnothing: known\n\ndata: 🌊: x\nid: 2\n\ndata: dropped\n"
)


def test_a_stream_is_parsed_alike_wherever_it_is_cut(running_server: ServerProcess, page: Page) -> None:
    page.goto(f"{running_server.url}/#quiet")
    found = page.evaluate(
        """async (stream) => {
            const { EventStreamParser } = await import("/client/event-stream.js");
            const parse = (...parts) => {
                const parser = new EventStreamParser();
                return JSON.stringify(parts.flatMap((part) => parser.push(part)));
            };
            const ways = new Set([parse(stream), parse(...stream)]);
            for (let one = 0; one <= stream.length; one += 1)
                for (let two = one; two <= stream.length; two += 1)
                    ways.add(parse(stream.slice(0, one), stream.slice(one, two), stream.slice(two)));
            return [...ways].map((way) => JSON.parse(way));
        }""",
        STREAM,
    )
    assert found == [
        [
            {"event": "message", "data": None, "id": "1", "retryMs": 250},
            {"event": "token", "data": "a", "id": None, "retryMs": None},
            {"event": "message", "data": "b\n c", "id": "", "retryMs": None},
            {"event": "message", "data": "", "id": None, "retryMs": None},
            {"event": "none", "data": None, "id": None, "retryMs": None},
            {"event": "message", "data": "🌊: x", "id": "2", "retryMs": None},
        ]
    ]


def test_the_parser_reads_what_eventsource_reads(running_server: ServerProcess, page: Page) -> None:
    page.route(
        "**/stream", lambda route: route.fulfill(status=200, content_type="text/event-stream", body=STREAM)
    )
    page.goto(f"{running_server.url}/#quiet")
    ours, theirs = page.evaluate(
        """async (stream) => {
            const theirs = await new Promise((resolve) => {
                const events = [];
                const source = new EventSource("/stream");
                for (const name of ["message", "token", "none"])
                    source.addEventListener(name, ({ type, data, lastEventId }) =>
                        events.push([type, data, lastEventId]));
                source.onerror = () => { source.close(); resolve(events); };
            });
            const { EventStreamParser } = await import("/client/event-stream.js");
            let last = "";
            const ours = [];
            for (const { event, data, id } of new EventStreamParser().push(stream)) {
                last = id ?? last;
                if (data !== null) ours.push([event, data, last]);
            }
            return [ours, theirs];
        }""",
        STREAM,
    )
    assert ours == theirs
    assert len(ours) == 4


def test_whatever_is_cut_the_text_is_whole(running_server: ServerProcess, page: Page) -> None:
    page.goto(f"{running_server.url}/#quiet")
    outcomes = page.evaluate(
        f"""async (said) => {{
            {IMPORT} {WITHOUT_WAITING} {CUT}
            const sizes = [];
            cutAt(sizes);
            const outcomes = [];
            for (let size = 0; size < 420; size += 7) {{
                sizes.splice(0, sizes.length, size, 90, 0, 60);
                const pieces = [];
                const answer = module.startGeneration([{{ role: "user", content: said }}], {{
                    options: {{ delay_ms: 0 }},
                    onText: (piece) => pieces.push(piece),
                }});
                const {{ state, reason, text }} = await answer.ended;
                outcomes.push([state, reason, text, pieces.join("")]);
            }}
            return {{ outcomes, posts: window.asked.filter(({{ method }}) => method === "POST").length }};
        }}""",
        SAID,
    )
    assert outcomes["outcomes"] == [["done", "stop", SAID, SAID]] * 60
    assert outcomes["posts"] == 60


def test_a_request_whose_answer_is_lost_is_sent_again_under_its_key(
    running_server: ServerProcess, page: Page
) -> None:
    page.goto(f"{running_server.url}/#quiet")
    asked, ids = page.evaluate(
        f"""async () => {{
            {IMPORT} {WITHOUT_WAITING} {CUT}
            cutAt([]);
            const counted = window.fetch;
            const ids = [];
            window.fetch = async (url, request) => {{
                const answer = await counted(url, request);
                if (request?.method === "POST") ids.push(answer.headers.get("Location"));
                if (ids.length === 1) throw new TypeError("network error");
                return answer;
            }};
            const messages = [{{ role: "user", content: "once" }}];
            const {{ text }} = await module.startGeneration(messages, {{ options: {{ delay_ms: 0 }} }}).ended;
            ids.push(text);
            return [window.asked.filter(({{ method }}) => method === "POST"), ids];
        }}"""
    )
    assert len(asked) == 2
    assert asked[0]["headers"]["idempotency-key"] == asked[1]["headers"]["idempotency-key"]
    assert ids[0] == ids[1]
    assert ids[2] == "once"


def test_a_place_that_is_none_begins_anew(running_server: ServerProcess, page: Page) -> None:
    page.goto(f"{running_server.url}/#quiet")
    outcome = page.evaluate(
        f"""async () => {{
            {IMPORT}
            const messages = [{{ role: "user", content: "all of it" }}];
            const first = module.startGeneration(messages, {{ options: {{ delay_ms: 0 }} }});
            await first.ended;
            let restarts = 0;
            const second = module.joinGeneration(first.id, {{
                text: "something else", lastEventId: "elsewhere:7", onRestart: () => (restarts += 1),
            }});
            const {{ text, lastEventId }} = first;
            const third = module.joinGeneration(first.id, {{ text, lastEventId }});
            const [ended, again] = [await second.ended, await third.ended];
            const {{ state, tokens }} = again;
            return {{ text: ended.text, again: again.text, restarts, state, tokens }};
        }}"""
    )
    assert outcome == {
        "text": "all of it",
        "state": "done",
        "restarts": 1,
        "again": "all of it",
        "tokens": 3,
    }


@pytest.mark.parametrize(("on_disconnect", "state"), [("cancel", "abandoned"), ("detach", "running")])
def test_closing_leaves_it_to_what_was_asked(
    running_server: ServerProcess, page: Page, on_disconnect: str, state: str
) -> None:
    page.goto(f"{running_server.url}/#quiet")
    found: dict[str, Any] = page.evaluate(
        f"""async ([onDisconnect, wanted]) => {{
            {IMPORT}
            const answer = module.startGeneration([{{ role: "user", content: "one two" }}], {{
                onDisconnect, options: {{ delay_ms: 60000 }},
            }});
            while (answer.id === null) await new Promise((resolve) => setTimeout(resolve, 5));
            answer.close();
            const {{ state, reason }} = await answer.ended;
            let stand;
            do stand = await module.readGeneration(answer.id); while (stand.state !== wanted);
            const stopped = await module.stopGeneration(answer.id);
            return {{ state, reason, stand: stand.state, stopped: stopped.state }};
        }}""",
        [on_disconnect, state],
    )
    stopped = "stopped" if state == "running" else state
    assert found == {"state": "closed", "reason": "client", "stand": state, "stopped": stopped}


def test_what_the_server_refuses_is_told_and_not_sent_again(
    running_server: ServerProcess, visit: Visit
) -> None:
    page = visit.page
    page.goto(f"{running_server.url}/#quiet")
    found = page.evaluate(
        f"""async () => {{
            {IMPORT}
            const start = (role, options) => module.startGeneration([{{ role, content: "x" }}], options);
            const ends = await Promise.all([
                start("user", {{ model: "no-such" }}).ended,
                start("king").ended,
                start("user", {{ options: {{ wrong: 1 }} }}).ended,
                module.joinGeneration("nowhere").ended,
            ]);
            const thrown = await module.stopGeneration("nowhere").catch((error) => error);
            return [
                ...ends.map(({{ state, reason, problem: {{ errors }} }}) =>
                    [state, reason, errors[0]?.pointer ?? ""]),
                [thrown instanceof module.ProblemError, thrown.code, ""],
            ];
        }}"""
    )
    assert found == [
        ["failed", "model_unknown", "/model"],
        ["failed", "body_invalid", "/messages/0/role"],
        ["failed", "body_invalid", "/options"],
        ["failed", "generation_unknown", ""],
        [True, "generation_unknown", ""],
    ]
    assert len([url for url in visit.requests if url.endswith("/generations")]) == 3


def test_a_listener_that_throws_stops_nothing(running_server: ServerProcess, visit: Visit) -> None:
    visit.page.goto(f"{running_server.url}/#quiet")
    text = visit.page.evaluate(
        f"""async () => {{
            {IMPORT}
            const answer = module.startGeneration([{{ role: "user", content: "one two" }}], {{
                options: {{ delay_ms: 0 }}, onText: () => {{ throw new Error("mine"); }},
            }});
            return (await answer.ended).text;
        }}"""
    )
    assert text == "one two"
    assert visit.faults == ["mine"] * len(visit.faults)
    assert visit.faults


def test_an_erased_answer_ends(running_server: ServerProcess, page: Page) -> None:
    page.goto(f"{running_server.url}/#quiet")
    ended = page.evaluate(
        f"""async () => {{
            {IMPORT}
            const messages = [{{ role: "user", content: "one two" }}];
            const answer = module.startGeneration(messages, {{
                options: {{ delay_ms: 60000 }},
                onState: (state, detail, {{ id }}) =>
                    state === "live" && fetch(`/generations/${{id}}`, {{ method: "DELETE" }}),
            }});
            const {{ state, reason }} = await answer.ended;
            return [state, reason];
        }}"""
    )
    assert ended[0] == "stopped"
    assert ended[1] in ("erased", "client_stopped")
