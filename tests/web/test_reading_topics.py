"""`/topics/{topic}/messages`: what is kept, for clients that poll; and DELETE, which empties a topic."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from trio.testing import MockClock

from server.hub import Cursor, Draft
from server.settings import Settings
from tests.support.http_peer import World, open_world


async def page(world: World, query: str = "", topic: str = "a") -> tuple[list[str], str | None, object]:
    """Ids, `next` and gap."""
    answer = await world.request("GET", f"/topics/{topic}/messages?{query}")
    assert answer.status == 200, answer
    body = answer.json()
    assert body.keys() == {"messages", "next", "gap"}
    return [message["id"] for message in body["messages"]], body["next"], body["gap"]


def before(id: str) -> str:
    cursor = Cursor.parse(id)
    assert cursor is not None
    return str(Cursor(cursor.epoch, cursor.offset - 1))


async def test_messages_are_shown_whole(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        body = {"data": {"n": [1, "é"]}, "event": "update", "retry": 600}
        first = (await world.request("POST", "/topics/a", json_body=body)).json()["id"]
        text = await world.request("POST", "/topics/a", b"one\r\ntwo", content_type="text/plain")
        answer = (await world.request("GET", "/topics/a/messages")).json()
        shown, plain = answer["messages"]
        assert datetime.fromisoformat(shown.pop("time")).tzinfo is not None
        assert shown == {"id": first, "seq": 1, "event": "update", "data": {"n": [1, "é"]}}
        assert (plain["text"], plain["data"], plain["event"]) == (True, "one\r\ntwo", None)
        assert (plain["seq"], plain["id"]) == (2, text.json()["id"])


async def test_a_client_that_polls_forwards_gets_everything_once(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ids = [await world.publish("ab"[n % 2], n) for n in range(10)]
        of_a = ids[::2]
        found, following, gap = await page(world, f"after={before(ids[0])}&limit=2")
        assert (found, following, gap) == (of_a[:2], of_a[1], None)
        for _ in range(3):
            more, following, gap = await page(world, f"after={following}&limit=2")
            assert gap is None
            found += more
        assert (found, following) == (of_a, of_a[-1])
        new = await world.publish("a", 0)
        assert await page(world, f"after={following}&limit=2") == ([new], new, None)


async def test_scrolling_back_ends_where_nothing_older_is_kept(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ids = [await world.publish("a", n) for n in range(5)]
        assert await page(world, "limit=2") == (ids[3:], ids[4], None)
        assert await page(world, f"before={ids[3]}&limit=2") == (ids[1:3], ids[1], None)
        assert await page(world, f"before={ids[1]}&limit=2") == (ids[:1], None, None)
        assert await page(world, f"before={ids[0]}") == ([], None, None)


async def test_between_two_ids(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ids = [await world.publish("a", n) for n in range(6)]
        assert (await page(world, f"after={ids[0]}&before={ids[4]}&limit=2"))[0] == ids[1:3]
        assert (await page(world, f"after={ids[2]}&before={ids[4]}"))[0] == [ids[3]]
        assert await page(world, f"after={ids[4]}&before={ids[1]}") == ([], ids[4], None)


async def test_what_was_evicted_is_a_gap_with_its_number_where_that_is_known(
    autojump_clock: MockClock,
) -> None:
    async with open_world(Settings(history=2)) as world:
        start = await world.publish("other", 0)
        ids = [await world.publish("a", n) for n in range(5)]
        gap = {"reason": "evicted", "topics": [{"topic": "a", "missed": 3}], "id": before(ids[3])}
        assert await page(world, f"after={start}") == (ids[3:], ids[4], gap)
        unknown = gap | {"topics": [{"topic": "a", "missed": None}]}
        assert await page(world, f"after={ids[0]}") == (ids[3:], ids[4], unknown)
        assert await page(world, f"after={ids[2]}") == (ids[3:], ids[4], None)
        assert await page(world) == (ids[3:], ids[4], None)


@pytest.mark.parametrize("cursor", ["x:1", "no id", "", "beyond"])
@pytest.mark.parametrize("name", ["after", "before"])
async def test_a_foreign_id_is_a_gap_and_gets_what_is_kept(
    autojump_clock: MockClock, cursor: str, name: str
) -> None:
    async with open_world() as world:
        await world.publish("other", 0)
        ids = [await world.publish("a", n) for n in range(2)]
        if cursor == "beyond":
            cursor = ids[1] + "9"
        found, following, gap = await page(world, f"{name}={cursor.replace(' ', '%20')}")
        assert found == ids
        assert following == (ids[1] if name == "after" else None)
        assert gap == {"reason": "epoch", "topics": [{"topic": "a", "missed": None}], "id": before(ids[0])}


async def test_where_nothing_is_new_next_is_where_to_go_on(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        number = await world.publish("a", 0)
        head = await world.publish("other", 0)
        assert await page(world, f"after={number}") == ([], number, None)
        await world.request("DELETE", "/topics/a")
        assert await page(world) == ([], head, None)


async def test_more_than_a_connection_is_replayed_can_be_read_in_pages(autojump_clock: MockClock) -> None:
    async with open_world(Settings(history=12_000)) as world:
        hub = world.application.events.hub
        for _ in range(11):
            await hub.publish([Draft("a", "0")] * 1000)
        following: str | None = str(Cursor(hub.head.epoch, 0))
        count = 0
        while count < 11_000:
            found, following, gap = await page(world, f"after={following}&limit=1000")
            assert (len(found), gap) == (1000, None)
            count += 1000


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=",
        "limit=-1",
        "limit=1&limit=1",
        "color=red",
        "after=a&after=b",
    ],
)
async def test_a_query_that_is_not_known_is_refused(autojump_clock: MockClock, query: str) -> None:
    async with open_world() as world:
        await world.publish("a", 0)
        answer = await world.request("GET", f"/topics/a/messages?{query}")
        assert answer.problem == (400, "query_invalid")


async def test_a_page_has_a_hundred_messages_and_at_most_a_thousand(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.application.events.hub.publish([Draft("a", "0")] * 1000)
        assert len((await page(world))[0]) == 100
        assert len((await page(world, "limit=1000"))[0]) == 1000


@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/topics/never/messages"), ("DELETE", "/topics/never")]
)
async def test_a_topic_that_was_never_used_is_unknown(
    autojump_clock: MockClock, method: str, target: str
) -> None:
    async with open_world() as world:
        assert (await world.request(method, target)).problem == (404, "topic_unknown")
        assert (await world.request(method, target.replace("never", ".x"))).problem == (400, "name_invalid")
        assert (await world.request("GET", "/topics/never")).status == 404


async def test_deleting_empties_a_topic_and_tells_who_listens(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        one = await world.connect().open_events("/topics/a/events")
        many = await world.connect().open_events("/events?topic=a*&topic=b")
        first = (await one.next()).id
        await many.next()
        number = await world.publish("a", 0)
        head = await world.publish("b", 0)
        answer = await world.request("DELETE", "/topics/a")
        assert (answer.status, answer.body) == (204, b"")
        assert (await one.next()).id == number
        assert [(await many.next()).id for _ in range(2)] == [number, head]
        for events in (one, many):
            gap = await events.next()
            assert (gap.event, gap.id) == ("gap", head)
            assert json.loads(gap.data or "") == {"reason": "purged", "topics": [{"topic": "a", "missed": 0}]}
        assert await page(world) == ([], head, None)
        shown = (await world.request("GET", "/topics/a")).json()
        assert (shown["buffered"], shown["first"], shown["last"]) == (0, None, None)
        after = await world.publish("a", 0)
        assert (await one.next()).id == after
        purged = {"reason": "purged", "topics": [{"topic": "a", "missed": 1}], "id": before(after)}
        assert await page(world, f"after={first}") == ([after], after, purged)
        assert await page(world, f"after={number}") == ([after], after, None)


@pytest.mark.parametrize("topic", ["clock", "stats"])
async def test_what_the_server_alone_publishes_nobody_else_empties(
    autojump_clock: MockClock, topic: str
) -> None:
    async with open_world() as world:
        assert (await world.request("DELETE", f"/topics/{topic}")).problem == (403, "topic_reserved")


async def test_deleting_takes_no_parameters(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.publish("a", 0)
        assert (await world.request("DELETE", "/topics/a?all=1")).problem == (400, "query_invalid")
        assert len((await page(world))[0]) == 1


async def test_a_foreign_page_may_not_empty_a_topic(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.publish("a", 0)
        answer = await world.request("DELETE", "/topics/a", origin="https://elsewhere.example")
        assert answer.problem == (403, "origin_foreign")
        assert len((await page(world))[0]) == 1
