"""No request ends the server: what kills a stock one breaks nobody else's stream on ours.

Each exchange of `hostile.py` is first played to a stock server, to show the fault, then to ours while another
client's event stream is open, which must go on.
"""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sse import SSEParser
from tests.transport import hostile
from tests.transport.conftest import stock_server
from tests.transport.hostile import Answer, Exchange, Send, WaitFor, play

SHORT = 1.0
"""Patience with servers that may well stay silent."""

ALL = [
    *hostile.FATAL,
    *hostile.WRONG,
    hostile.UNFINISHED_UPLOAD,
]


def by_name(exchange: Exchange) -> str:
    return exchange.name


class Subscriber:
    """Another client's event stream, open all the while: that `wait_for` returns is the proof of life."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._socket.sendall(
            b"GET /topics/witness/events HTTP/1.0\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        )
        # HTTP/1.0, so that the body comes without the chunked coding.
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._receive()
        self.status, _, rest = head.partition(b"\r\n")
        self._parser = SSEParser()
        self._parser.feed(rest.partition(b"\r\n\r\n")[2])

    def wait_for(self, data: str) -> None:
        """Return when an event with this data has come, or fail after five seconds."""
        while data not in [event.data for event in self._parser.feed(self._receive())]:
            pass

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> bytes:
        data = self._socket.recv(65536)
        assert data, "the stream has ended"
        return data


@pytest.fixture(scope="module")
def subscriber(live_server: int) -> Iterator[Subscriber]:
    subscriber = Subscriber(live_server)
    assert subscriber.status.split()[1] == b"200"
    yield subscriber
    subscriber.close()


def get(port: int, target: str) -> Answer:
    request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    return play(port, Exchange(target, (Send(request), WaitFor(hostile.never))))


def publish(port: int, topic: str, text: str) -> Answer:
    request = (
        f"POST /topics/{topic} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {len(text)}\r\n\r\n{text}"
    ).encode()
    return play(port, Exchange("publish", (Send(request), WaitFor(hostile.never))))


@pytest.mark.parametrize("exchange", hostile.FATAL, ids=by_name)
def test_a_stock_server_dies_of_it(exchange: Exchange, tmp_path: Path) -> None:
    errors = tmp_path / "stderr"
    with stock_server(errors) as (process, port):
        for _ in range(exchange.tries):
            try:
                play(port, exchange, patience=SHORT)
            except ConnectionRefusedError:
                break
        try:
            process.wait(timeout=SHORT if exchange.tries > 1 else 10)
        except subprocess.TimeoutExpired:
            if exchange.tries > 1:
                # A race that was not hit this time: nothing is shown of the stock server, nor claimed.
                return
            raise
    assert exchange.dies_of in errors.read_text(errors="replace")


def test_a_stock_server_answers_wrongly(tmp_path: Path) -> None:
    with stock_server(tmp_path / "stderr") as (_, port):
        assert len(play(port, hostile.TWO_LENGTHS, patience=SHORT).statuses) == 2
        assert [play(port, exchange).statuses for exchange in hostile.BAD_TARGETS] == [[500], [500]]


@pytest.mark.parametrize("exchange", ALL, ids=by_name)
def test_a_subscriber_of_ours_notices_nothing(
    exchange: Exchange, live_server: int, subscriber: Subscriber
) -> None:
    for _ in range(exchange.tries):
        answer = play(live_server, exchange, patience=SHORT)
        assert all(status < 500 for status in answer.statuses)
    token = secrets.token_hex()
    assert publish(live_server, "witness", token).statuses == [201]
    subscriber.wait_for(token)
    assert get(live_server, "/health/live").statuses == [200]


def test_two_lengths_get_one_answer_and_the_end(live_server: int) -> None:
    answer = play(live_server, hostile.TWO_LENGTHS)
    assert answer.statuses == [400]
    assert answer.ended


@pytest.mark.parametrize("exchange", hostile.BAD_TARGETS, ids=by_name)
def test_a_bad_target_is_the_clients_fault(exchange: Exchange, live_server: int) -> None:
    assert play(live_server, exchange).statuses == [400]


def test_an_upgrade_to_h2c_is_ignored(live_server: int) -> None:
    request = (
        b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    )
    answer = play(live_server, Exchange("h2c", (Send(request), WaitFor(hostile.has_head))))
    assert answer.statuses == [200]
    assert play(live_server, hostile.H2C_UPGRADE).statuses != [101]


@pytest.mark.parametrize("exchange", hostile.H2_PRIOR_KNOWLEDGE, ids=by_name)
def test_the_preface_of_http2_ends_the_connection(exchange: Exchange, live_server: int) -> None:
    answer = play(live_server, exchange)
    assert answer.ended
    assert all(status < 500 for status in answer.statuses)


def test_a_websocket_upgrade_to_nowhere_is_a_404(live_server: int) -> None:
    answer = play(live_server, hostile.WEBSOCKET_TO_NOWHERE)
    head, _, body = answer.data.partition(b"\r\n\r\n")
    assert answer.statuses == [404]
    assert b"content-type: application/problem+json" in head.lower()
    assert json.loads(body)["status"] == 404


@pytest.mark.parametrize("exchange", hostile.UNDECODABLE_HEADERS, ids=by_name)
def test_an_undecodable_header_gets_an_answer(exchange: Exchange, live_server: int) -> None:
    (status,) = play(live_server, exchange).statuses
    assert status < 500


def open_event_streams(port: int) -> int:
    body = get(port, "/stats").data.partition(b"\r\n\r\n")[2]
    stats: dict[str, dict[str, int]] = json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])
    return stats["streams"]["events"]


def test_a_disconnect_behind_a_pipelined_request_is_seen(live_server: int, subscriber: Subscriber) -> None:
    before = open_event_streams(live_server)
    play(live_server, hostile.STREAM_THEN_PIPELINED)
    deadline = time.monotonic() + 5
    while open_event_streams(live_server) != before:
        assert time.monotonic() < deadline, "the stream is still open"
