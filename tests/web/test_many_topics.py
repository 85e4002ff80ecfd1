"""`/events`: many topics on one connection, always in the envelope, with one cursor for all."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, wait_all_tasks_blocked

from server.hub import Cursor, Draft
from server.lifecycle import CloseReason
from server.settings import Settings
from tests.support.http_peer import EventReader, World, open_world
from tests.support.sse import Event


async def first_id(events: EventReader) -> str:
    """The id of the first block."""
    assert events.status == 200
    block = await events.next()
    assert block.retry is not None
    assert block.data is None
    return block.id or ""


def said(event: Event) -> Any:
    return json.loads(event.data or "null")


def before(id: str) -> str:
    cursor = Cursor.parse(id)
    assert cursor is not None
    return str(Cursor(cursor.epoch, cursor.offset - 1))


async def messages(events: EventReader, count: int) -> list[tuple[str | None, str, int]]:
    """Id, topic and seq of the next messages."""
    found = []
    for _ in range(count):
        event = await events.next_data()
        envelope = said(event)
        assert envelope.keys() == {"topic", "seq", "time", "data"}
        found.append((event.id, envelope["topic"], envelope["seq"]))
    return found


# Which


async def test_names_and_patterns_come_on_one_connection_in_the_order_of_ids(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        events = await world.connect().open_events("/events?topic=a&topic=b.*")
        await first_id(events)
        topics = ["b.1", "a", "b", "c", "b.2.x", "a", "b.1"]
        ids = [await world.publish(topic, n) for n, topic in enumerate(topics)]
        wanted = [
            (ids[0], "b.1", 1),
            (ids[1], "a", 1),
            (ids[4], "b.2.x", 1),
            (ids[5], "a", 2),
            (ids[6], "b.1", 2),
        ]
        assert await messages(events, 5) == wanted


async def test_a_message_of_overlapping_entries_comes_once(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        target = "/events?topic=a.b&topic=a.*&topic=a.b*&topic=a.b&topic=a*"
        events = await world.connect().open_events(target)
        await first_id(events)
        for n in range(3):
            await world.publish("a.b", n)
        assert [seq for _, _, seq in await messages(events, 3)] == [1, 2, 3]
        assert (await world.stats())["messages"]["delivered"] == 3


async def test_no_pattern_shows_what_goes_on_in_rooms(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        events = await world.connect().open_events("/events?topic=r*&topic=a*&last_event_id=earliest")
        await first_id(events)
        await world.application.events.hub.publish([Draft("rooms/a", '"secret"')])
        number = await world.publish("a", 1)
        assert await messages(events, 1) == [(number, "a", 1)]
        for target in ("/events?topic=rooms/a", "/events?topic=rooms/*", "/topics?pattern=rooms*"):
            answer = await world.request("GET", target)
            assert b"rooms/a" not in answer.body
            assert answer.status in (200, 400)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "query_invalid"),
        ("topic=", "name_invalid"),
        ("topic=a&topic=", "name_invalid"),
        ("topic=a*b", "query_invalid"),
        ("topic=a**", "query_invalid"),
        ("topic=*a", "query_invalid"),
        ("topic=.a", "name_invalid"),
        ("topic=.*", "name_invalid"),
        ("topic=a%20b", "name_invalid"),
        ("topic=a/b", "name_invalid"),
        ("topic=" + "a" * 129, "name_invalid"),
        ("topic=" + "a" * 129 + "*", "name_invalid"),
        ("topic=%FF", "query_invalid"),
        ("topics=a", "query_invalid"),
        ("topic=a&envelope=0", "query_invalid"),
        ("topic=a&envelope=1&envelope=1", "query_invalid"),
        ("topic=a&heartbeat=event&heartbeat=event", "query_invalid"),
        ("topic=a&last_event_id=x&last_event_id=y", "query_invalid"),
        ("topic=a&rewind=x", "query_invalid"),
        ("&".join(f"topic=t{n}" for n in range(65)), "query_invalid"),
        ("&".join("topic=t" for n in range(65)), "query_invalid"),
        ("&".join(f"topic=t{n}" for n in range(500)), "query_invalid"),
    ],
)
async def test_what_cannot_be_asked_for_is_refused(autojump_clock: MockClock, query: str, code: str) -> None:
    async with open_world() as world:
        assert (await world.request("GET", f"/events?{query}")).problem == (400, code)
        assert (await world.request("GET", "/topics?pattern=t*")).json()["topics"] == []


async def test_sixty_four_entries_are_taken_and_the_longest_names(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        entries = [f"t{n}" for n in range(62)] + ["x" * 128, "x" * 127 + "*"]
        events = await world.connect().open_events("/events?" + "&".join(f"topic={each}" for each in entries))
        await first_id(events)
        await world.publish("x" * 127 + "y", 1)
        await world.publish("t61", 1)
        assert [topic for _, topic, _ in await messages(events, 2)] == ["x" * 127 + "y", "t61"]


@pytest.mark.parametrize("envelope", ["", "&envelope=1"])
async def test_the_envelope_may_be_asked_for_where_it_comes_anyway(
    autojump_clock: MockClock, envelope: str
) -> None:
    async with open_world() as world:
        events = await world.connect().open_events(f"/events?topic=a{envelope}")
        await first_id(events)
        await world.publish("a", 1)
        assert said(await events.next())["topic"] == "a"


async def test_head_answers_the_head_and_makes_no_topic(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        answer = await world.request("HEAD", "/events?topic=a&topic=b.*")
        assert (answer.status, answer.headers["content-type"], answer.body) == (200, "text/event-stream", b"")
        assert (await world.request("GET", "/topics/a")).status == 404
        assert (await world.stats())["closed"] == {}


async def test_only_who_accepts_events_gets_them(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        answer = await world.request("GET", "/events?topic=a", accept="application/json")
        assert answer.problem == (406, "form_unacceptable")
        assert (await world.request("POST", "/events?topic=a")).problem[0] == 405


async def test_with_all_topics_in_use_names_find_no_room_and_patterns_need_none(
    autojump_clock: MockClock,
) -> None:
    async with open_world(Settings(max_topics=1)) as world:
        await world.publish("a", 1)
        answer = await world.request("GET", "/events?topic=a&topic=b")
        assert answer.problem == (503, "topics_full")
        events = await world.connect().open_events("/events?topic=a&topic=b")
        _, closing = await events.rest()
        assert (closing.event, said(closing)["reason"]) == ("closing", "limit")
        events = await world.connect().open_events("/events?topic=a&topic=b*&last_event_id=earliest")
        await first_id(events)
        assert len(await messages(events, 1)) == 1


# From where


async def test_one_cursor_resumes_any_set_of_topics(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ids = {name: await world.publish(name[0], name) for name in ("a1", "b1", "c1", "a2", "c2", "b2")}
        events = await world.connect().open_events("/events?topic=a&topic=c", last_event_id=ids["a1"])
        assert await first_id(events) == ids["a1"]
        assert [event for event, _, _ in await messages(events, 2)] == [ids["c1"], ids["a2"]]
        # Cut here, and back for others.
        events = await world.connect().open_events("/events?topic=b&topic=c*", last_event_id=ids["a2"])
        assert [event for event, _, _ in (await first_id(events), await messages(events, 2))[1]] == [
            ids["c2"],
            ids["b2"],
        ]


async def test_the_header_beats_the_query_and_both_beat_rewind(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ids = [await world.publish(topic, 0) for topic in "abab"]
        target = "/events?topic=*&rewind=9&last_event_id="
        events = await world.connect().open_events(target + ids[0], last_event_id=ids[2])
        assert await first_id(events) == ids[2]
        assert (await events.next()).id == ids[3]
        events = await world.connect().open_events(target + ids[1])
        assert await first_id(events) == ids[1]
        assert (await events.next()).id == ids[2]


async def test_rewind_and_earliest_begin_just_before_the_oldest_of_all_topics(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        ids = [await world.publish(topic, 0) for topic in "xaaabab"]
        events = await world.connect().open_events("/events?topic=a&topic=b&rewind=1")
        assert await first_id(events) == before(ids[5])
        assert [each for each, _, _ in await messages(events, 2)] == ids[5:]
        events = await world.connect().open_events("/events?topic=a&topic=b&last_event_id=earliest")
        assert await first_id(events) == before(ids[1])
        assert [each for each, _, _ in await messages(events, 6)] == ids[1:]


async def test_a_client_cut_before_its_first_message_misses_nothing(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.publish("a", 0)
        peer = world.connect()
        started = await first_id(await peer.open_events("/events?topic=a&topic=b*"))
        await peer.aclose()
        ids = [await world.publish(topic, 0) for topic in ("b1", "a", "b2")]
        events = await world.connect().open_events("/events?topic=a&topic=b*", last_event_id=started)
        await first_id(events)
        assert [each for each, _, _ in await messages(events, 3)] == ids


async def test_a_foreign_cursor_gets_one_gap_that_names_every_entry(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ids = [await world.publish(topic, 0) for topic in ("x", "b1", "a")]
        events = await world.connect().open_events("/events?topic=a&topic=b*", last_event_id="no id")
        # Until it has been told, it has to come back as it came.
        assert await first_id(events) == ":0"
        gap = await events.next()
        assert (gap.event, gap.id) == ("gap", before(ids[1]))
        missed = [{"topic": "a", "missed": None}, {"topic": "b*", "missed": None}]
        assert said(gap) == {"reason": "epoch", "topics": missed}
        assert [each for each, _, _ in await messages(events, 2)] == ids[1:]


async def test_gaps_count_by_topic_and_seq_shows_the_same_hole(autojump_clock: MockClock) -> None:
    async with open_world(Settings(history=2)) as world:
        start = await world.publish("x", 0)
        ids = [await world.publish(topic, 0) for topic in "aababa"]
        events = await world.connect().open_events("/events?topic=a&topic=b", last_event_id=start)
        await first_id(events)
        gap = await events.next()
        assert (gap.event, gap.id) == ("gap", before(ids[2]))
        assert said(gap) == {"reason": "evicted", "topics": [{"topic": "a", "missed": 2}]}
        wanted = [(ids[2], "b", 1), (ids[3], "a", 3), (ids[4], "b", 2), (ids[5], "a", 4)]
        assert await messages(events, 4) == wanted


# The envelope


async def test_seq_has_no_holes_from_history_to_live(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        hub = world.application.events.hub
        await hub.publish([Draft("ab"[n % 2], "0") for n in range(200)])
        peer = world.connect(lockstep_stream_pair)
        events = await peer.open_events("/events?topic=a&topic=b&last_event_id=earliest")
        await first_id(events)
        found = await messages(events, 150)
        await hub.publish([Draft("ab"[n % 2], "0") for n in range(100)])
        found += await messages(events, 150)
        for topic in "ab":
            assert [seq for _, each, seq in found if each == topic] == list(range(1, 151))


async def test_the_envelope_of_one_topic_holds_json_as_it_is_and_text_as_a_string(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        plain = await world.connect().open_events("/topics/a/events?envelope=0")
        wrapped = await world.connect().open_events("/topics/a/events?envelope=1")
        await first_id(plain)
        await first_id(wrapped)
        values: list[object] = [{"n": [1, None]}, "zwölf \u2028", 1.5, None]
        for value in values:
            await world.publish("a", value)
        text = 'line "1"\nline 2'
        await world.request("POST", "/topics/a", text.encode(), content_type="text/plain")
        bare = [await plain.next() for _ in range(5)]
        envelopes = [await wrapped.next() for _ in range(5)]
        assert [event.id for event in bare] == [event.id for event in envelopes]
        assert [said(event)["data"] for event in envelopes] == [*values, text]
        assert [said(event)["seq"] for event in envelopes] == [1, 2, 3, 4, 5]
        assert [json.loads(event.data or "") for event in bare[:4]] == values
        assert bare[4].data == text


async def test_event_names_and_retry_stand_beside_the_envelope(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        events = await world.connect().open_events("/events?topic=a")
        await first_id(events)
        body = {"data": 1, "event": "update", "retry": 7000}
        await world.request("POST", "/topics/a", json_body=body)
        event = await events.next()
        assert (event.event, event.retry, said(event)["data"]) == ("update", 7000, 1)


# Silence and ends


async def test_a_heartbeat_says_where_the_stream_of_all_topics_stands(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        events = await world.connect().open_events("/events?topic=a&topic=b*&heartbeat=event")
        await first_id(events)
        await world.publish("b1", 0)
        await events.next()
        elsewhere = await world.publish("elsewhere", 0)
        beat = await events.next()
        assert (beat.event, beat.id, beat.data) == ("heartbeat", elsewhere, "{}")


async def test_a_drain_ends_a_stream_of_many_topics_behind_its_last_message(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        events = await world.connect().open_events("/events?topic=a&topic=b*")
        await first_id(events)
        ids = [await world.publish(topic, 0) for topic in ("b1", "a")]
        world.application.gate.close()
        for stream in list(world.application.registry.streams.values()):
            stream.end(CloseReason.SERVER_DRAINING)
        *found, closing = await events.rest()
        assert [event.id for event in found] == ids
        assert (closing.event, said(closing)["reason"]) == ("closing", "server_draining")
        assert events.complete
        refused = await world.connect().open_events("/events?topic=a&topic=b*")
        assert [event.event for event in await refused.rest()][-1] == "closing"


async def test_who_falls_behind_on_one_of_its_topics_is_cut_off_and_comes_back_for_the_rest(
    autojump_clock: MockClock,
) -> None:
    async with open_world(Settings(capacity=3)) as world:
        target = "/events?topic=a&topic=b"
        events = await world.connect(lockstep_stream_pair).open_events(target)
        started = await first_id(events)
        await wait_all_tasks_blocked()
        ids = [await world.publish(topic, 0) for topic in "abaaaaaab"]
        received = [event.id for event in await events.rest()]
        assert events.complete is False
        assert received == ids[: len(received)]
        last = (received[-1] if received else None) or started
        again = await world.connect().open_events(target, last_event_id=last)
        await first_id(again)
        rest = ids[len(received) :]
        assert [each for each, _, _ in await messages(again, len(rest))] == rest


async def test_a_stream_of_many_topics_leaves_nothing(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        peer = world.connect()
        await first_id(await peer.open_events("/events?topic=a&topic=b*&topic=c"))
        await world.publish("b1", 0)
        assert (await world.request("GET", "/topics/b1")).json()["subscribers"] == 1
        await peer.aclose()
        await world.wait_no_stream()
        assert (await world.request("GET", "/topics/b1")).json()["subscribers"] == 0
        stats = await world.stats()
        assert (stats["subscriptions"], stats["closed"]) == (0, {"events": {"client_disconnected": 1}})


async def test_the_built_in_clock_runs_for_a_subscriber_by_name(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        events = await world.connect().open_events("/events?topic=a&topic=clock")
        await first_id(events)
        with trio.fail_after(3):
            event = await events.next_data()
        assert (event.event, said(event)["topic"]) == ("time", "clock")


async def listed(world: World, query: str) -> list[str]:
    answer = await world.request("GET", f"/topics?{query}")
    assert answer.status == 200
    return [topic["topic"] for topic in answer.json()["topics"]]


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("*", ["a", "a.b", "a.c", "b"]),
        ("a", ["a"]),
        ("a.*", ["a.b", "a.c"]),
        ("*b", ["a.b", "b"]),
        ("a.?", ["a.b", "a.c"]),
        ("[ab]", ["a", "b"]),
        ("A", []),
        ("", []),
    ],
)
async def test_topics_are_listed_by_pattern(
    autojump_clock: MockClock, pattern: str, wanted: list[str]
) -> None:
    async with open_world() as world:
        for topic in ("b", "a.c", "a", "a.b"):
            await world.publish(topic, 0)
        found = await listed(world, f"pattern={pattern}")
        assert [each for each in found if each != "clock"] == wanted


async def test_a_pattern_and_pages_go_together(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        for n in range(5):
            await world.publish(f"a{n}", 0)
            await world.publish(f"b{n}", 0)
        page = (await world.request("GET", "/topics?pattern=b*&limit=3")).json()
        assert ([each["topic"] for each in page["topics"]], page["next"]) == (["b0", "b1", "b2"], "b2")
        page = (await world.request("GET", "/topics?pattern=b*&limit=3&after=b2")).json()
        assert ([each["topic"] for each in page["topics"]], page["next"]) == (["b3", "b4"], None)
