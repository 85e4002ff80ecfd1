"""How the server starts and stops as a program: what it says and refuses, and with which code it ends."""

from __future__ import annotations

import json
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.clients.conftest import assert_nothing_failed
from tests.clients.sockets import Api, Connection, Subscriber, exchange, wait_until
from tests.support.process import READY, ROOT, ServerProcess

ANYWHERE = "127.0.0.1:0"


def run(*args: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`python -m server` with `args`, which is expected to end by itself."""
    command = [sys.executable, "-m", "server", *args]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=20, check=False)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_says_that_it_is_ready_once_and_on_stdout() -> None:
    with ServerProcess(["--bind", ANYWHERE]) as server:
        assert exchange(server.port, b"GET /health/ready HTTP/1.0\r\n\r\n")[0] == 200
        server.terminate()
        assert server.stdout == [f"sluiceway: listening on {server.url}"]
        assert "listening" not in server.stderr
        assert server.port != 0


def test_two_addresses_are_both_served_and_named_in_order(taken_port: int) -> None:
    with ServerProcess(["--bind", "127.0.0.1:0", "--bind", "127.0.0.2:0"]) as server:
        assert [re.sub(r":\d+$", "", url) for url in server.urls] == ["http://127.0.0.1", "http://127.0.0.2"]
        port = int(server.urls[1].rpartition(":")[2])
        with Connection(port, host="127.0.0.2") as connection:
            connection.send(b"GET /health/live HTTP/1.0\r\n\r\n")
            assert b" 200 " in connection.receive_all()


def test_an_ipv6_address_is_served() -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("this machine has no IPv6")
    with ServerProcess(["--bind", "[::1]:0"]) as server:
        assert server.url == f"http://[::1]:{server.port}"
        with Connection(server.port, host="::1") as connection:
            connection.send(b"GET /health/live HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n")
            assert b" 200 " in connection.receive_all()


@pytest.mark.parametrize(
    ("flag", "said"),
    [("--help", "--bind HOST:PORT"), ("--version", "sluiceway "), ("--check", "memory ceiling")],
)
def test_a_question_is_answered_on_stdout_with_exit_code_0(flag: str, said: str) -> None:
    ended = run(flag)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert said in ended.stdout
    assert READY not in ended.stdout


@pytest.mark.parametrize(
    "args",
    [
        ["--no-such-flag"],
        ["--bind", "127.0.0.1"],
        ["--heartbeat", "nan"],
        ["--max-connections", "0"],
        ["--config", "/nonexistent.toml"],
        ["--certfile", "/nonexistent.pem"],
        ["--bind", "0.0.0.0:0"],
        ["--bind", ":0"],
    ],
    ids=" ".join,
)
def test_a_bad_flag_and_an_open_bind_end_the_start_with_exit_code_2(args: list[str]) -> None:
    ended = run(*args)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "sluiceway: error: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "args", [["nobody"], ["local", "--local-model", "/nonexistent.gguf"]], ids=lambda args: args[0]
)
def test_a_provider_that_lacks_something_ends_the_start_with_one_line(args: list[str]) -> None:
    ended = run("--bind", "127.0.0.1:0", "--provider", *args)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("sluiceway: error: ")
    assert ended.stderr.count("\n") == 1


def test_an_open_bind_is_served_where_insecure_says_so() -> None:
    with ServerProcess(["--bind", "0.0.0.0:0", "--insecure"]) as server:
        assert exchange(server.port, b"GET /health/live HTTP/1.0\r\n\r\n")[0] == 200


def test_a_taken_port_ends_the_start_with_one_line_that_names_it(taken_port: int) -> None:
    ended = run("--bind", f"127.0.0.1:{taken_port}")
    assert (ended.returncode, ended.stdout) == (1, "")
    expected = f"sluiceway: error: cannot listen on 127.0.0.1:{taken_port}: Address already in use\n"
    assert ended.stderr == expected


def test_files_that_are_no_certificate_end_the_start_with_one_line_that_names_them(tmp_path: Path) -> None:
    file = tmp_path / "empty.pem"
    file.touch()
    ended = run("--bind", ANYWHERE, "--certfile", str(file), "--keyfile", str(file))
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("sluiceway: error: ")
    assert str(file) in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_says_goodbye_to_subscribers_and_exits_with_0(number: signal.Signals) -> None:
    with ServerProcess(["--bind", ANYWHERE, "--drain-seconds", "5"]) as server, ExitStack() as stack:
        subscribers = [stack.enter_context(Subscriber(server.port, "news")).wait_open() for _ in range(5)]
        server.send_signal(number)
        for subscriber in subscribers:
            assert subscriber.wait_end().ended
            closing = subscriber.events[-1]
            assert closing.event == "closing"
            said = json.loads(closing.data or "")
            assert (said["reason"], said["reconnect"]) == ("server_draining", True)
            assert said["retry_ms"] == closing.retry
            subscriber.close()
        assert server.wait() == 0
        assert_nothing_failed(server)


def stall(server: ServerProcess, stack: ExitStack, count: int) -> None:
    """Have `count` subscribers that have stopped reading, and more published than their kernels take."""
    for _ in range(count):
        stack.enter_context(Subscriber(server.port, "big", receive_buffer=4096))
    with Api(server.port) as api:
        api.wait_open_events(count)
        for _ in range(10):
            api.publish("big", "x" * 30_000)
        stats = api.stats()
        assert stats["streams"]["events"] == count
        assert stats["buffered_bytes"] > count * 150_000


def test_subscribers_that_stopped_reading_do_not_hold_up_the_end() -> None:
    drain = 1.0
    with ServerProcess(["--bind", ANYWHERE, "--drain-seconds", str(drain)]) as server, ExitStack() as stack:
        stall(server, stack, 50)
        assert server.terminate(drain + 5) == 0
        assert_nothing_failed(server)


def test_a_second_signal_ends_the_process_at_once() -> None:
    with ServerProcess(["--bind", ANYWHERE, "--drain-seconds", "60"]) as server, ExitStack() as stack:
        stall(server, stack, 1)
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in server.stderr, "the drain has begun")
        server.send_signal(signal.SIGTERM)
        assert server.wait(5) == 128 + signal.SIGTERM


def test_settings_come_from_a_file_and_the_environment_and_flags_beat_them(tmp_path: Path) -> None:
    config = tmp_path / "sluiceway.toml"
    config.write_text(f'bind = ["{ANYWHERE}"]\nmax-body = 10\nmax-topics = 1\nlog-format = "json"\n')
    env = {"SLUICEWAY_MAX_BODY": "20", "SLUICEWAY_MAX_TOPICS": "2"}
    with ServerProcess(["--config", str(config), "--max-topics", "3"], env) as server:

        def publish(topic: str, body: bytes) -> int:
            head = f"POST /topics/{topic} HTTP/1.0\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}"
            return exchange(server.port, head.encode() + b"\r\n\r\n" + body)[0]

        assert [publish("a", b"x" * size) for size in (20, 21)] == [201, 413]
        assert [publish(topic, b"x") for topic in ("b", "c", "d")] == [201, 201, 503]
        server.terminate()
        lines = [json.loads(line) for line in server.stderr.splitlines()]
        assert [line["status"] for line in lines if line["message"] == "request"] == [201, 413, 201, 201, 503]


def test_is_ready_soon() -> None:
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        with ServerProcess(["--bind", ANYWHERE]):
            seconds.append(time.monotonic() - started)
    print(f"ready after {statistics.median(seconds):.2f} s (promise: 1.5 s)")
    assert statistics.median(seconds) < 5
