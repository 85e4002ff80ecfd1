"""The same application under somebody else's server: `hypercorn -k trio server:app`."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clients.sockets import Api, Subscriber, exchange, wait_until
from tests.support.process import ROOT
from tests.support.raw_websocket import PATIENCE, RawWebSocket

COMMAND = [sys.executable, "-m", "hypercorn", "-k", "trio", "--bind", "127.0.0.1:0"]


@contextmanager
def stock_command(
    log: Path, *args: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The command with `args`, which writes to `log`; ended with the workers it started."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, *args, "server:app"],
            cwd=ROOT,
            env={**os.environ, "SLUICEWAY_ROOMS_BIND": "127.0.0.1:0", **(env or {})},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def port_of(log: Path) -> int:
    """The port that the command says it runs on, once it does."""
    wait_until(lambda: b"Running on" in log.read_bytes(), "the command is ready")
    found = re.search(r"Running on http://127\.0\.0\.1:(\d+)", log.read_text())
    assert found is not None
    return int(found[1])


@pytest.fixture(scope="module")
def stock_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stock") / "log"


@pytest.fixture(scope="module")
def stock_port(stock_log: Path) -> Iterator[int]:
    with stock_command(stock_log, env={"SLUICEWAY_MAX_BODY": "100"}):
        yield port_of(stock_log)


def test_serves_topics(stock_port: int) -> None:
    with Api(stock_port) as api, Subscriber(stock_port, "news") as subscriber:
        subscriber.wait_open()
        ids = [api.publish("news", number) for number in range(3)]
        assert subscriber.wait_messages(3).data == [0, 1, 2]
        with Subscriber(stock_port, "news", last_event_id=ids[0]) as resumed:
            assert resumed.wait_messages(2).data == [1, 2]
        api.wait_open_events(1)
        subscriber.close()
        api.wait_open_events(0)
        assert api.stats()["leaked"] == 0


def test_serves_the_clock(stock_port: int) -> None:
    with Subscriber(stock_port, "clock") as subscriber:
        assert "time" in subscriber.wait_messages(1).data[0]


def test_serves_the_page(stock_port: int) -> None:
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    status, headers, body = exchange(stock_port, request)
    assert status == 200
    assert headers["content-type"].startswith("text/html")
    assert b"<html" in body


def test_tells_the_page_where_rooms_are(stock_port: int, stock_log: Path) -> None:
    request = b"GET /client/rooms.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    url = json.loads(exchange(stock_port, request)[2])["url"]
    assert f"rooms are at {url}/rooms/" in stock_log.read_text()
    # A page of the other port is none of a foreign origin.
    origin = f"Origin: http://127.0.0.1:{stock_port}"
    with RawWebSocket(int(url.rpartition(":")[2]), "/rooms/lobby", origin) as member:
        welcome = member.receive()
    assert welcome is not None
    assert b'"welcome"' in welcome.payload


def test_takes_its_settings_from_the_environment(stock_port: int) -> None:
    body = b"x" * 101
    head = b"POST /topics/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    status, _, answer = exchange(stock_port, head + b"Content-Length: 101\r\n\r\n" + body)
    assert (status, json.loads(answer)["code"]) == (413, "body_too_large")


def test_says_what_this_mode_lacks(stock_port: int, stock_log: Path) -> None:
    assert "no write deadline" in stock_log.read_text()


@pytest.mark.parametrize(
    ("args", "env", "said"),
    [
        (["--workers", "2"], {}, "more than one worker"),
        ([], {"SLUICEWAY_HEARTBEAT": "never"}, "SLUICEWAY_HEARTBEAT"),
    ],
    ids=["two workers", "a bad setting"],
)
def test_does_not_start_with(args: list[str], env: dict[str, str], said: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with stock_command(log, *args, env=env) as process:
        # Not what the code is: the parent of Hypercorn 0.18 exits with 0 whatever its workers ended with.
        process.wait(15)
        assert said in log.read_text()


def test_ends_when_what_it_cannot_do_without_fails_behind_its_start(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="needs xllamacpp: pip install -e '.[local]'")
    model = tmp_path / "damaged.gguf"
    # It looks like a model, and loading it, beside what is served already, shows that it is none.
    model.write_bytes(b"GGUF" + bytes(64))
    log = tmp_path / "log"
    env = {"SLUICEWAY_PROVIDER": "local", "SLUICEWAY_LOCAL_MODEL": str(model)}
    with stock_command(log, env=env) as process:
        process.wait(30)
        assert f"the model {model} cannot be loaded" in log.read_text()


def test_serves_on_a_unix_socket(tmp_path: Path) -> None:
    log, path = tmp_path / "log", tmp_path / "socket"
    with stock_command(log, "--bind", f"unix:{path}"):
        wait_until(lambda: b"Running on" in log.read_bytes(), "the command is ready")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(path))
            client.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
