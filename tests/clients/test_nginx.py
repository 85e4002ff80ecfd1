"""Behind a real nginx, configured as docs/how-to/nginx.md says: what plain clients see."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.clients.sockets import Api, Connection, Subscriber, parsed, wait_until
from tests.support.frames import Close
from tests.support.house import hear_to_the_end, hear_until, saying
from tests.support.nginx import Nginx, blocks, replaced
from tests.support.process import ServerProcess
from tests.support.websocket_peer import WebSocketPeer

ARGS = ("--bind", "127.0.0.1:0", "--drain-seconds", "2")
GZIP = {"Accept-Encoding": "gzip, br"}


@contextmanager
def behind_nginx(
    directory: Path, args: Sequence[str] = (), site: str | None = None
) -> Iterator[tuple[ServerProcess, Nginx]]:
    with ServerProcess([*ARGS, *args]) as server, Nginx(directory, server.port, site) as nginx:
        yield server, nginx


def request(nginx: Nginx, line: str, body: str = "", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """One request through nginx; an underscore in a header's name stands for a hyphen."""
    fields = {"Host": "localhost", "Content-Type": "text/plain", "Connection": "close", **headers}
    lines = [f"{line} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    with Connection(nginx.port) as connection:
        # No half-close behind it: nginx takes that for a client that has gone.
        connection.send((head + body).encode())
        return parsed(connection.receive_all())


def header(subscriber: Subscriber, name: bytes) -> bytes | None:
    assert subscriber.head is not None
    return dict(subscriber.head.headers).get(name)


def test_a_client_that_comes_back_gets_what_it_missed(tmp_path: Path) -> None:
    with behind_nginx(tmp_path) as (server, nginx), Api(server.port) as api:
        with Subscriber(nginx.port, "news") as first:
            first.wait_open()
            api.publish("news", 0)
            assert first.wait_messages(1).data == [0]
            nginx.stop()
            first.wait_end()
            assert not first.ended
        api.publish("news", 1)
        nginx.start()
        with Subscriber(nginx.port, "news", last_event_id=first.last_event_id) as second:
            api.wait_open_events(1)
            api.publish("news", 2)
            assert second.wait_messages(2).data == [1, 2]
            assert second.named("gap") == []


def test_after_a_reload_clients_are_cut_in_time_and_resume(tmp_path: Path) -> None:
    main = replaced(blocks()[3], "worker_shutdown_timeout 30s;", "worker_shutdown_timeout 1s;")
    with ServerProcess(ARGS) as server, Nginx(tmp_path, server.port, main=main) as nginx:
        with Api(server.port) as api, Subscriber(nginx.port, "news") as first:
            first.wait_open()
            nginx.reload()
            first.wait_end()
            assert not first.ended
            api.publish("news", 1)
            with Subscriber(nginx.port, "news", last_event_id=first.last_event_id) as second:
                assert second.wait_messages(1).data == [1]
                assert second.named("gap") == []


@pytest.mark.parametrize("how", ["drain", "kill"])
def test_while_the_server_is_away_subscribers_are_told_to_come_back_and_others_get_a_502(
    tmp_path: Path, how: str
) -> None:
    with behind_nginx(tmp_path) as (server, nginx):
        with Subscriber(nginx.port, "news") as before:
            before.wait_open()
            if how == "drain":
                server.terminate()
            else:
                server.kill()
            before.wait_end()
            # Cut by a crash, the answer must not look complete.
            assert before.ended == (how == "drain")
        assert [event.event for event in before.events[1:]] == (["closing"] if how == "drain" else [])
        retries = []
        for _ in range(10):
            with Subscriber(
                nginx.port, "news", last_event_id=before.last_event_id, headers=GZIP
            ) as meanwhile:
                meanwhile.wait_end()
                assert meanwhile.ended
                assert meanwhile.head is not None
                assert meanwhile.head.status_code == 200
                assert header(meanwhile, b"content-type") == b"text/event-stream"
                assert header(meanwhile, b"cache-control") == b"no-store, no-transform"
                assert header(meanwhile, b"x-content-type-options") == b"nosniff"
                assert header(meanwhile, b"content-encoding") is None
                retry, closing = meanwhile.events
                said = json.loads(closing.data or "")
                assert (closing.event, said["reconnect"]) == ("closing", True)
                assert retry.retry == closing.retry == said["retry_ms"]
                assert meanwhile.last_event_id == ""
                retries.append(retry.retry)
        assert len(set(retries)) > 1
        assert set(retries) <= {1000, 2000, 3000, 4000, 5000}
        for line in ("GET /stats", "POST /topics/news"):
            assert request(nginx, line)[0] == 502
        assert request(nginx, "POST /topics/news", "a message", Accept="text/event-stream")[0] == 502
        server.restart()
        with Subscriber(nginx.port, "news", last_event_id=before.last_event_id) as after:
            after.wait_for(lambda: after.named("gap") != [])
            assert json.loads(after.named("gap")[0].data or "")["reason"] == "epoch"


def test_a_page_of_another_origin_may_read_what_nginx_answers(tmp_path: Path) -> None:
    closing = "location @sluiceway_closing {\n"
    site = replaced(blocks()[0], closing, closing + blocks()[1])
    with behind_nginx(tmp_path, site=site) as (server, nginx):
        server.kill()
        with Subscriber(nginx.port, "news") as subscriber:
            subscriber.wait_end()
            assert header(subscriber, b"access-control-allow-origin") == b"https://page.example"
            assert header(subscriber, b"cache-control") == b"no-store, no-transform"


def test_a_stream_is_not_buffered_even_where_nginx_sees_no_chunks(tmp_path: Path) -> None:
    """Over HTTP/1.0 nginx holds small pieces back, but for X-Accel-Buffering."""
    site = replaced(blocks()[0], "proxy_http_version 1.1;", "proxy_http_version 1.0;")
    assert "proxy_buffering" not in site
    with behind_nginx(tmp_path, site=site) as (server, nginx), Api(server.port) as api:
        with Subscriber(nginx.port, "news") as subscriber:
            subscriber.wait_open()
            for number in range(3):
                api.publish("news", number)
                assert subscriber.wait_messages(number + 1).data[-1] == number


def test_a_stream_is_not_compressed(tmp_path: Path) -> None:
    with behind_nginx(tmp_path) as (_, nginx), Subscriber(nginx.port, "clock", headers=GZIP) as subscriber:
        assert subscriber.wait_messages(1).messages[0].event == "time"
        assert header(subscriber, b"content-encoding") is None
        assert header(subscriber, b"cache-control") == b"no-store, no-transform"


def test_a_client_that_is_gone_is_noticed(tmp_path: Path) -> None:
    with behind_nginx(tmp_path) as (server, nginx), Api(server.port) as api:
        with Subscriber(nginx.port, "news") as subscriber:
            subscriber.wait_open()
            assert api.stats()["subscriptions"] == 1
        wait_until(lambda: api.stats()["subscriptions"] == 0, "the subscription is gone")
        assert api.closed_events("client_disconnected") == 1


def test_a_client_that_stops_reading_is_noticed(tmp_path: Path) -> None:
    """With buffering, nginx would take a gigabyte for it."""
    with behind_nginx(tmp_path, ["--write-deadline", "1"]) as (server, nginx), Api(server.port) as api:
        with Subscriber(nginx.port, "big", receive_buffer=4096):
            api.wait_open_events(1)
            for _ in range(600):
                api.publish("big", "x" * 30_000)
            wait_until(lambda: api.closed_events("slow_consumer") == 1, "it is found to be slow")


def test_heartbeats_keep_a_silent_stream_open(tmp_path: Path) -> None:
    site = replaced(blocks()[0], "proxy_read_timeout 60s;", "proxy_read_timeout 3s;")
    with behind_nginx(tmp_path, ["--heartbeat", "0.25"], site) as (_, nginx):
        with Subscriber(nginx.port, "silent") as subscriber:
            # More than three seconds of them.
            subscriber.wait_for(lambda: sum(event.comment is not None for event in subscriber.events) >= 16)


def test_requests_share_a_connection_to_the_server(tmp_path: Path) -> None:
    with behind_nginx(tmp_path) as (server, nginx), Api(server.port) as direct:
        for _ in range(5):
            with Api(nginx.port) as api:
                api.stats()
        # The asker's own, and the one that nginx keeps.
        assert direct.stats()["connections"]["http"] == 2


def test_the_server_refuses_a_body_that_is_too_large(tmp_path: Path) -> None:
    with behind_nginx(tmp_path) as (_, nginx):
        status, headers, body = request(nginx, "POST /topics/news", "x" * (3 * 512 * 1024))
        assert (status, headers["content-type"]) == (413, "application/problem+json")
        assert json.loads(body)["code"] == "body_too_large"


def test_pages_of_the_same_origin_may_publish_and_foreign_ones_may_not(tmp_path: Path) -> None:
    with behind_nginx(tmp_path, ["--allow-host", "app.example"]) as (_, nginx):

        def publish(origin: str, host: str, **headers: str) -> int:
            return request(nginx, "POST /topics/news", "x", Host=host, Origin=origin, **headers)[0]

        assert publish(nginx.url, f"127.0.0.1:{nginx.port}") == 201
        assert publish("https://app.example", "app.example") == 201
        assert publish("https://app.example:8443", "app.example:8443") == 201
        assert publish("https://evil.example", "app.example") == 403
        # What a client says of forwarding is not believed.
        assert publish("https://evil.example", "app.example", X_Forwarded_Host="evil.example") == 403
        assert request(nginx, "GET /stats", Host="evil.example")[0] == 421


def test_a_name_that_is_not_allowed_is_refused(tmp_path: Path) -> None:
    with behind_nginx(tmp_path) as (_, nginx):
        assert request(nginx, "GET /stats", Host="app.example")[0] == 421


async def test_members_of_a_room_hear_each_other_and_are_told_of_the_drain(tmp_path: Path) -> None:
    with behind_nginx(tmp_path) as (server, nginx):
        async with trio.open_nursery() as nursery:
            peers = [await join(nginx) for _ in range(2)]
            await peers[0].send(saying("hello"))
            for peer in peers:
                assert (await hear_until(peer, "message"))["data"] == "hello"
            nursery.start_soon(partial(trio.to_thread.run_sync, server.terminate))
            for peer in peers:
                objects, close = await hear_to_the_end(peer)
                assert objects[-1]["type"] == "closing"
                assert close == Close(1012, "server_draining")
                await peer.aclose()
        await trio.to_thread.run_sync(server.restart)
        back = await join(nginx)
        await back.aclose()


async def test_a_member_that_is_gone_is_noticed(tmp_path: Path) -> None:
    with behind_nginx(tmp_path) as (server, nginx), Api(server.port) as api:
        first, second = [await join(nginx) for _ in range(2)]
        await second.aclose()
        wait_until(lambda: api.stats()["streams"]["room"] == 1, "one member is left")
        await first.aclose()


async def join(nginx: Nginx) -> WebSocketPeer:
    stream = await trio.open_tcp_stream("127.0.0.1", nginx.port)
    peer = await WebSocketPeer.connect(stream, "/rooms/lobby", host=f"127.0.0.1:{nginx.port}")
    await hear_until(peer, "welcome")
    return peer
