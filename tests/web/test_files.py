"""Files over HTTP, in the whole application."""

from __future__ import annotations

import email
import email.policy
import unicodedata
from pathlib import Path

import pytest
import trio
from trio.testing import lockstep_stream_pair, wait_all_tasks_blocked

from server.lifecycle import CloseReason
from server.settings import Settings
from tests.support.http_peer import Answer, World, open_world

DATA = bytes(range(256)) * 1200
"""Longer than what is written, or read, at once."""
MIB = 1024 * 1024


async def put(world: World, name: str, body: bytes = DATA, **headers: str) -> Answer:
    return await world.request("PUT", f"/files/{name}", body, **headers)


async def get(world: World, name: str, method: str = "GET", **headers: str) -> Answer:
    return await world.request(method, f"/files/{name}", b"", **headers)


def unfinished(path: Path) -> list[str]:
    return [each.name for each in (path / "files").iterdir() if each.name.startswith(".")]


async def test_what_was_put_is_got_again() -> None:
    async with open_world() as world:
        created = await put(world, "photo.jpg")
        assert created.status == 201
        assert created.headers["location"] == "/files/photo.jpg"
        shown = created.json()
        assert (shown["name"], shown["bytes"], shown["type"]) == ("photo.jpg", len(DATA), "image/jpeg")
        assert shown["etag"] == created.headers["etag"]
        got = await get(world, "photo.jpg")
        assert (got.status, got.body) == (200, DATA)
        headers = got.headers
        assert headers["content-length"] == str(len(DATA))
        assert headers["content-type"] == "image/jpeg"
        assert headers["content-disposition"] == 'attachment; filename="photo.jpg"'
        assert headers["etag"] == created.headers["etag"]
        assert headers["last-modified"] == created.headers["last-modified"]
        assert headers["accept-ranges"] == "bytes"
        assert headers["cache-control"] == "no-cache"
        assert headers["x-content-type-options"] == "nosniff"
        replaced = await put(world, "photo.jpg", b"other")
        assert replaced.status == 200
        assert "location" not in replaced.headers
        assert replaced.headers["etag"] != created.headers["etag"]
        assert (await get(world, "photo.jpg")).body == b"other"


async def test_head_says_what_get_would_and_opens_no_stream() -> None:
    async with open_world() as world:
        await put(world, "a")
        whole, head = await get(world, "a"), await get(world, "a", "HEAD")
        assert (head.status, head.body) == (200, b"")
        del whole.headers["connection"]
        assert head.headers | {"date": ""} == whole.headers | {"date": ""}
        assert (await get(world, "a", "HEAD", range="bytes=0-0")).status == 200
        assert (await get(world, "b", "HEAD")).status == 404
        assert world.application.registry.closed["file"] == {CloseReason.COMPLETED: 2}


async def test_an_empty_file_is_one() -> None:
    async with open_world() as world:
        assert (await put(world, "empty", b"")).status == 201
        got = await get(world, "empty")
        assert (got.status, got.body, got.headers["content-length"]) == (200, b"", "0")
        assert (await get(world, "empty", range="bytes=0-")).problem == (416, "range_unsatisfiable")


async def test_a_body_of_unknown_length_is_a_file_too() -> None:
    async with open_world() as world:
        assert (await put(world, "a", transfer_encoding="chunked")).status == 201
        assert (await get(world, "a")).body == DATA


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "a%2Fb",
        "a/b",
        "a/",
        "%00",
        "a%00b",
        ".hidden",
        "%2ehidden",
        "%ff",
        "%0a",
        "a%0ab",
        "a%0d%0Ab",
        "a%0a",
        "a" * 300,
        "%C3%A9" * 128,
    ],
)
@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD", "DELETE"])
async def test_what_is_no_name_is_400(name: str, method: str) -> None:
    async with open_world() as world:
        answer = await world.request(method, f"/files/{name}")
        assert answer.status == 400
        if method != "HEAD":
            assert answer.problem == (400, "name_invalid")


async def test_names_come_back_as_they_were_and_one_file_has_one() -> None:
    async with open_world() as world:
        composed = "%C3%A9t%C3%A9%20%E2%82%AC%22.txt"
        decomposed = "e%CC%81te%CC%81%20%E2%82%AC%22.txt"
        assert (await put(world, decomposed, b"1")).status == 201
        assert (await put(world, composed, b"2")).status == 200
        got = await get(world, decomposed)
        assert got.body == b"2"
        assert got.headers["content-disposition"].endswith(f"; filename*=UTF-8''{composed}")
        [file] = (await world.request("GET", "/files")).json()["files"]
        assert file["name"] == unicodedata.normalize("NFC", 'été €".txt')


