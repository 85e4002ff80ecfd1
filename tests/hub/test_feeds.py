"""Feeds: one task however many listen, and none while nobody does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from server.application import Extension
from server.hub import Feed, Hub, Publish, run_feed
from tests.hub.readers import Subscriber
from tests.support.http_peer import open_world
from tests.support.hubs import open_hub


class Counting:
    """A feed that counts each second, and how often it runs."""

    def __init__(self, linger: float = 5.0) -> None:
        self.running = self.begun = 0
        self.feed = Feed("counts", self.run, linger)

    async def run(self, publish: Publish) -> None:
        self.begun += 1
        self.running += 1
        try:
            number = 0
            while True:
                await publish(number)
                number += 1
                await trio.sleep(1)
        finally:
            self.running -= 1


@asynccontextmanager
async def feeding(feed: Feed) -> AsyncIterator[Hub]:
    hub = open_hub()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_feed, hub, feed)
        yield hub
        nursery.cancel_scope.cancel()


async def listen(hub: Hub, seconds: float, target: str = "counts") -> list[str]:
    subscriber = Subscriber(hub, None, target)
    with subscriber.subscription, trio.move_on_after(seconds):
        await subscriber.run()
    return subscriber.wire


async def test_a_feed_runs_once_for_all_who_listen_and_not_without_them(autojump_clock: MockClock) -> None:
    counting = Counting()
    async with feeding(counting.feed) as hub:
        await trio.sleep(100)
        assert counting.begun == 0
        async with trio.open_nursery() as nursery:
            for seconds in (3.5, 10.5):
                nursery.start_soon(listen, hub, seconds)
            await trio.sleep(2)
            assert (counting.begun, counting.running) == (1, 1)
        assert counting.running == 1
        await trio.sleep(5.1)
        assert (counting.begun, counting.running) == (1, 0)
        assert await listen(hub, 2.5) == ["0", "1", "2"]
        assert counting.begun == 2


async def test_a_listener_who_comes_back_in_time_finds_it_running(autojump_clock: MockClock) -> None:
    counting = Counting()
    async with feeding(counting.feed) as hub:
        await listen(hub, 1.5)
        await trio.sleep(4)
        await listen(hub, 20)
        assert counting.begun == 1
        await trio.sleep(5.1)
        assert counting.running == 0


async def test_without_lingering_it_ends_with_the_last_listener(autojump_clock: MockClock) -> None:
    counting = Counting(linger=0)
    async with feeding(counting.feed) as hub:
        await listen(hub, 1.5)
        await trio.testing.wait_all_tasks_blocked()
        assert counting.running == 0


async def test_listeners_by_pattern_count(autojump_clock: MockClock) -> None:
    counting = Counting(linger=0)
    async with feeding(counting.feed) as hub:
        assert await listen(hub, 1.5, "cou*") == ["0", "1"]
        await trio.testing.wait_all_tasks_blocked()
        assert (counting.begun, counting.running) == (1, 0)


async def test_a_feed_that_fails_is_logged_and_run_again_after_a_pause_that_grows(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    begun: list[float] = []

    async def run(publish: Publish) -> None:
        begun.append(trio.current_time())
        raise OSError("upstream")

    async with feeding(Feed("counts", run)) as hub:
        await listen(hub, 100)
        assert [round(b - a) for a, b in pairwise(begun)] == [1, 2, 4, 8, 16, 30, 30]
        assert "the feed of counts failed" in caplog.text


async def test_a_feed_that_has_ended_runs_again_for_those_who_come_later(autojump_clock: MockClock) -> None:
    async def run(publish: Publish) -> None:
        await publish({"all": 1})
        await publish("said", event="e", text=True)

    async with feeding(Feed("counts", run)) as hub:
        assert await listen(hub, 20) == ['{"all":1}', "said"]
        await trio.sleep(6)
        assert await listen(hub, 20) == ['{"all":1}', "said"]


async def test_what_is_published_wrongly_fails_the_feed(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def run(publish: Publish) -> None:
        await publish(5, text=True)

    async with feeding(Feed("counts", run)) as hub:
        await listen(hub, 0.5)
    assert "text is a str, not int" in caplog.text


async def test_a_server_runs_the_feeds_that_are_added_to_it(autojump_clock: MockClock) -> None:
    counting = Counting()
    async with open_world(extension=Extension(feeds=[counting.feed])) as world:
        peer = world.connect()
        reader = await peer.open_events("/topics/counts/events")
        await reader.next()
        assert [(await reader.next()).data for _ in range(3)] == ["0", "1", "2"]
        await peer.aclose()
        await trio.sleep(6)
        assert counting.running == 0


async def test_clients_neither_publish_to_the_topic_of_a_feed_nor_empty_it(autojump_clock: MockClock) -> None:
    reserved = (403, "topic_reserved")
    async with open_world(extension=Extension(feeds=[Counting().feed])) as world:
        one = await world.request("POST", "/topics/counts", b'{"data": 1}', content_type="application/json")
        assert one.problem == reserved
        ndjson = "application/x-ndjson"
        batch = await world.request("POST", "/topics/counts", b'{"data": 1}', content_type=ndjson)
        assert batch.problem == reserved
        line = b'{"topic": "counts", "data": 1}'
        assert (await world.request("POST", "/topics", line, content_type=ndjson)).problem == reserved
        assert (await world.request("DELETE", "/topics/counts")).problem == reserved
        # Without the feed it is a topic like any other, and with it the others are.
        other = await world.request("POST", "/topics/count", b'{"data": 1}', content_type="application/json")
        assert other.status == 201
