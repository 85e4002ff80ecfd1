"""Clients that stop reading, vanish or never finish: they lose their own connection, and nobody else's."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.clients.conftest import assert_nothing_failed
from tests.clients.sockets import PATIENCE, Api, Connection, Subscriber, descriptors, exchange, wait_until
from tests.support.process import ServerProcess

GET_EVENTS = b"GET /topics/gone/events HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_a_subscriber_that_stops_reading_is_gone_within_the_write_deadline_and_delays_nobody() -> None:
    args = ["--bind", "127.0.0.1:0", "--write-deadline", "1", "--drain-seconds", "1"]
    with ServerProcess(args) as server, Api(server.port) as api, ExitStack() as stack:
        stack.enter_context(Subscriber(server.port, "big", receive_buffer=4096))
        readers = [stack.enter_context(Subscriber(server.port, "big")).wait_open() for _ in range(5)]
        api.wait_open_events(6)
        for number in range(10):
            api.publish("big", str(number) * 30_000)
        for reader in readers:
            assert [text[0] for text in reader.wait_messages(10).data] == list("0123456789")
        wait_until(lambda: api.closed_events("slow_consumer") == 1, "the stalled one is gone", 1 + PATIENCE)
        api.publish("big", "after")
        for reader in readers:
            assert reader.wait_messages(11).data[-1] == "after"
        stats = api.stats()
        assert stats["subscriptions"] == 5
        assert stats["closed"]["events"] == {"slow_consumer": 1}
        assert stats["leaked"] == 0
        assert_nothing_failed(server)


def test_after_a_thousand_resets_nothing_is_left(running_server: ServerProcess, api: Api) -> None:
    kinds = ("connections", "subscriptions", "streams", "leaked")

    def open_now() -> list[object]:
        stats = api.stats()
        return [stats[kind] for kind in kinds]

    api.wait_open_events(0)
    before, files = open_now(), descriptors(running_server.pid)
    tasks = api.stats()["tasks"]
    with ExitStack() as stack:
        subscribers = [stack.enter_context(Subscriber(running_server.port, "crowd")) for _ in range(1000)]
        api.wait_open_events(1000)
        api.publish("crowd", "once")
        for subscriber in subscribers:
            assert subscriber.wait_messages(1).data == ["once"]
        started = time.monotonic()
        for subscriber in subscribers:
            subscriber.reset()
        reset = time.monotonic()
    wait_until(lambda: open_now() == before, "as it was before", 5)
    now = time.monotonic()
    print(f"1,000 resets took {(reset - started) * 1000:.0f} ms, clean {(now - reset) * 1000:.0f} ms later")
    wait_until(lambda: descriptors(running_server.pid) <= files, "the descriptors are closed", 5)
    wait_until(lambda: bool(api.stats()["tasks"] <= tasks), "the tasks have ended", 5)
    assert api.stats()["leaked"] == 0


def test_a_client_that_was_killed_is_noticed(running_server: ServerProcess, api: Api) -> None:
    api.wait_open_events(0)
    url = f"{running_server.url}/topics/killed/events"
    with subprocess.Popen(["curl", "--silent", "--no-buffer", url], stdout=subprocess.DEVNULL) as client:
        api.wait_open_events(1)
        client.kill()
    api.wait_open_events(0)


def test_a_half_close_ends_a_stream_and_not_a_short_answer(running_server: ServerProcess, api: Api) -> None:
    api.wait_open_events(0)
    before = api.closed_events("client_disconnected")
    with Subscriber(running_server.port, "half-closed") as subscriber:
        subscriber.wait_open()
        subscriber.half_close()
        subscriber.wait_end()
    assert api.closed_events("client_disconnected") == before + 1
    assert exchange(running_server.port, b"GET /stats HTTP/1.0\r\n\r\n")[0] == 200


def test_two_hundred_half_heads_disturb_nobody(running_server: ServerProcess, api: Api) -> None:
    with ExitStack() as stack:
        for number in range(200):
            connection = stack.enter_context(Connection(running_server.port))
            connection.send(
                b"GET /topics/a/events HTTP/1.1\r\nHost: localhost\r\nX-Rest: "[: 1 + number % 60]
            )
        with Subscriber(running_server.port, "beside") as subscriber:
            subscriber.wait_open()
            for number in range(10):
                api.publish("beside", number)
            assert subscriber.wait_messages(10).data == list(range(10))
        assert api.stats()["connections"]["http"] > 200
    wait_until(lambda: api.stats()["connections"]["http"] == 1, "the half heads are gone")


def test_beyond_the_limit_event_streams_are_told_to_come_back_and_others_get_a_503() -> None:
    args = ["--bind", "127.0.0.1:0", "--max-connections", "2", "--drain-seconds", "1"]
    with ServerProcess(args) as server, ExitStack() as stack:
        api = stack.enter_context(Api(server.port))
        api.stats()
        with Subscriber(server.port, "full") as first:
            first.wait_open()
            status, headers, body = exchange(server.port, b"GET /stats HTTP/1.0\r\n\r\n")
            assert (status, json.loads(body)["code"]) == (503, "connections_full")
            with Subscriber(server.port, "full") as second:
                second.wait_end()
                assert second.ended
                assert second.head is not None
                assert second.head.status_code == 200
                retry, closing = second.events
                assert retry.retry is not None
                assert closing.event == "closing"
                assert json.loads(closing.data or "")["reason"] == "limit"
                assert json.loads(closing.data or "")["reconnect"] is True
            assert int(headers["retry-after"]) >= 1
        # One place is free again.
        wait_until(lambda: exchange(server.port, b"GET /stats HTTP/1.0\r\n\r\n")[0] == 200, "served again")
        assert_nothing_failed(server)


def test_a_page_of_an_allowed_origin_may_read_what_a_full_server_answers() -> None:
    """Without CORS headers its EventSource would give up for good, whatever the status."""
    limits = ["--max-connections", "1", "--drain-seconds", "1"]
    origin = "https://app.example"
    with ServerProcess(["--bind", "127.0.0.1:0", "--allow-origin", origin, *limits]) as server:
        head = f"GET /topics/a/events HTTP/1.0\r\nOrigin: {origin}\r\n"
        with Subscriber(server.port, "a") as only:
            only.wait_open()
            accepted = ("text/event-stream", "*/*")
            requests = [f"{head}Accept: {accept}\r\n\r\n".encode() for accept in accepted]
            answers = [exchange(server.port, request) for request in requests]
        assert [status for status, _, _ in answers] == [200, 503]
        for _, headers, _ in answers:
            assert headers["access-control-allow-origin"] == origin
            assert headers["access-control-expose-headers"] == "Location, Retry-After"


def test_no_proxy_keeps_changes_or_holds_back_what_a_full_server_answers() -> None:
    limits = ["--max-connections", "1", "--drain-seconds", "1"]
    origin = "https://app.example"
    with ServerProcess(["--bind", "127.0.0.1:0", "--allow-origin", origin, *limits]) as server:
        with Subscriber(server.port, "a") as only:
            only.wait_open()
            events = {"Accept": "text/event-stream", "Origin": origin}
            with Subscriber(server.port, "a", headers=events) as stream:
                assert stream.wait_end().head is not None
                headers = stream.head.headers if stream.head is not None else []
            _, problem, _ = exchange(server.port, b"GET /stats HTTP/1.0\r\n\r\n")
        assert (b"cache-control", b"no-store, no-transform") in headers
        assert (b"x-accel-buffering", b"no") in headers
        assert (b"x-content-type-options", b"nosniff") in headers
        assert {value for name, value in headers if name == b"vary"} == {b"Accept", b"Origin"}
        assert problem["cache-control"] == "no-store"
        assert problem["x-content-type-options"] == "nosniff"


def pipeline_behind_a_subscribe(port: int) -> None:
    with Connection(port) as connection:
        connection.send(GET_EVENTS + b"GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
        assert b" 200 " in connection.receive()


def leave_between_head_and_handover(port: int) -> None:
    with Connection(port) as connection:
        connection.send(GET_EVENTS)
        connection.reset()


def leave_with_a_fin_at_once(port: int) -> None:
    with Connection(port) as connection:
        connection.send(GET_EVENTS)


def subscribe_with_http_1_0(port: int) -> None:
    with Connection(port) as connection:
        connection.send(GET_EVENTS.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert b" 200 " in connection.receive()


def leave_after_100_continue(port: int) -> None:
    with Connection(port) as connection:
        connection.send(
            b"POST /topics/gone HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
            b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n"
        )
        assert connection.receive().startswith(b"HTTP/1.1 100 ")


def leave_within_a_body(port: int) -> None:
    with Connection(port) as connection:
        connection.send(
            b"POST /topics/gone HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
            b"Content-Length: 10\r\n\r\nhalf"
        )


def half_close_a_stream(port: int) -> None:
    with Connection(port) as connection:
        connection.send(GET_EVENTS)
        connection.half_close()
        connection.receive_all()


def say_nothing(port: int) -> None:
    with Connection(port):
        pass


@pytest.mark.parametrize(
    "leave",
    [
        pipeline_behind_a_subscribe,
        leave_between_head_and_handover,
        leave_with_a_fin_at_once,
        subscribe_with_http_1_0,
        leave_after_100_continue,
        leave_within_a_body,
        half_close_a_stream,
        say_nothing,
    ],
    ids=lambda leave: leave.__name__.replace("_", " "),
)
def test_no_descriptor_is_left_by_clients_that(
    leave: Callable[[int], None], running_server: ServerProcess, api: Api
) -> None:
    api.wait_open_events(0)
    wait_until(lambda: api.stats()["connections"]["http"] == 1, "only our own connection is open")
    before = descriptors(running_server.pid)
    for _ in range(20):
        leave(running_server.port)
    # Connections are accepted in their order: behind this one, all of them have been.
    assert exchange(running_server.port, b"GET /health/live HTTP/1.0\r\n\r\n")[0] == 200
    wait_until(lambda: descriptors(running_server.pid) <= before, f"{before} descriptors")
    wait_until(lambda: bool(api.stats()["subscriptions"] == 0), "no subscription is left")
    assert api.stats()["leaked"] == 0
