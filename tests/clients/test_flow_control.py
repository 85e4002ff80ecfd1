"""Flow control through the real process and the kernel's buffers: what a client misses, it is told, and a
client that is slow gets what its topic promises.

Loads are several times what the kernels of both sides hold, and clients take little (a small receive
buffer): otherwise the buffers would hide a reader that has stopped.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.clients.conftest import assert_nothing_failed
from tests.clients.sockets import Api, Subscriber, wait_until
from tests.clients.test_curl import read_events, watching
from tests.support.process import ServerProcess

PAYLOAD = "x" * 20_000
COUNT = 400
HIDDEN = 40
"""Messages of that size that may hide between the server and a client that does not read: kernels on both
sides, the write under way, and what is offered before the kernel refuses."""
RULES = (
    "new.*:overflow=drop_oldest,capacity=20",
    "now.*:overflow=latest",
    "all.*:overflow=block,capacity=20",
)


@pytest.fixture(scope="module")
def ruled_server() -> Iterator[ServerProcess]:
    rules = [argument for rule in RULES for argument in ("--topic", rule)]
    with ServerProcess(["--bind", "127.0.0.1:0", "--drain-seconds", "1", *rules]) as server:
        yield server
        assert_nothing_failed(server)


@pytest.fixture
def ruled(ruled_server: ServerProcess) -> Iterator[Api]:
    with Api(ruled_server.port) as api:
        yield api


def stalled(server: ServerProcess, topic: str) -> Subscriber:
    """A subscriber with envelopes, which has read the first block and nothing since."""
    return Subscriber(server.port, topic, query="envelope=1", receive_buffer=4096).wait_open()


def payload(number: int) -> dict[str, object]:
    return {"n": number, "rest": PAYLOAD}


def numbers(subscriber: Subscriber) -> list[int]:
    return [each["data"]["n"] for each in subscriber.data]


def test_curl_resumes_with_other_topics_and_gets_exactly_what_it_has_not_had(
    running_server: ServerProcess, api: Api
) -> None:
    def events(count: int, last_event_id: str, *topics: str) -> list[Any]:
        url = f"{running_server.url}/events?{urlencode([('topic', topic) for topic in topics])}"
        with watching(url, "-H", f"Last-Event-ID: {last_event_id}") as lines:
            return read_events(lines, count)

    def shown(found: list[Any]) -> list[tuple[str, int, Any]]:
        envelopes = [json.loads(each.data) for each in found]
        return [(each["topic"], each["seq"], each["data"]) for each in envelopes]

    for topic in ("set.a", "set.b", "set.a", "other.c", "set.b"):
        api.publish(topic, f"to {topic}")
    first = events(2, "earliest", "set.a", "other.*")
    assert shown(first) == [("set.a", 1, "to set.a"), ("set.a", 2, "to set.a")]
    # Of what is new in the set, that which came after the cursor; of what was in it before, nothing twice.
    second = events(2, first[-1].id, "set.*", "other.c")
    assert shown(second) == [("other.c", 1, "to other.c"), ("set.b", 2, "to set.b")]
    api.publish("set.new", "n1")
    assert shown(events(1, second[-1].id, "set.*")) == [("set.new", 1, "n1")]


def test_drop_oldest_tells_a_stalled_client_how_many_it_missed(
    ruled_server: ServerProcess, ruled: Api
) -> None:
    with stalled(ruled_server, "new.orders") as subscriber:
        for number in range(COUNT):
            ruled.publish("new.orders", payload(number))
        dropped = ruled.stats()["messages"]["dropped"]
        subscriber.wait_for(lambda: numbers(subscriber)[-1:] == [COUNT - 1])
        assert dropped > COUNT - HIDDEN
        missed, next_seq = 0, 1
        for event in subscriber.events[1:]:
            data = json.loads(event.data or "")
            if event.event == "gap":
                assert data["reason"] == "overflow"
                ((topic, count),) = [(each["topic"], each["missed"]) for each in data["topics"]]
                assert topic == "new.orders"
                missed += count
                next_seq += count
            else:
                assert data["seq"] == next_seq
                next_seq += 1
        assert missed + len(subscriber.messages) == COUNT
        assert missed == dropped
        # The newest that fit have waited for it.
        assert numbers(subscriber)[-20:] == list(range(COUNT - 20, COUNT))


def test_latest_gives_a_slow_client_fresh_values(ruled_server: ServerProcess, ruled: Api) -> None:
    with stalled(ruled_server, "now.price") as subscriber:
        for number in range(COUNT):
            ruled.publish("now.price", payload(number))
        subscriber.wait_for(lambda: numbers(subscriber)[-1:] == [COUNT - 1])
        # What was stale when it read on is what the kernels held, and not a backlog.
        assert len(subscriber.messages) < HIDDEN
        assert subscriber.named("gap") == []
        ruled.publish("now.price", payload(COUNT))
        subscriber.wait_for(lambda: numbers(subscriber)[-1:] == [COUNT])


def test_block_makes_the_publisher_wait_and_go_on(ruled_server: ServerProcess, ruled: Api) -> None:
    before = int(ruled.stats()["messages"]["published"])

    def published() -> int:
        return int(ruled.stats()["messages"]["published"]) - before

    def publish_all() -> None:
        with Api(ruled_server.port) as api:
            for number in range(COUNT):
                api.publish("all.audit", payload(number))

    with stalled(ruled_server, "all.audit") as subscriber:
        publisher = threading.Thread(target=publish_all)
        publisher.start()
        wait_until(lambda: published() >= 20, "what there is room for is published")
        publisher.join(2)
        assert publisher.is_alive()
        assert published() < 20 + HIDDEN
        subscriber.wait_messages(COUNT)
        publisher.join(15)
        assert not publisher.is_alive()
        assert numbers(subscriber) == list(range(COUNT))
        assert subscriber.named("gap") == []


def test_a_publisher_that_blocks_holds_up_no_other_topic(ruled_server: ServerProcess, ruled: Api) -> None:
    def publish_one() -> None:
        with Api(ruled_server.port) as api:
            api.publish_batch("all.held", [payload(number) for number in range(20)])

    with stalled(ruled_server, "all.held") as subscriber:
        publishers = [threading.Thread(target=publish_one) for _ in range(20)]
        for publisher in publishers:
            publisher.start()
        with Subscriber(ruled_server.port, "beside").wait_open() as other:
            for number in range(100):
                ruled.publish("beside", number)
            assert other.wait_messages(100).data == list(range(100))
        assert any(publisher.is_alive() for publisher in publishers)
        subscriber.wait_messages(400)
        for publisher in publishers:
            publisher.join(15)
        assert [each["seq"] for each in subscriber.data] == list(range(1, 401))
