"""Imports and rows against the server as a program: killed, cut off, read slowly, and what it costs."""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import ServerProcess

PATIENCE = 20.0
MIB = 1024


def rows(word: str, count: int) -> bytes:
    return b"".join(
        b'{"n":%d,"word":"%s","note":"%s"}\n' % (number, word.encode(), b"x" * 150) for number in range(count)
    )


def ask(server: ServerProcess, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    headers = {"Content-Type": "application/x-ndjson"} if body is not None else {}
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    found = response.read()
    connection.close()
    return response.status, json.loads(found) if found else None


def words_of(server: ServerProcess) -> tuple[set[str], int]:
    """The words that rows of the dataset say, and how many rows there are."""
    status, found = ask(server, "GET", "/datasets/a/rows")
    assert status == 200
    return {row["word"] for row in found}, len(found)


def memory_kib(pid: int) -> int:
    """What the process has of its own now."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private"))


def head(server: ServerProcess, length: int) -> bytes:
    return (
        f"POST /datasets/a HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"Content-Type: application/x-ndjson\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def test_a_server_killed_in_mid_import_has_the_old_rows_or_the_new(tmp_path: Path) -> None:
    chance = random.Random(8)
    old = "old"
    count = 2000
    body = rows("new-", count)
    with ServerProcess(["--bind", "127.0.0.1:0", "--data", str(tmp_path)]) as server:
        assert ask(server, "POST", "/datasets/a", rows(old, count))[0] == 202
        seen = set()
        for round_ in range(12):
            word = f"new{round_}"
            body = rows(word, count)
            # Some while the body comes in; some when all is in, and the commit is due or done.
            whole = round_ % 2 == 1
            sent = len(body) if whole else chance.randrange(len(body))
            with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
                connection.sendall(head(server, len(body)) + body[:sent])
                if whole:
                    time.sleep(chance.uniform(0, 0.06))
                else:
                    wait_for(lambda: ask(server, "GET", "/jobs?state=running")[1]["jobs"] != [])
                server.kill()
            server.start_again()
            words, found = words_of(server)
            assert found == count
            assert words in ({old}, {word})
            seen.add(words == {word})
            (old,) = words
            assert ask(server, "GET", "/jobs?state=running")[1]["jobs"] == []
            (newest, *_) = ask(server, "GET", "/jobs")[1]["jobs"]
            if newest["state"] == "failed":
                assert newest["error"]["code"] == "job_interrupted"
        assert False in seen
        assert len(list((tmp_path / "datasets").iterdir())) == 1
        assert "Traceback" not in server.stderr


def test_a_connection_cut_in_mid_body_keeps_nothing(tmp_path: Path) -> None:
    with ServerProcess(["--bind", "127.0.0.1:0", "--data", str(tmp_path)]) as server:
        body = rows("new", 1000)
        for length in (len(body) + 1, 2 * len(body)):
            with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
                connection.sendall(head(server, length) + body)
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(65536).startswith(b"HTTP/1.1 400")
        wait_for(lambda: ask(server, "GET", "/jobs?state=running")[1]["jobs"] == [])
        assert {job["error"]["code"] for job in ask(server, "GET", "/jobs")[1]["jobs"]} == {"body_incomplete"}
        assert ask(server, "GET", "/datasets")[1]["datasets"] == []
        assert list((tmp_path / "datasets").iterdir()) == []
        assert ask(server, "GET", "/stats")[1]["leaked"] == 0


def test_a_body_longer_than_its_length_ends_where_it_said() -> None:
    with ServerProcess() as server:
        body = rows("new", 10)
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
            connection.sendall(head(server, len(body)) + body + b"{more}\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 202")
        assert words_of(server) == ({"new"}, 10)


def test_memory_does_not_grow_with_what_goes_through() -> None:
    """Sixty megabytes in, and out again to one who takes 10 KB a second while others read and write."""
    with ServerProcess() as server:
        ask(server, "POST", "/datasets/a", rows("warm", 2000))
        words_of(server)
        idle = memory_kib(server.pid)
        most = idle
        block = rows("a", 5000)
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
            connection.sendall(head(server, len(block) * 60))
            for _ in range(60):
                connection.sendall(block)
                most = max(most, memory_kib(server.pid))
            assert connection.recv(65536).startswith(b"HTTP/1.1 202")
        wait_for(lambda: ask(server, "GET", "/jobs?state=running")[1]["jobs"] == [])
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        slow.connect(("127.0.0.1", server.port))
        slow.sendall(f"GET /datasets/a/rows HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
        for turn in range(10):
            assert slow.recv(1024)
            most = max(most, memory_kib(server.pid))
            if turn == 3:
                # Neither writers nor other readers wait for it.
                assert ask(server, "POST", "/datasets/a", rows("newer", 100))[1]["state"] == "done"
                assert words_of(server) == ({"newer"}, 100)
            time.sleep(0.1)
        assert ask(server, "GET", "/stats")[1]["streams"]["rows"] == 1
        assert most - idle < 40 * MIB, f"{(most - idle) / MIB:.1f} MiB"
        slow.close()
        wait_for(lambda: ask(server, "GET", "/stats")[1]["streams"]["rows"] == 0)


def test_when_its_reader_is_gone_the_file_is_closed_at_once(tmp_path: Path) -> None:
    with ServerProcess(["--bind", "127.0.0.1:0", "--data", str(tmp_path)]) as server:
        ask(server, "POST", "/datasets/a", rows("a", 50_000))
        (file,) = (tmp_path / "datasets").iterdir()
        times = [PATIENCE]
        # One of many: this machine has other things to do.
        while min(times) >= 0.01 and len(times) < 100:
            with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as reader:
                reader.sendall(
                    f"GET /datasets/a/rows HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()
                )
                assert reader.recv(1024)
                wait_for(lambda: is_open(server.pid, file))
                started = time.perf_counter()
            wait_for(lambda: not is_open(server.pid, file))
            times.append(time.perf_counter() - started)
        assert min(times) < 0.01, times


def test_an_error_in_the_middle_of_rows_cuts_the_answer(tmp_path: Path) -> None:
    with ServerProcess(["--bind", "127.0.0.1:0", "--data", str(tmp_path)]) as server:
        ask(server, "POST", "/datasets/a", rows("a", 50_000))
        (file,) = (tmp_path / "datasets").iterdir()
        with file.open("r+b") as broken:
            broken.seek(file.stat().st_size // 2)
            broken.write(b"\xff" * 100_000)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        connection.request("GET", "/datasets/a/rows")
        response = connection.getresponse()
        assert response.status == 200
        found = b""
        with pytest.raises(http.client.IncompleteRead):
            while True:
                piece = response.read(10_000)
                assert piece, "the answer looks whole"
                found += piece
        connection.close()
        assert len(found) > 100_000
        assert ask(server, "GET", "/stats")[1]["closed"]["rows"] == {"failed": 1}


def test_sigterm_in_mid_import_rolls_back_and_says_so(tmp_path: Path) -> None:
    arguments = ["--bind", "127.0.0.1:0", "--data", str(tmp_path), "--drain-seconds", "0.3"]
    with ServerProcess(arguments) as server:
        body = rows("new", 5000)
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
            connection.sendall(head(server, len(body)) + body[:100_000])
            wait_for(lambda: ask(server, "GET", "/jobs?state=running")[1]["jobs"] != [])
            assert server.terminate() == 0
        assert list((tmp_path / "datasets").iterdir()) == []
        server.start_again()
        (job,) = ask(server, "GET", "/jobs")[1]["jobs"]
        assert (job["state"], job["error"]["code"]) == ("failed", "server_draining")
        assert "Traceback" not in server.stderr


def test_two_imports_at_once_are_both_whole() -> None:
    with ServerProcess() as server:
        found: list[Any] = []

        def send(word: str) -> None:
            found.append(ask(server, "POST", "/datasets/a", rows(word, 20_000))[1]["state"])

        threads = [threading.Thread(target=send, args=(word,)) for word in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert found == ["done", "done"]
        words, count = words_of(server)
        assert words in ({"one"}, {"two"})
        assert count == 20_000


def is_open(pid: int, file: Path) -> bool:
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(each) == str(file):  # noqa: PTH115
                return True
        except OSError:
            continue
    return False


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)