async def test_what_could_run_in_a_browser_is_not_called_so() -> None:
    async with open_world() as world:
        for name in ("page.html", "image.svg", "script.js"):
            await put(world, name, b"<script>alert(1)</script>", content_type="text/html")
            got = await get(world, name)
            assert got.headers["content-type"] == "application/octet-stream"
            assert got.headers["content-disposition"].startswith("attachment;")
            assert got.headers["content-security-policy"] == "sandbox; default-src 'none'"


async def test_the_list_is_in_pages() -> None:
    async with open_world() as world:
        assert (await world.request("GET", "/files")).json() == {"files": [], "next": None}
        for number in range(5):
            await put(world, f"file-{number}", b"12345")
        first = (await world.request("GET", "/files?limit=3")).json()
        assert [file["name"] for file in first["files"]] == ["file-0", "file-1", "file-2"]
        assert first["next"] == "file-2"
        second = (await world.request("GET", "/files?limit=3&after=file-2")).json()
        assert [file["name"] for file in second["files"]] == ["file-3", "file-4"]
        assert second["next"] is None
        assert second["files"][0]["bytes"] == 5
        for query in ("limit=0", "limit=1001", "limit=x", "pattern=*", "after=a&after=b"):
            assert (await world.request("GET", f"/files?{query}")).problem == (400, "query_invalid")
        assert (await get(world, "file-1?x=1")).problem == (400, "query_invalid")


async def test_what_is_removed_is_gone() -> None:
    async with open_world() as world:
        await put(world, "a")
        gone = await get(world, "a", "DELETE")
        assert (gone.status, gone.body) == (204, b"")
        assert "content-type" not in gone.headers
        assert (await get(world, "a")).problem == (404, "file_unknown")
        assert (await get(world, "a", "DELETE")).problem == (404, "file_unknown")


async def test_other_methods_are_405_with_those_that_are() -> None:
    async with open_world() as world:
        answer = await world.request("POST", "/files/a", b"x")
        assert answer.problem == (405, "method_unknown")
        assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"


async def test_conditions_guard_what_is_there() -> None:
    async with open_world() as world:
        first = await put(world, "a", b"one", if_none_match="*")
        assert first.status == 201
        tag = first.headers["etag"]
        assert (await put(world, "a", b"two", if_none_match="*")).problem == (412, "precondition_failed")
        assert (await put(world, "a", b"two", if_match='"other"')).problem == (412, "precondition_failed")
        assert (await put(world, "b", b"two", if_match="*")).problem == (412, "precondition_failed")
        assert (await put(world, "a", b"two", if_match="other")).problem == (400, "request_malformed")
        assert (await get(world, "a")).body == b"one"
        second = await put(world, "a", b"two", if_match=tag)
        assert second.status == 200
        assert (await get(world, "a", "DELETE", if_match=tag)).problem == (412, "precondition_failed")
        assert (await get(world, "a", if_match=tag)).problem == (412, "precondition_failed")
        assert (await get(world, "a", "DELETE", if_match=second.headers["etag"])).status == 204


async def test_what_the_client_has_is_not_sent_again() -> None:
    async with open_world() as world:
        put_ = await put(world, "a")
        tag, date = put_.headers["etag"], put_.headers["last-modified"]
        for headers in ({"if_none_match": f'"x", W/{tag}'}, {"if_modified_since": date}):
            answer = await get(world, "a", **headers)
            assert (answer.status, answer.body) == (304, b"")
            assert (answer.headers["etag"], answer.headers["cache-control"]) == (tag, "no-cache")
            assert answer.headers.keys().isdisjoint({"content-length", "content-type"})
        assert (await get(world, "a", if_none_match='"x"', if_modified_since=date)).status == 200


@pytest.mark.parametrize(
    ("value", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100000-", 100_000, len(DATA)),
        ("bytes=-5", len(DATA) - 5, len(DATA)),
        ("bytes=5-99999999999999999999999", 5, len(DATA)),
        ("bytes=0-9,5-20,21-30", 0, 31),
    ],
)
async def test_a_part_is_sent_alone(value: str, start: int, stop: int) -> None:
    async with open_world() as world:
        await put(world, "a.txt")
        part = await get(world, "a.txt", range=value)
        assert (part.status, part.body) == (206, DATA[start:stop])
        assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"
        assert part.headers["content-type"] == "text/plain"


