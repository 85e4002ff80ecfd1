"""Looking at topics: one, all in pages, and how a subscription is refused."""

from __future__ import annotations

import json

import pytest
from trio.testing import MockClock

from server.settings import Settings
from tests.support.http_peer import open_world


async def test_a_topic_is_unknown_until_used_and_then_shown(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        assert (await world.request("GET", "/topics/news")).problem == (404, "topic_unknown")
        ids = [await world.publish("news", n) for n in range(3)]
        answer = await world.request("GET", "/topics/news")
        assert answer.status == 200
        assert answer.json() == {
            "topic": "news",
            "subscribers": 0,
            "first": ids[0],
            "last": ids[2],
            "buffered": 3,
            "capacity": 1000,
            "overflow": "disconnect",
            "history": 1000,
        }


async def test_a_topic_with_a_subscriber_and_no_message_is_known(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await (await world.connect().open_events("/topics/news/events")).next()
        shown = (await world.request("GET", "/topics/news")).json()
        assert (shown["subscribers"], shown["first"], shown["last"], shown["buffered"]) == (1, None, None, 0)


async def test_topics_are_listed_in_pages(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        names = [f"t{n}" for n in range(5)]
        for name in names:
            await world.publish(name, 1)
        listed: list[str] = []
        target = "/topics?limit=2&after=clock"
        while True:
            page = (await world.request("GET", target)).json()
            assert page.keys() == {"topics", "next"}
            assert len(page["topics"]) <= 2
            listed += [topic["topic"] for topic in page["topics"]]
            if page["next"] is None:
                break
            target = f"/topics?limit=2&after={page['next']}"
        assert listed == names


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "limit=", "limit=1&limit=2", "color=red", "limit=%FF", "limit=-1"],
)
async def test_a_query_that_is_not_known_is_refused(autojump_clock: MockClock, query: str) -> None:
    async with open_world() as world:
        assert (await world.request("GET", f"/topics?{query}")).problem == (400, "query_invalid")


@pytest.mark.parametrize(
    "query",
    [
        "heartbeat=no",
        "heartbeat=",
        "rewind=-1",
        "rewind=x",
        "rewind=1&rewind=1",
        "envelop=1",
        "last_event_id=a&last_event_id=b",
    ],
)
async def test_a_subscription_with_a_query_that_is_not_known_is_refused(
    autojump_clock: MockClock, query: str
) -> None:
    async with open_world() as world:
        answer = await world.request("GET", f"/topics/news/events?{query}")
        assert answer.problem == (400, "query_invalid")


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("text/event-stream", 200),
        ("*/*", 200),
        ("text/*;q=0.1", 200),
        ("application/json, text/event-stream", 200),
        ("application/json", 406),
        ("text/event-stream;q=0", 406),
    ],
)
async def test_a_stream_is_given_to_who_accepts_one(
    autojump_clock: MockClock, accept: str, status: int
) -> None:
    async with open_world() as world:
        answer = await world.request("HEAD", "/topics/news/events", accept=accept)
        assert answer.status == status


async def test_head_answers_the_head_of_a_stream_and_leaves_no_topic(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        peer = world.connect()
        answer = await peer.request("HEAD", "/topics/news/events")
        assert (answer.status, answer.headers["content-type"], answer.body) == (200, "text/event-stream", b"")
        assert answer.headers["cache-control"] == "no-store, no-transform"
        assert (await world.request("GET", "/topics/news")).status == 404
        assert (await world.stats())["closed"] == {}


@pytest.mark.parametrize("target", ["/", "/stats", "/health/live", "/topics", "/client/page.js"])
async def test_head_answers_as_get_without_the_body(autojump_clock: MockClock, target: str) -> None:
    async with open_world() as world:
        peer = world.connect()
        head = await peer.request("HEAD", target)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-type"] == (await peer.request("GET", target)).headers["content-type"]


async def test_while_draining_eventsource_is_told_to_come_back_and_others_get_503(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        world.application.gate.close()
        events = await world.connect().open_events("/topics/news/events")
        assert (events.status, events.headers["content-type"]) == (200, "text/event-stream")
        retry, closing = await events.rest()
        assert retry.retry is not None
        said = json.loads(closing.data or "")
        assert (closing.event, said["reason"], said["reconnect"]) == ("closing", "server_draining", True)
        assert said["retry_ms"] == retry.retry == closing.retry
        answer = await world.request("GET", "/topics/news/events")
        assert answer.problem == (503, "server_draining")
        assert int(answer.headers["retry-after"]) >= 1


async def test_with_all_topics_in_use_eventsource_is_told_to_come_back_and_others_get_503(
    autojump_clock: MockClock,
) -> None:
    async with open_world(Settings(max_topics=1)) as world:
        await world.publish("other", 1)
        # The server's own topics take nobody's place.
        assert (await world.connect().open_events("/topics/clock/events")).status == 200
        events = await world.connect().open_events("/topics/news/events")
        assert events.status == 200
        _, closing = await events.rest()
        said = json.loads(closing.data or "")
        assert (closing.event, said["reason"], said["reconnect"]) == ("closing", "limit", True)
        answer = await world.request("GET", "/topics/news/events")
        assert answer.problem == (503, "topics_full")
        assert "retry-after" in answer.headers


async def test_emptying_a_topic_answers_204_without_a_body(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.publish("news", 1)
        events = await world.connect().open_events("/topics/news/events")
        await events.next()
        answer = await world.request("DELETE", "/topics/news")
        assert (answer.status, answer.body) == (204, b"")
        gap = await events.next()
        assert json.loads(gap.data or "") == {"reason": "purged", "topics": [{"topic": "news", "missed": 0}]}
        assert (await world.request("GET", "/topics/news/messages")).json()["messages"] == []
        assert (await world.request("DELETE", "/topics/other")).problem == (404, "topic_unknown")
        assert (await world.request("DELETE", "/topics/clock")).problem == (403, "topic_reserved")


async def test_a_pattern_that_would_take_long_to_read_is_refused(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.publish("a" * 128, 1)
        longest = await world.request("GET", "/topics?pattern=" + "[a]" * 85 + "*")
        assert [shown["topic"] for shown in longest.json()["topics"]] == ["a" * 128]
        over = await world.request("GET", "/topics?pattern=" + "[*" * 128 + "a")
        assert over.problem == (400, "query_invalid")
