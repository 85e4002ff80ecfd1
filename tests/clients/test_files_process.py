"""Files at a real process: killed, out of room, with slow readers, and with curl, which resumes."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.conftest import assert_nothing_failed
from tests.clients.sockets import PATIENCE, Api, Connection, exchange, parsed, wait_until
from tests.support.process import ServerProcess

MIB = 1024 * 1024
BIND = ["--bind", "127.0.0.1:0", "--drain-seconds", "2"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def server(data: Path) -> Iterator[ServerProcess]:
    with ServerProcess([*BIND, "--data", str(data)]) as server:
        yield server
        assert_nothing_failed(server)


def unfinished(data: Path) -> list[Path]:
    return list((data / "files").glob(".upload-*"))


def put(port: int, name: str, body: bytes) -> int:
    head = f"PUT /files/{name} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n"
    return exchange(port, head.encode() + body)[0]


def get(port: int, name: str) -> tuple[int, bytes]:
    # Without a half-close, which would end the stream.
    with Connection(port) as connection:
        connection.send(f"GET /files/{name} HTTP/1.0\r\n\r\n".encode())
        status, _, body = parsed(connection.receive_all())
    return status, body


def memory_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def begin_upload(port: int, name: str, size: int, body: bytes) -> Connection:
    connection = Connection(port)
    connection.send(
        f"PUT /files/{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode() + body
    )
    return connection


def test_killed_in_mid_upload_the_file_is_the_old_one_or_the_new_one(data: Path) -> None:
    chance = random.Random(8)
    versions = {0: b"0" * MIB}
    current = 0
    with ServerProcess([*BIND, "--data", str(data)]) as server:
        assert put(server.port, "a", versions[0]) == 201
        for number in range(1, 6):
            versions[number] = b"%d" % number * (8 * MIB)
            with begin_upload(server.port, "a", 8 * MIB, b"") as connection:
                sent = 8 * MIB if number % 2 else chance.randrange(8 * MIB)
                connection.send(versions[number][:sent])
                if sent < 8 * MIB:
                    wait_until(lambda: bool(unfinished(data)), "the upload has begun")
                else:
                    # Somewhere between the last byte and the answer, or just behind it.
                    time.sleep(chance.random() * 0.05)
                server.kill()
            server.start_again()
            assert unfinished(data) == []
            status, body = get(server.port, "a")
            assert status == 200
            assert body in (versions[current], versions[number])
            if body == versions[number]:
                assert sent == 8 * MIB
                current = number
            assert [path.name for path in (data / "files").iterdir()] == ["a"]
        assert "Traceback" not in server.stderr


def test_after_the_answer_a_kill_takes_nothing_away(data: Path) -> None:
    with ServerProcess([*BIND, "--data", str(data)]) as server:
        for number in range(3):
            assert put(server.port, f"file-{number}", b"%d" % number * 100_000) == 201
            server.kill()
            server.start_again()
            assert get(server.port, f"file-{number}") == (200, b"%d" % number * 100_000)


@pytest.mark.parametrize("way", ["close", "reset", "half_close"])
def test_of_an_upload_whose_client_leaves_nothing_is_left(
    way: str, server: ServerProcess, data: Path
) -> None:
    with begin_upload(server.port, "a", 10 * MIB, bytes(MIB)) as connection:
        wait_until(lambda: bool(unfinished(data)), "the upload has begun")
        started = time.monotonic()
        getattr(connection, way)()
        wait_until(lambda: not unfinished(data), "the unfinished file is gone")
        print(f"gone {(time.monotonic() - started) * 1000:.0f} ms after a {way}")
    with Api(server.port) as api:
        wait_until(lambda: api.stats()["streams"]["file"] == 0, "its stream has ended")
        assert api.stats()["closed"]["file"] == {"client_disconnected": 1}
        assert api.stats()["leaked"] == 0
    assert get(server.port, "a")[0] == 404


def test_a_stalled_reader_is_gone_within_the_deadline_and_holds_up_nobody(data: Path) -> None:
    with ServerProcess([*BIND, "--write-deadline", "1", "--data", str(data)]) as server:
        body = os.urandom(16 * MIB)
        assert put(server.port, "a", body) == 201
        with Connection(server.port, receive_buffer=4096) as stalled, Api(server.port) as api:
            stalled.send(b"GET /files/a HTTP/1.0\r\n\r\n")
            wait_until(lambda: api.stats()["streams"]["file"] == 1, "the download has begun")
            assert get(server.port, "a") == (200, body)
            wait_until(lambda: api.stats()["streams"]["file"] == 0, "the stalled one is gone", 1 + PATIENCE)
            assert api.stats()["closed"]["file"] == {"completed": 2, "slow_consumer": 1}
        assert_nothing_failed(server)


def test_a_slow_reader_is_served_for_as_long_as_it_reads(data: Path) -> None:
    """At some ten kilobytes a second, which is less than makes the kernel want more within the deadline."""
    with ServerProcess([*BIND, "--write-deadline", "1", "--data", str(data)]) as server:
        assert put(server.port, "a", bytes(16 * MIB)) == 201
        with Connection(server.port, receive_buffer=4096) as slow, Api(server.port) as api:
            slow.send(b"GET /files/a HTTP/1.0\r\n\r\n")
            wait_until(lambda: api.stats()["streams"]["file"] == 1, "the download has begun")
            before = memory_kib(server.pid)
            end = time.monotonic() + 4
            read = 0
            while time.monotonic() < end:
                read += len(slow.socket.recv(1024))
                time.sleep(0.1)
            assert read < 200_000
            assert api.stats()["streams"]["file"] == 1
            assert memory_kib(server.pid) - before < 4 * 1024
        assert_nothing_failed(server)


def test_large_files_take_no_memory(server: ServerProcess) -> None:
    size = 200 * MIB
    piece = os.urandom(MIB)
    assert put(server.port, "warm", piece) == 201
    assert get(server.port, "warm")[0] == 200
    before = most = memory_kib(server.pid)
    with begin_upload(server.port, "large", size, b"") as up:
        for _ in range(200):
            up.send(piece)
            most = max(most, memory_kib(server.pid))
        assert b" 201 " in up.receive()
    digest = hashlib.sha256()
    with Connection(server.port) as down:
        down.send(b"GET /files/large HTTP/1.0\r\n\r\n")
        received = down.receive()
        while b"\r\n\r\n" not in received:
            received += down.receive()
        digest.update(received.partition(b"\r\n\r\n")[2])
        while received := down.receive():
            digest.update(received)
            most = max(most, memory_kib(server.pid))
    assert digest.digest() == hashlib.sha256(piece * 200).digest()
    assert most - before < 4 * 1024


def test_without_room_for_it_an_upload_is_507_and_the_file_as_it_was(data: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The kernel refuses the server what is longer, as a full disk would.
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MIB, before[1]))
    try:
        with ServerProcess([*BIND, "--data", str(data)]) as server:
            assert put(server.port, "a", b"old") == 201
            head = b"PUT /files/a HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % (8 * MIB)
            status, _, body = exchange(server.port, head + bytes(8 * MIB))
            assert (status, json.loads(body)["code"]) == (507, "storage_full")
            assert unfinished(data) == []
            assert get(server.port, "a") == (200, b"old")
            assert "Traceback" not in server.stderr
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_temporary_folder_is_gone_with_the_process_and_one_left_by_a_kill_with_the_next(
    tmp_path: Path,
) -> None:
    with ServerProcess(BIND, env={"TMPDIR": str(tmp_path)}) as server:
        assert put(server.port, "a", b"temporary") == 201
        assert len(list(tmp_path.iterdir())) == 1
        with ServerProcess(BIND, env={"TMPDIR": str(tmp_path)}) as other:
            # Not its to remove.
            assert get(server.port, "a") == (200, b"temporary")
            assert get(other.port, "a")[0] == 404
        server.kill()
        [left] = tmp_path.iterdir()
        server.start_again()
        assert not left.exists()
        assert get(server.port, "a")[0] == 404
    assert list(tmp_path.iterdir()) == []


def curl(*arguments: str, **options: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    return subprocess.run(
        ["curl", "--silent", "--show-error", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_curl_resumes_a_download(server: ServerProcess, tmp_path: Path) -> None:
    body = os.urandom(3 * MIB)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(body)
    url = f"{server.url}/files/a"
    assert curl("--fail", "--upload-file", str(source), url).returncode == 0
    target.write_bytes(body[:1_000_001])
    done = curl("--fail", "--continue-at", "-", "--output", str(target), "--write-out", "%{http_code}", url)
    assert (done.returncode, done.stdout) == (0, "206")
    assert target.read_bytes() == body


def test_curl_saves_under_the_name_it_is_given(server: ServerProcess, tmp_path: Path) -> None:
    url = f"{server.url}/files/two%20words.txt"
    assert curl("--fail", "--upload-file", "/etc/hostname", url).returncode == 0
    assert curl("--fail", "-OJ", "--output-dir", str(tmp_path), url).returncode == 0
    assert (tmp_path / "two words.txt").read_bytes() == Path("/etc/hostname").read_bytes()


def test_curl_is_refused_before_it_sends_what_is_too_large(data: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(3 * MIB))
    with ServerProcess([*BIND, "--max-upload", "2MiB", "--data", str(data)]) as server:
        done = curl(
            "--upload-file",
            str(source),
            "--write-out",
            " %{http_code} %{size_upload}",
            f"{server.url}/files/a",
        )
        assert done.stdout.endswith(" 413 0"), done
        chunked = curl(
            *("--upload-file", str(source), "--header", "Transfer-Encoding: chunked"),
            *("--write-out", " %{http_code}", f"{server.url}/files/a"),
        )
        assert chunked.stdout.endswith(" 413"), chunked
        assert list((data / "files").iterdir()) == []
        assert_nothing_failed(server)