async def test_several_parts_are_one_answer_of_many() -> None:
    async with open_world() as world:
        await put(world, "a.txt")
        answer = await get(world, "a.txt", range="bytes=200000-299999,0-9,-3")
        assert answer.status == 206
        assert "content-range" not in answer.headers
        head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + answer.body, policy=email.policy.HTTP)
        assert message.get_content_type() == "multipart/byteranges"
        boundary = message.get_boundary()
        assert boundary is not None
        # Not by the mail parser: what is between the heads is binary.
        parts = answer.body.split(f"--{boundary}".encode())
        assert parts[0].strip() == b""
        assert parts[-1] == b"--\r\n"
        read = {}
        for part in parts[1:-1]:
            head_of_part, _, rest = part.partition(b"\r\n\r\n")
            assert b"Content-Type: text/plain" in head_of_part
            read[head_of_part.split(b"Content-Range: ")[1]] = rest.removesuffix(b"\r\n")
        size = len(DATA)
        assert read == {
            b"bytes 200000-299999/%d" % size: DATA[200_000:300_000],
            b"bytes 0-9/%d" % size: DATA[:10],
            b"bytes %d-%d/%d" % (size - 3, size - 1, size): DATA[-3:],
        }


@pytest.mark.parametrize(
    "value",
    [
        "bytes=5-2",
        "lines=0-5",
        "bytes=x",
        "bytes=" + ",".join(f"{n * 2}-{n * 2}" for n in range(1000)),
        "bytes=" + ",".join(["0-"] * 300),
    ],
)
async def test_a_range_that_is_none_or_too_many_gets_the_file_once(value: str) -> None:
    async with open_world() as world:
        await put(world, "a")
        answer = await get(world, "a", range=value)
        assert (answer.status, answer.body) == (200, DATA)


async def test_a_range_that_is_not_there_is_416() -> None:
    async with open_world() as world:
        await put(world, "a")
        for value in (f"bytes={len(DATA)}-", "bytes=-0", f"bytes={len(DATA)}-,{len(DATA) + 5}-"):
            answer = await get(world, "a", range=value)
            assert answer.problem == (416, "range_unsatisfiable")
            assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


async def test_a_part_of_another_file_is_not_mixed_with_this_one() -> None:
    async with open_world() as world:
        tag = (await put(world, "a")).headers["etag"]
        assert (await get(world, "a", range="bytes=5-", if_range=tag)).status == 206
        await put(world, "a", DATA[::-1])
        answer = await get(world, "a", range="bytes=5-", if_range=tag)
        assert (answer.status, answer.body) == (200, DATA[::-1])
        date = answer.headers["last-modified"]
        assert (await get(world, "a", range="bytes=5-", if_range=date)).status == 206


async def test_what_is_larger_than_a_file_may_be_is_refused(tmp_path: Path) -> None:
    async with open_world(Settings(max_upload=100_000, data=str(tmp_path))) as world:
        assert (await put(world, "a", bytes(100_001))).problem == (413, "body_too_large")
        assert (await put(world, "a", bytes(100_001), transfer_encoding="chunked")).problem == (
            413,
            "body_too_large",
        )
        assert world.application.registry.closed["file"] == {CloseReason.LIMIT: 1}
        assert (await put(world, "a", bytes(100_000))).status == 201
        # What is read whole keeps its own limit.
        too_much = bytes(Settings().max_body + 1)
        assert (await world.request("POST", "/topics/a", too_much)).problem == (413, "body_too_large")
        assert unfinished(tmp_path) == []


async def test_a_file_may_be_larger_than_a_body_that_is_read_whole() -> None:
    async with open_world() as world:
        data = bytes(3 * MIB)
        assert (await put(world, "a", data)).status == 201
        assert (await get(world, "a")).body == data


async def test_more_than_there_is_room_for_is_refused_before_it_is_sent() -> None:
    async with open_world(Settings(max_upload=2**50)) as world:
        peer = world.connect()
        refused = await peer.exchange(
            b"PUT /files/a HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n\r\n" % (2**50 - 1),
        )
        assert refused.startswith(b"HTTP/1.1 507 ")
        assert b'"storage_full"' in refused
        assert b"100 Continue" not in refused


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"content_encoding": "gzip"}, (415, "encoding_unsupported")),
        # Taken for a whole file, a part would destroy it.
        ({"content_range": "bytes 0-9/100"}, (400, "request_malformed")),
    ],
)
async def test_a_body_that_is_not_the_file_itself_is_refused(
    headers: dict[str, str], problem: tuple[int, str]
) -> None:
    async with open_world() as world:
        assert (await put(world, "a", b"0123456789", **headers)).problem == problem
        assert (await get(world, "a")).status == 404


