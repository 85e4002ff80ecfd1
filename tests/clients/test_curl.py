"""curl, as people use it: to publish, to watch a stream, and to send what is too much."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clients.sockets import Api
from tests.support.process import ServerProcess
from tests.support.sse import Event, SSEParser

MIB = 1024 * 1024


def curl(*args: str) -> subprocess.CompletedProcess[str]:
    """curl to its end: what came on stdout, and what `--verbose` says on stderr."""
    command = ["curl", "--silent", "--show-error", "--max-time", "15", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def watch(url: str, events: int, *args: str) -> list[Event]:
    """The first `events` events with data that `curl -N` shows of `url`."""
    with watching(url, *args) as stdout:
        return read_events(stdout, events)


@contextmanager
def watching(url: str, *args: str) -> Iterator[Iterator[bytes]]:
    """The lines that `curl -N` shows of `url`, as they come."""
    command = ["curl", "--silent", "--no-buffer", "--max-time", "15", *args, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process.stdout
        finally:
            process.kill()


def read_events(lines: Iterator[bytes], count: int) -> list[Event]:
    parser = SSEParser()
    found: list[Event] = []
    for line in lines:
        found += [each for each in parser.feed(line) if each.data is not None]
        if len(found) >= count:
            return found
    raise AssertionError(f"the stream has ended; so far: {found}")


@pytest.mark.parametrize("version", ["--http1.1", "--http1.0"])
def test_shows_the_clock_as_it_ticks(running_server: ServerProcess, version: str) -> None:
    first, second = watch(f"{running_server.url}/topics/clock/events", 2, version)
    assert first.event == second.event == "time"
    assert json.loads(first.data or "")["time"] < json.loads(second.data or "")["time"]


def test_shows_what_another_curl_publishes(running_server: ServerProcess, api: Api) -> None:
    url = f"{running_server.url}/topics/by-curl"
    before = api.open_events()
    with watching(f"{url}/events") as lines:
        api.wait_open_events(before + 1)
        as_json = ["--json", '{"data": {"a":  [1, "wörld"]}, "event": "greeting"}']
        as_text = ["-H", "Content-Type: text/plain", "--data-binary", "two\nlines"]
        answers = [json.loads(curl(*body, url).stdout) for body in (as_json, as_text)]
        events = read_events(lines, 2)
    assert [(each.event, each.data) for each in events] == [
        ("greeting", '{"a":[1,"wörld"]}'),
        ("message", "two\nlines"),
    ]
    assert [each.id for each in events] == [answer["id"] for answer in answers]
    assert [answer["subscribers"] for answer in answers] == [1, 1]


def statuses(said: str) -> list[str]:
    """The status codes of all answers in what `curl --verbose` says, interim ones too."""
    return [line.split()[2] for line in said.splitlines() if line.startswith("< HTTP/")]


def oversized(running_server: ServerProcess, file: Path, *args: str) -> subprocess.CompletedProcess[str]:
    headers = ["-H", "Content-Type: text/plain", *args]
    url = f"{running_server.url}/topics/too-much"
    return curl("--verbose", *headers, "--request", "POST", "--upload-file", str(file), url)


def body_of(directory: Path, size: int) -> Path:
    """A file of `size` bytes that takes no room."""
    file = directory / "body"
    with file.open("wb") as opened:
        opened.truncate(size)
    return file


def test_is_not_asked_to_continue_with_a_body_that_is_too_large(
    running_server: ServerProcess, tmp_path: Path
) -> None:
    sent = oversized(running_server, body_of(tmp_path, 2 * MIB), "-H", "Expect: 100-continue")
    assert statuses(sent.stderr) == ["413"]
    assert json.loads(sent.stdout)["code"] == "body_too_large"


def test_is_asked_to_continue_with_a_body_that_fits(running_server: ServerProcess, tmp_path: Path) -> None:
    sent = oversized(running_server, body_of(tmp_path, MIB // 2), "-H", "Expect: 100-continue")
    assert statuses(sent.stderr) == ["100", "201"]


@pytest.mark.parametrize("framing", ["Content-Length: 52428800", "Transfer-Encoding: chunked"])
def test_learns_that_50_megabytes_are_too_much_before_they_are_read(
    running_server: ServerProcess, tmp_path: Path, framing: str
) -> None:
    written = ["--write-out", "\n%{size_upload}"]
    sent = oversized(running_server, body_of(tmp_path, 50 * MIB), "-H", "Expect:", "-H", framing, *written)
    problem, uploaded = sent.stdout.rsplit("\n", 1)
    assert statuses(sent.stderr) == ["413"]
    assert json.loads(problem)["code"] == "body_too_large"
    # What the kernels and the linger took on the way; by far not all of it.
    assert int(uploaded) < 25 * MIB


def test_gets_the_head_of_an_event_stream_and_its_end(running_server: ServerProcess, api: Api) -> None:
    before = api.open_events()
    asked = curl("--head", f"{running_server.url}/topics/news/events")
    assert asked.returncode == 0
    assert "content-type: text/event-stream" in asked.stdout.lower()
    assert api.open_events() == before
