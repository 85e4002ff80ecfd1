"""Logs: one line a request and one a stream's end, which no client can forge."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from server.lifecycle import RequestHead
from server.observability import LogFormat, configure, log_request
from tests.support.http_peer import open_world
from tests.support.memory_socket import ClientEnd, memory_tcp


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """What `configure` changes is put back."""
    log = logging.getLogger("sluiceway")
    before = (log.handlers, log.level, log.propagate)
    yield
    log.handlers, log.level, log.propagate = before


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


async def test_a_request_is_one_line(autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]) -> None:
    configure("text")
    async with open_world() as world:
        await world.request("GET", "/topics/none?x=secret")
        (line,) = lines(capsys)
        assert " info request method=GET path=/topics/none status=400 ms=" in line
        assert line.endswith(" peer=127.0.0.1")
        assert "secret" not in line


async def test_the_end_of_a_stream_is_one_line(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("json")
    async with open_world() as world:
        peer = world.connect()
        await (await peer.open_events("/topics/news/events?last_event_id=earliest")).next()
        await peer.aclose()
        await world.wait_no_stream()
        request, end = map(json.loads, lines(capsys))
    assert (request["message"], request["status"], request["method"]) == ("request", 200, "GET")
    assert (end["message"], end["kind"], end["reason"]) == ("stream ended", "events", "client_disconnected")
    assert (end["path"], end["peer"], end["level"]) == ("/topics/news/events", "127.0.0.1", "info")
    assert end["bytes"] > 0
    assert end["time"].endswith("Z")


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("breaker", ["\n", "\r", "\u2028", "\x1b[2J", "\x85", " status=200 ", '"', "\t"])
def test_a_path_cannot_forge_a_line_or_a_field(
    log_format: LogFormat, breaker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(log_format)
    head = RequestHead("GET", f"/a{breaker}b", "", (), peer="192.0.2.1")
    log_request(head, 404, 0.001)
    written = capsys.readouterr().err
    assert len(written.splitlines()) == 1
    if log_format == "json":
        assert json.loads(written)["path"] == head.path
    else:
        assert written.removesuffix("\n").isprintable()
        fields = written.partition(" path=")[2]
        shown, _ = json.JSONDecoder().raw_decode(fields)
        assert shown == head.path


def test_a_failure_is_logged_with_its_cause_in_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("sluiceway.web").exception("a route failed")
    (line,) = lines(capsys)
    entry = json.loads(line)
    assert (entry["message"], entry["level"], entry["logger"]) == ("a route failed", "error", "sluiceway.web")
    assert "ValueError: why" in entry["exception"]


async def test_who_is_gone_in_the_middle_of_a_body_is_no_failure(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_world() as world:
        peer = world.connect(lambda: memory_tcp(room=65536, write_deadline=30))
        head = "POST /topics/news HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n"
        await peer.stream.send_all(f"{head}Content-Type: text/plain\r\n\r\nhalf".encode())
        await wait_all_tasks_blocked()
        assert isinstance(peer.stream, ClientEnd)
        peer.stream.reset()
        await wait_all_tasks_blocked()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