async def test_a_body_that_ends_early_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    async with open_world(Settings(data=str(tmp_path))) as world:
        await put(world, "a", b"old")
        for framing, body in (
            (b"Content-Length: 1000000", bytes(300_000)),
            (b"Transfer-Encoding: chunked", b"493e0\r\n" + bytes(300_000) + b"\r\n"),
            (b"Transfer-Encoding: chunked", b"5\r\nhello\r\nnonsense\r\n"),
        ):
            head = b"PUT /files/a HTTP/1.1\r\nHost: localhost\r\n" + framing + b"\r\n\r\n"
            answer = await world.connect().exchange(head + body, eof=True)
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert unfinished(tmp_path) == []
        assert (await get(world, "a")).body == b"old"
        assert world.application.registry.closed["file"] == {
            CloseReason.CLIENT_DISCONNECTED: 3,
            CloseReason.COMPLETED: 2,
        }


async def test_bytes_behind_the_length_are_not_the_files() -> None:
    async with open_world() as world:
        answer = await world.connect().exchange(
            b"PUT /files/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello, world", eof=True
        )
        assert answer.startswith(b"HTTP/1.1 201 ")
        assert b"HTTP/1.1 400 " in answer
        assert (await get(world, "a")).body == b"hello"


async def test_of_an_upload_whose_client_leaves_nothing_is_left(tmp_path: Path) -> None:
    async with open_world(Settings(data=str(tmp_path))) as world:
        peer = world.connect()
        await peer.stream.send_all(
            b"PUT /files/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf"
        )
        with trio.fail_after(10):
            while not unfinished(tmp_path):
                await trio.sleep(0.005)
        await peer.aclose()
        with trio.fail_after(10):
            while unfinished(tmp_path):
                await trio.sleep(0.005)
        await wait_all_tasks_blocked()
        assert world.application.registry.closed["file"] == {CloseReason.CLIENT_DISCONNECTED: 1}


async def test_readers_meet_the_old_file_or_the_new_one() -> None:
    async with open_world() as world:
        versions = [bytes([number]) * 200_000 for number in range(12)]
        await put(world, "a", versions[0])
        over = False

        async def read() -> None:
            while not over:
                assert (await get(world, "a")).body in versions

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(read)
            for version in versions:
                await put(world, "a", version)
            over = True


async def test_without_a_data_directory_files_are_gone_with_the_process(tmp_path: Path) -> None:
    async with open_world() as world:
        await put(world, "a", b"temporary")
    async with open_world(Settings(data=str(tmp_path))) as world:
        assert (await get(world, "a")).status == 404
        await put(world, "a", b"kept")
    async with open_world(Settings(data=str(tmp_path))) as world:
        assert (await get(world, "a")).body == b"kept"


async def test_a_drain_lets_a_download_come_to_its_end() -> None:
    async with open_world() as world:
        await put(world, "a", bytes(3 * MIB))
        peer = world.connect()
        await peer.stream.send_all(b"GET /files/a HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = bytes(await peer.stream.receive_some(1000))
        [stream] = world.application.registry.streams.values()
        stream.end(CloseReason.SERVER_DRAINING)
        while piece := await peer.stream.receive_some():
            received += piece
        assert len(received.partition(b"\r\n\r\n")[2]) == 3 * MIB
        assert world.application.registry.closed["file"][CloseReason.COMPLETED] == 2


async def test_a_download_that_an_operator_ends_is_cut_and_looks_so() -> None:
    async with open_world() as world:
        await put(world, "a", bytes(30 * MIB))
        peer = world.connect(lockstep_stream_pair)
        await peer.stream.send_all(b"GET /files/a HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = len(await peer.stream.receive_some(1000))
        [stream] = world.application.registry.streams.values()
        stream.close(CloseReason.ADMIN)
        while piece := await peer.stream.receive_some():
            received += len(piece)
        assert received < 30 * MIB
        assert world.application.registry.closed["file"][CloseReason.ADMIN] == 1
