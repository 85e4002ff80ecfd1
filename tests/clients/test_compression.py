"""Compressed event streams as clients see them that others wrote: each event as soon as it is published."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import httpx
import httpx_sse
import pytest

from tests.clients.conftest import assert_nothing_failed
from tests.clients.sockets import PATIENCE, Api, Connection, Subscriber, wait_until
from tests.clients.test_curl import curl, read_events, watching
from tests.support.process import ServerProcess
from tests.support.sse import Event, SSEParser

CODINGS = ["zstd", "gzip", "br"]

Watch = Callable[[str, str], AbstractContextManager[Iterator[Event]]]
"""Watch a URL in a coding: its events with data, as they come."""

by_coding = pytest.mark.parametrize("coding", CODINGS)


@contextmanager
def watching_with_curl(url: str, coding: str) -> Iterator[Iterator[Event]]:
    with watching(url, "--compressed", "--header", f"Accept-Encoding: {coding}") as lines:
        parser = SSEParser()
        yield (event for line in lines for event in parser.feed(line) if event.data is not None)


@contextmanager
def watching_with_httpx(url: str, coding: str) -> Iterator[Iterator[Event]]:
    headers = {"Accept-Encoding": coding}
    with (
        httpx.Client(timeout=PATIENCE, trust_env=False) as client,
        httpx_sse.connect_sse(client, "GET", url, headers=headers) as source,
    ):
        assert source.response.headers["content-encoding"] == coding
        yield (Event(id=each.id, data=each.data) for each in source.iter_sse() if each.data)


@pytest.mark.parametrize("watch", [watching_with_curl, watching_with_httpx])
@by_coding
def test_each_event_is_seen_before_the_next_is_published(
    running_server: ServerProcess,
    api: Api,
    watch: Watch,
    coding: str,
) -> None:
    topic = f"seen-at-once-{coding}"
    api.wait_open_events(0)
    with watch(f"{running_server.url}/topics/{topic}/events?compress=1", coding) as events:
        api.wait_open_events(1)
        for number in range(20):
            published = api.publish(topic, {"number": number})
            event = next(events)
            assert (event.id, json.loads(event.data or "")) == (published, {"number": number})


@by_coding
def test_curl_gets_the_coding_it_named(running_server: ServerProcess, api: Api, coding: str) -> None:
    url = f"{running_server.url}/topics/by-name/events?compress=1"
    asked = curl("--head", "--header", f"Accept-Encoding: {coding}", url)
    assert f"content-encoding: {coding}" in asked.stdout.lower()


def test_curl_by_itself_is_served_compressed(running_server: ServerProcess, api: Api) -> None:
    api.publish("by-itself", "hello")
    url = f"{running_server.url}/topics/by-itself/events?compress=1&last_event_id=earliest"
    assert "content-encoding:" in curl("--head", "--compressed", url).stdout.lower()
    with watching(url, "--compressed") as lines:
        (event,) = read_events(lines, 1)
    assert event.data == '"hello"'


def test_the_fetch_of_node_reads_it(running_server: ServerProcess, api: Api) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.fail("these tests need Node.js, for the reader of its fetch")
    ids = [api.publish("by-node", number) for number in range(3)]
    script = Path(__file__).with_name("read_events.mjs")
    url = f"{running_server.url}/topics/by-node/events?compress=1"
    read = subprocess.run(
        [node, str(script), url, "3", "earliest"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert read.returncode == 0, read.stderr
    assert [each["id"] for each in json.loads(read.stdout)] == ids


@by_coding
def test_a_drain_ends_the_answer_so_that_clients_know_it_is_whole(coding: str) -> None:
    with ServerProcess(["--bind", "127.0.0.1:0", "--drain-seconds", "1"]) as server, Api(server.port) as api:
        url = f"{server.url}/topics/drained/events?compress=1"
        command = ["curl", "--silent", "--show-error", "--fail", "--compressed", "--max-time", "15"]
        command += ["--header", f"Accept-Encoding: {coding}", url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
            api.wait_open_events(1)
            api.publish("drained", "last words")
            assert server.terminate() == 0
            shown, complaints = client.communicate(timeout=PATIENCE)
        # curl fails where a transfer or its coding breaks off.
        assert (client.returncode, complaints) == (0, b"")
        *_, message, closing = SSEParser().feed(shown)
        assert (message.data, closing.event) == ('"last words"', "closing")
        assert_nothing_failed(server)


@by_coding
def test_a_compressed_subscriber_that_stops_reading_is_gone_within_the_write_deadline(coding: str) -> None:
    args = ["--bind", "127.0.0.1:0", "--write-deadline", "1", "--drain-seconds", "1"]
    with ServerProcess(args) as server, Api(server.port) as api, ExitStack() as stack:
        stalled = stack.enter_context(Connection(server.port, receive_buffer=4096))
        head = f"GET /topics/big/events?compress=1 HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {coding}"
        stalled.send(f"{head}\r\n\r\n".encode())
        reader = stack.enter_context(Subscriber(server.port, "big")).wait_open()
        api.wait_open_events(2)
        # Nothing that could be compressed away: hexadecimal digits keep half of it.
        for _ in range(10):
            api.publish("big", os.urandom(30_000).hex())
        reader.wait_messages(10)
        wait_until(lambda: api.closed_events("slow_consumer") == 1, "the stalled one is gone", 1 + PATIENCE)
        stats = api.stats()
        assert (stats["subscriptions"], stats["leaked"]) == (1, 0)
        received = stalled.receive_all()
        assert f"content-encoding: {coding}".encode() in received.lower()
        assert not received.endswith(b"0\r\n\r\n")
        assert_nothing_failed(server)
