"""Event streams over a connection in memory: how they begin, what they carry, and how they end."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair

from server.hub import Cursor, Draft
from server.lifecycle import CloseReason
from server.settings import Settings
from tests.support.http_peer import EventReader, World, open_world
from tests.support.sse import Event

EVENTS = "/topics/news/events"


async def first_block(events: EventReader) -> str:
    """The id of the first block, which must be one of `retry` and `id` alone."""
    block = await events.next()
    assert block.retry is not None
    assert 1000 <= block.retry <= 5000
    assert block.id is not None
    assert block == Event(id=block.id, retry=block.retry)
    return block.id


def before(id: str) -> str:
    cursor = Cursor.parse(id)
    assert cursor is not None
    return str(Cursor(cursor.epoch, cursor.offset - 1))


def gap(event: Event) -> tuple[str | None, object]:
    assert event.event == "gap"
    return event.id, json.loads(event.data or "")


async def subscribed(world: World) -> None:
    """Wait until somebody is live on the topic."""
    await world.application.events.hub.wait_watched("news")


# How it begins


async def test_a_live_stream_begins_at_the_head(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        head = await world.publish("other", "of another topic")
        events = await world.connect().open_events(EVENTS)
        assert await first_block(events) == head
        published = await world.publish("news", {"n": 1})
        assert await events.next() == Event(id=published, data='{"n":1}')


async def test_the_head_of_the_answer_and_the_first_block_come_at_once(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        started = trio.current_time()
        events = await world.connect().open_events(EVENTS)
        await first_block(events)
        assert trio.current_time() == started
        assert events.status == 200
        assert events.headers["content-type"] == "text/event-stream"
        assert events.headers["cache-control"] == "no-store, no-transform"
        assert events.headers["x-accel-buffering"] == "no"
        assert "accept" in events.headers["vary"].lower()


@pytest.mark.parametrize("by", ["header", "query"])
async def test_a_resumed_stream_begins_at_the_clients_own_cursor(autojump_clock: MockClock, by: str) -> None:
    async with open_world() as world:
        ids = [await world.publish("news", n) for n in range(4)]
        peer = world.connect()
        if by == "header":
            events = await peer.open_events(EVENTS, last_event_id=ids[1])
        else:
            events = await peer.open_events(f"{EVENTS}?last_event_id={ids[1]}")
        assert await first_block(events) == ids[1]
        assert [(await events.next()).id for _ in range(2)] == ids[2:]


async def test_the_header_beats_the_query_and_both_beat_rewind(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ids = [await world.publish("news", n) for n in range(4)]
        target = f"{EVENTS}?last_event_id=earliest&rewind=4"
        events = await world.connect().open_events(target, last_event_id=ids[2])
        assert await first_block(events) == ids[2]
        assert (await events.next()).id == ids[3]


async def test_earliest_begins_just_before_the_oldest_message(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.publish("other", 0)
        ids = [await world.publish("news", n) for n in range(3)]
        events = await world.connect().open_events(f"{EVENTS}?last_event_id=earliest")
        assert await first_block(events) == before(ids[0])
        assert [(await events.next()).id for _ in ids] == ids


async def test_rewind_begins_just_before_the_newest_so_many(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ids = [await world.publish("news", n) for n in range(5)]
        events = await world.connect().open_events(f"{EVENTS}?rewind=2")
        assert await first_block(events) == before(ids[3])
        assert [(await events.next()).id for _ in range(2)] == ids[3:]


@pytest.mark.parametrize("query", ["?last_event_id=earliest", "?rewind=3"])
async def test_where_nothing_is_kept_a_replay_begins_at_the_head(
    autojump_clock: MockClock, query: str
) -> None:
    async with open_world() as world:
        head = await world.publish("other", 0)
        events = await world.connect().open_events(EVENTS + query)
        assert await first_block(events) == head
        published = await world.publish("news", 1)
        assert (await events.next()).id == published


@pytest.mark.parametrize("cursor", ["0123456789:1", "no%20id", "beyond"])
async def test_a_foreign_cursor_gets_a_gap_and_then_all_that_is_kept(
    autojump_clock: MockClock, cursor: str
) -> None:
    async with open_world() as world:
        await world.publish("other", 0)
        ids = [await world.publish("news", n) for n in range(2)]
        if cursor == "beyond":
            cursor = ids[1] + "9"
        events = await world.connect().open_events(f"{EVENTS}?last_event_id={cursor}")
        # No id of this store yet: a client that is cut here comes back, and is told of the gap then.
        assert await first_block(events) == (":0" if cursor == "no%20id" else cursor)
        wanted = {"reason": "epoch", "topics": [{"topic": "news", "missed": None}]}
        assert gap(await events.next()) == (before(ids[0]), wanted)
        assert [(await events.next()).id for _ in ids] == ids


async def test_a_foreign_cursor_of_an_empty_topic_gets_a_gap_at_the_head(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        head = await world.publish("other", 0)
        events = await world.connect().open_events(EVENTS, last_event_id="x:1")
        assert await first_block(events) == "x:1"
        assert gap(await events.next())[0] == head


async def test_an_evicted_cursor_begins_as_it_is_and_gets_a_gap(autojump_clock: MockClock) -> None:
    async with open_world(Settings(history=2)) as world:
        ids = [await world.publish("news", n) for n in range(5)]
        events = await world.connect().open_events(EVENTS, last_event_id=ids[0])
        assert await first_block(events) == ids[0]
        wanted = {"reason": "evicted", "topics": [{"topic": "news", "missed": None}]}
        assert gap(await events.next()) == (before(ids[3]), wanted)
        assert [(await events.next()).id for _ in range(2)] == ids[3:]


# What it carries


async def test_a_message_carries_id_event_retry_and_data_and_is_replayed_without_retry(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        live = await world.connect().open_events(EVENTS)
        await first_block(live)
        body = {"data": ["a", 1], "event": "update", "retry": 7000}
        number = (await world.request("POST", "/topics/news", json_body=body)).json()["id"]
        assert await live.next() == Event(id=number, event="update", data='["a",1]', retry=7000)
        replayed = await world.connect().open_events(f"{EVENTS}?last_event_id=earliest")
        await first_block(replayed)
        assert await replayed.next() == Event(id=number, event="update", data='["a",1]')


async def test_text_goes_out_in_lines(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        events = await world.connect().open_events(EVENTS)
        await first_block(events)
        await world.request("POST", "/topics/news", b" a\r\nb\rc\n", content_type="text/plain")
        assert (await events.next()).data == " a\nb\nc\n"


async def test_a_stream_over_http_1_0_is_not_chunked(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        peer = world.connect()
        await peer.stream.send_all(f"GET {EVENTS} HTTP/1.0\r\n\r\n".encode())
        await subscribed(world)
        drain(world)
        head, _, body = (await peer.exchange(b"")).partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower()
        assert body.startswith(b"retry: ")
        assert body.endswith(b"}\n\n")


# Silence


async def test_silence_is_broken_by_a_comment_after_the_interval(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        events = await world.connect().open_events(EVENTS)
        await first_block(events)
        started = trio.current_time()
        for beat in (1, 2, 3):
            assert await events.next() == Event(comment="")
            silence = trio.current_time() - started
            assert 15 * beat <= silence <= 15 * beat + beat + 1


async def test_there_is_no_heartbeat_while_data_flows(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        events = await world.connect().open_events(EVENTS)
        await first_block(events)
        for n in range(12):
            await trio.sleep(7.5)
            await world.publish("news", n)
        assert [(await events.next()).data for n in range(12)] == [str(n) for n in range(12)]


async def test_a_heartbeat_can_be_an_event_that_says_where_the_stream_stands(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        head = await world.publish("other", 0)
        events = await world.connect().open_events(f"{EVENTS}?heartbeat=event")
        assert await first_block(events) == head
        assert await events.next() == Event(id=head, event="heartbeat", data="{}")
        number = await world.publish("news", 1)
        assert (await events.next()).id == number
        assert await events.next() == Event(id=number, event="heartbeat", data="{}")


async def test_a_replay_leaves_the_heartbeat_at_the_newest_message_it_gave(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        ids = [await world.publish("news", n) for n in range(3)]
        events = await world.connect().open_events(f"{EVENTS}?heartbeat=event&last_event_id=earliest")
        await first_block(events)
        assert [(await events.next()).id for _ in ids] == ids
        assert (await events.next()).id == ids[-1]


# How it ends


async def test_a_drain_ends_a_stream_behind_its_last_message_with_closing(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        events = await world.connect().open_events(EVENTS)
        await first_block(events)
        number = await world.publish("news", 1)
        drain(world)
        message, closing = await events.rest()
        assert message.id == number
        assert closing.event == "closing"
        said = json.loads(closing.data or "")
        assert said == {"reason": "server_draining", "reconnect": True, "retry_ms": closing.retry}
        assert closing.retry is not None
        assert closing.retry >= 1000
        assert events.complete
        assert (await world.stats())["closed"] == {"events": {"server_draining": 1}}


async def test_a_drain_while_catching_up_ends_at_a_message_boundary(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.application.events.hub.publish([Draft("news", f'"{n}"') for n in range(500)])
        peer = world.connect(lockstep_stream_pair)
        events = await peer.open_events(f"{EVENTS}?last_event_id=earliest")
        await first_block(events)
        drain(world)
        *messages, closing = await events.rest()
        assert [event.data for event in messages] == [f'"{n}"' for n in range(len(messages))]
        assert len(messages) < 500
        assert closing.event == "closing"
        assert events.complete


async def test_a_slow_consumer_is_cut_off_and_counted_once(autojump_clock: MockClock) -> None:
    async with open_world(Settings(capacity=3)) as world:
        events = await world.connect(lockstep_stream_pair).open_events(EVENTS)
        await first_block(events)
        await subscribed(world)
        for n in range(10):
            await world.publish("news", n)
        received = await events.rest()
        assert events.complete is False
        assert all(event.event != "closing" for event in received)
        stats = await world.stats()
        assert stats["closed"] == {"events": {"slow_consumer": 1}}
        assert stats["messages"]["dropped"] == 1
        assert (stats["subscriptions"], stats["streams"]["events"]) == (0, 0)


async def test_a_client_that_goes_away_is_counted_once_and_leaves_nothing(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        peer = world.connect()
        await first_block(await peer.open_events(EVENTS))
        await subscribed(world)
        await peer.aclose()
        await world.wait_no_stream()
        stats = await world.stats()
        assert stats["closed"] == {"events": {"client_disconnected": 1}}
        assert stats["subscriptions"] == 0


async def test_bytes_behind_the_request_do_not_disturb_a_stream(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        peer = world.connect()
        events = await peer.open_events(EVENTS)
        await first_block(events)
        await peer.stream.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        number = await world.publish("news", 1)
        assert (await events.next()).id == number


def drain(world: World) -> None:
    """What the server does with streams when it is told to stop."""
    world.application.gate.close()
    for stream in list(world.application.registry.streams.values()):
        stream.end(CloseReason.SERVER_DRAINING)
