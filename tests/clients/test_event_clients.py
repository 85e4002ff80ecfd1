"""Clients that others wrote, and one of bare sockets: each sees every event once, across a cut."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import httpx_sse
import pytest

from tests.clients.sockets import PATIENCE, Api, Subscriber
from tests.support.process import ServerProcess

Received = tuple[str, str, str]
"""Id, event name and data of an event."""
Read = Callable[[str, int, str | None], list[Received]]
"""Read so many events with data from a URL, resuming behind an id; then cut the connection."""


def read_with_sockets(url: str, count: int, last_event_id: str | None) -> list[Received]:
    parts = httpx.URL(url)
    topic = parts.path.split("/")[2]
    with Subscriber(parts.port or 0, topic, last_event_id=last_event_id) as subscriber:
        subscriber.wait_for(lambda: sum(each.data is not None for each in subscriber.events) >= count)
        shown = [each for each in subscriber.events if each.data is not None]
        return [(each.id or "", each.event, each.data or "") for each in shown[:count]]


def read_with_httpx(url: str, count: int, last_event_id: str | None) -> list[Received]:
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    found: list[Received] = []
    with (
        httpx.Client(timeout=PATIENCE, trust_env=False) as client,
        httpx_sse.connect_sse(client, "GET", url, headers=headers) as source,
    ):
        for event in source.iter_sse():
            if event.data:
                found.append((event.id, event.event, event.data))
            if len(found) == count:
                return found
    raise AssertionError(f"the stream has ended; so far: {found}")


def read_with_node(url: str, count: int, last_event_id: str | None) -> list[Received]:
    node = shutil.which("node")
    if node is None:
        pytest.fail("these tests need Node.js, for the reader of its fetch")
    script = Path(__file__).with_name("read_events.mjs")
    command = [node, str(script), url, str(count), last_event_id or ""]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 0, ended.stderr
    return [(each["id"], each["event"], each["data"]) for each in json.loads(ended.stdout)]


@pytest.fixture(params=[read_with_sockets, read_with_httpx, read_with_node])
def read(request: pytest.FixtureRequest) -> Read:
    reader: Read = request.param
    return reader


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic of the test's own."""
    return "".join(each if each.isalnum() else "-" for each in request.node.name)


def test_reads_everything_from_the_earliest_on(
    running_server: ServerProcess, api: Api, topic: str, read: Read
) -> None:
    data = ["wörld", {"a": [1, None]}, "two\nlines"]
    ids = [api.publish(topic, each, event="greeting") for each in data]
    received = read(f"{running_server.url}/topics/{topic}/events", 3, "earliest")
    assert [(each[0], each[1], json.loads(each[2])) for each in received] == [
        (message_id, "greeting", each) for message_id, each in zip(ids, data, strict=True)
    ]


def test_resumes_with_nothing_lost_and_nothing_doubled(
    running_server: ServerProcess, api: Api, topic: str, read: Read
) -> None:
    ids = [api.publish(topic, number) for number in range(5)]
    url = f"{running_server.url}/topics/{topic}/events"
    received = read(url, 2, "earliest")
    # A cut, and what was published meanwhile; among it what is not of this topic.
    api.publish(topic + "-other", "not for us")
    ids += [api.publish(topic, number) for number in range(5, 200)]
    received += read(url, 100, received[-1][0])
    received += read(url, 98, received[-1][0])
    assert [each[0] for each in received] == ids
    assert [json.loads(data) for _, _, data in received] == list(range(200))


def test_a_restart_is_a_gap_and_not_a_silence(topic: str, read: Read) -> None:
    with ServerProcess() as server:
        url = f"{server.url}/topics/{topic}/events"
        with Api(server.port) as api:
            last = api.publish(topic, "before")
        server.restart()
        with Api(server.port) as api:
            after = api.publish(topic, "after")
        gap, message = read(url, 2, last)
    assert (gap[1], json.loads(gap[2])) == (
        "gap",
        {"reason": "epoch", "topics": [{"topic": topic, "missed": None}]},
    )
    assert message == (after, "message", '"after"')
    assert gap[0] != last


def test_a_client_cut_before_its_first_message_misses_none(running_server: ServerProcess, api: Api) -> None:
    with Subscriber(running_server.port, "cut-early") as subscriber:
        position = subscriber.wait_open().last_event_id
    sent = [api.publish("cut-early", number) for number in range(3)]
    with Subscriber(running_server.port, "cut-early", last_event_id=position) as subscriber:
        subscriber.wait_messages(3)
        assert [each.id for each in subscriber.messages] == sent


def test_the_live_end_follows_history_without_a_seam(running_server: ServerProcess, api: Api) -> None:
    """Cut again and again while messages are being published."""
    received: list[int] = []
    position = "earliest"
    for number in range(300):
        api.publish("seam", number)
        if number % 20 == 10:
            with Subscriber(running_server.port, "seam", last_event_id=position) as subscriber:
                api.publish("seam", number + 0.5)
                subscriber.wait_messages(1)
                received += subscriber.data
                position = subscriber.last_event_id
    with Subscriber(running_server.port, "seam", last_event_id=position) as subscriber:
        while len(received) + len(subscriber.messages) < 315:
            subscriber.wait_messages(len(subscriber.messages) + 1)
        received += subscriber.data
    assert received == sorted({*range(300), *(number + 0.5 for number in range(10, 300, 20))})
