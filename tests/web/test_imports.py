"""Datasets and jobs over HTTP, in the whole application."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from server.application import Application, open_application
from server.lifecycle import CloseReason
from server.settings import Settings
from tests.support.asgi import Body, Peer, open_asgi
from tests.support.sse import SSEParser

NDJSON = {"Content-Type": "application/x-ndjson"}
CSV = {"Content-Type": "text/csv"}
ROWS = b'{"n":1,"word":"a"}\n{"n":2,"word":"b","more":{"x":[1.50]}}\n'


class World:
    """The whole application, its routes."""

    def __init__(self, application: Application, http: Peer) -> None:
        self.application = application
        self.http = http

    async def ask(
        self,
        method: str,
        target: str,
        status: int = 200,
        *,
        body: Body = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """What is answered, of JSON; of a problem the code."""
        response = await self.http.request(method, target, body=body, headers=headers or {})
        assert response.status == status, response.body
        if not response.body:
            return None
        found = response.json()
        assert isinstance(found, dict | list)
        return found["code"] if status >= 400 and isinstance(found, dict) else found

    async def put_in(self, dataset: str, body: Body = ROWS, headers: Mapping[str, str] = NDJSON) -> Any:
        """What an import is answered with."""
        return await self.ask("POST", f"/datasets/{dataset}", 202, body=body, headers=headers)

    async def events(self, job: str) -> list[tuple[str, str | None, Any]]:
        """What the job's stream says to its end: event, id, data."""
        response = await self.http.request("GET", f"/jobs/{job}/events")
        assert response.status == 200
        return [
            (event.event, event.id, json.loads(event.data))
            for event in SSEParser().feed(response.body)
            if event.data
        ]


@asynccontextmanager
async def open_world(**settings: Any) -> AsyncIterator[World]:
    async with open_application(Settings(**settings)) as application, open_asgi(application.app) as http:
        yield World(application, http)


async def test_rows_go_in_and_out() -> None:
    async with open_world() as world:
        answer = await world.put_in("a")
        assert answer["state"] == "done"
        assert answer["rows"] == 2
        assert (answer["current"], answer["total"], answer["percent"]) == (len(ROWS), len(ROWS), 100.0)
        rows = await world.http.request("GET", "/datasets/a/rows")
        assert rows.header("content-type") == "application/json"
        assert rows.header("vary") == "Accept"
        assert rows.body == (
            b'[\n{"n":1,"word":"a","more":null},\n{"n":2,"word":"b","more":{"x":[1.50]}}\n]\n'
        )
        for accept, body in (
            (
                "application/x-ndjson",
                b'{"n":1,"word":"a","more":null}\n{"n":2,"word":"b","more":{"x":[1.50]}}\n',
            ),
            ("text/csv", b'n,word,more\r\n1,a,\r\n2,b,"{""x"":[1.50]}"\r\n'),
        ):
            rows = await world.http.request("GET", "/datasets/a/rows", headers={"Accept": accept})
            assert rows.body == body
        assert await world.ask("GET", "/datasets/a/rows?after=1") == [
            {"n": 2, "word": "b", "more": {"x": [1.5]}}
        ]
        assert await world.ask("GET", "/datasets/a/rows?limit=1") == [{"n": 1, "word": "a", "more": None}]
        assert await world.ask("GET", "/datasets/a/rows?after=2") == []


async def test_datasets_are_listed_looked_at_and_deleted() -> None:
    async with open_world() as world:
        for name in ("b", "a", "c"):
            await world.put_in(name)
        first = await world.ask("GET", "/datasets?limit=2")
        assert [each["dataset"] for each in first["datasets"]] == ["a", "b"]
        rest = await world.ask("GET", f"/datasets?after={first['next']}")
        assert [each["dataset"] for each in rest["datasets"]] == ["c"]
        assert rest["next"] is None
        looked = await world.ask("GET", "/datasets/a")
        assert looked == first["datasets"][0] | {"columns": ["n", "word", "more"]}
        await world.ask("DELETE", "/datasets/a", 204)
        assert await world.ask("GET", "/datasets/a", 404) == "dataset_unknown"
        assert await world.ask("GET", "/datasets/a/rows", 404) == "dataset_unknown"
        assert await world.ask("DELETE", "/datasets/a", 404) == "dataset_unknown"


async def test_a_malformed_line_fails_the_job_with_its_number_and_keeps_nothing() -> None:
    async with open_world() as world:
        await world.put_in("a")
        answer = await world.put_in("a", b"n,word\n1,a\n2\n", CSV)
        assert answer["state"] == "failed"
        assert answer["error"] == {
            "code": "row_invalid",
            "message": "Line 3: the record has 1 fields, and the header 2.",
            "line": 3,
        }
        events = await world.events(answer["job"])
        assert events[0] == ("error", f"{answer['job']}:ended", answer["error"] | {"state": "failed"})
        assert (await world.ask("GET", "/datasets/a"))["rows"] == 2


async def test_a_finished_job_tells_its_end_once() -> None:
    async with open_world() as world:
        job = (await world.put_in("a"))["job"]
        (done, last, data), (closing, _, why) = await world.events(job)
        assert (done, data["complete"], data["percent"], data["rows"]) == ("done", True, 100.0, 2)
        assert (closing, why["reason"], why["reconnect"]) == ("closing", "completed", False)
        assert last is not None
        again = await world.http.request("GET", f"/jobs/{job}/events", headers={"Last-Event-ID": last})
        assert (again.status, again.body) == (204, b"")
        assert (await world.http.request("GET", f"/jobs/{job}/events?last_event_id={last}")).status == 204


async def test_a_job_is_watched_while_its_body_comes_in() -> None:
    async with open_world() as world, trio.open_nursery() as nursery:
        go_on = trio.Event()
        headers = NDJSON | {"Content-Length": str(len(ROWS))}

        async def slow() -> AsyncIterator[bytes]:
            yield ROWS[:25]
            await go_on.wait()
            yield ROWS[25:]

        nursery.start_soon(world.put_in, "a?job=mine", slow(), headers)
        with trio.fail_after(10):
            while (await world.ask("GET", "/jobs"))["jobs"] == []:
                await trio.sleep(0.001)
            async with world.http.stream("GET", "/jobs/mine/events") as events:
                text = await events.receive()
                while b"progress" not in text or b'"current":25' not in text:
                    text += await events.receive()
                    if b'"current":0' in text:
                        break
                running = await world.ask("GET", "/jobs/mine")
                assert running["state"] == "running"
                assert running["total"] == len(ROWS)
                assert await world.ask("GET", "/jobs?state=running&dataset=a") == {
                    "jobs": [running],
                    "next": None,
                }
                assert await world.ask("POST", "/datasets/a?job=mine", 409, body=ROWS, headers=NDJSON) == (
                    "job_exists"
                )
                go_on.set()
                while piece := await events.receive():
                    text += piece
        told = [(event.event, event.id) for event in SSEParser().feed(text) if event.data]
        assert told[0][0] == "progress"
        assert told[-2] == ("done", "mine:ended")
        assert told[-1][0] == "closing"
        assert world.application.registry.closed["job"] == {"completed": 1}


async def test_cancel_answers_after_the_rollback() -> None:
    async with open_world() as world, trio.open_nursery() as nursery:
        answers: list[Any] = []

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield ROWS
                await trio.sleep(0.001)

        async def send() -> None:
            response = await world.http.request(
                "POST", "/datasets/a?job=mine", body=endless(), headers=NDJSON
            )
            answers.append((response.status, response.json()))

        nursery.start_soon(send)
        with trio.fail_after(10):
            while (await world.ask("GET", "/jobs"))["jobs"] == []:
                await trio.sleep(0.001)
            cancelled = await world.ask("POST", "/jobs/mine/cancel")
            assert cancelled["state"] == "cancelled"
            assert cancelled["error"]["code"] == "job_cancelled"
            assert await world.ask("GET", "/datasets/a", 404) == "dataset_unknown"
            assert (await world.ask("POST", "/jobs/mine/cancel"))["state"] == "cancelled"
            await world.ask("DELETE", "/jobs/mine", 204)
            assert await world.ask("GET", "/jobs/mine", 404) == "job_unknown"
            assert await world.ask("DELETE", "/jobs/mine", 404) == "job_unknown"
        nursery.cancel_scope.cancel()


async def test_of_a_long_body_whose_job_has_ended_the_rest_is_not_read() -> None:
    async with open_world() as world:
        sent = 0

        async def long() -> AsyncIterator[bytes]:
            nonlocal sent
            yield b"{\n"
            while True:
                sent += 65536
                yield b" " * 65536

        assert await world.ask("POST", "/datasets/a", 422, body=long(), headers=NDJSON) == "row_invalid"
        assert 16 * 2**20 < sent < 17 * 2**20


@pytest.mark.parametrize(
    ("target", "headers", "status", "code"),
    [
        ("/datasets/.a", NDJSON, 400, "name_invalid"),
        ("/datasets/a?job=.a", NDJSON, 400, "name_invalid"),
        ("/datasets/a?x=1", NDJSON, 400, "query_invalid"),
        ("/datasets/a", {"Content-Type": "application/json"}, 415, "type_unsupported"),
        ("/datasets/a", {"Content-Type": "text/csv; charset=latin-1"}, 415, "type_unsupported"),
        ("/datasets/a", CSV | {"Content-Encoding": "gzip"}, 415, "encoding_unsupported"),
        ("/datasets/a", CSV | {"Content-Length": "101"}, 413, "body_too_large"),
        ("/datasets/a", CSV | {"Idempotency-Key": ""}, 400, "idempotency_key_invalid"),
    ],
)
async def test_imports_that_are_refused_make_no_job(
    target: str, headers: dict[str, str], status: int, code: str
) -> None:
    async with open_world(max_upload=100) as world:
        assert await world.ask("POST", target, status, body=b"a\n1\n", headers=headers) == code
        assert await world.ask("GET", "/jobs") == {"jobs": [], "next": None}


async def test_a_body_of_unknown_length_is_counted_as_it_comes() -> None:
    async with open_world(max_upload=1000) as world:

        async def body() -> AsyncIterator[bytes]:
            for _ in range(200):
                yield ROWS

        headers = NDJSON | {"Transfer-Encoding": "chunked"}
        assert await world.ask("POST", "/datasets/a", 413, body=body(), headers=headers) == "body_too_large"
        (job,) = (await world.ask("GET", "/jobs"))["jobs"]
        assert (job["state"], job["total"], job["percent"]) == ("failed", None, None)
        assert job["error"]["code"] == "body_too_large"


async def test_a_key_brings_one_import_and_its_answer_again() -> None:
    async with open_world() as world:
        keyed = NDJSON | {"Idempotency-Key": "k"}
        first = await world.put_in("a", ROWS, keyed)
        assert await world.put_in("a", ROWS, keyed) == first
        assert len((await world.ask("GET", "/jobs"))["jobs"]) == 1
        other = ROWS.replace(b"a", b"z")
        assert (
            await world.ask("POST", "/datasets/a", 422, body=other, headers=keyed) == "idempotency_key_reused"
        )
        assert (
            await world.ask("POST", "/datasets/a", 422, body=b"{}", headers=keyed) == "idempotency_key_reused"
        )
        # What failed had no effect, and is tried again.
        failed = NDJSON | {"Idempotency-Key": "f"}
        one, two = await world.put_in("a", b"{", failed), await world.put_in("a", b"{", failed)
        assert one["state"] == two["state"] == "failed"
        assert one["job"] != two["job"]


async def test_imports_at_once_are_bounded() -> None:
    async with open_world(max_imports=1) as world, trio.open_nursery() as nursery:

        async def endless() -> AsyncIterator[bytes]:
            yield ROWS
            await trio.sleep_forever()

        async def send() -> None:
            await world.http.request("POST", "/datasets/a", body=endless(), headers=NDJSON)

        nursery.start_soon(send)
        with trio.fail_after(10):
            while (await world.ask("GET", "/jobs"))["jobs"] == []:
                await trio.sleep(0.001)
            refused = await world.http.request("POST", "/datasets/b", body=ROWS, headers=NDJSON)
            assert (refused.status, refused.header("retry-after")) == (503, "5")
            nursery.cancel_scope.cancel()
    async with open_world(max_imports=1) as world:
        await world.put_in("a")
        await world.put_in("b")


async def test_a_client_that_goes_in_mid_body_leaves_a_failed_job_and_nothing_else() -> None:
    async with open_world() as world:

        async def endless() -> AsyncIterator[bytes]:
            yield ROWS
            await trio.sleep_forever()

        with trio.move_on_after(0.2):
            await world.http.request("POST", "/datasets/a", body=endless(), headers=NDJSON)
        with trio.fail_after(10):
            while (await world.ask("GET", "/jobs"))["jobs"][0]["state"] == "running":
                await trio.sleep(0.001)
        (job,) = (await world.ask("GET", "/jobs"))["jobs"]
        assert job["error"]["code"] == "body_incomplete"
        assert await world.ask("GET", "/datasets") == {"datasets": [], "next": None}


async def test_jobs_are_listed_newest_first_in_pages() -> None:
    async with open_world() as world:
        made = [(await world.put_in("a"))["job"] for _ in range(3)]
        first = await world.ask("GET", "/jobs?limit=2")
        assert [job["id"] for job in first["jobs"]] == [made[2], made[1]]
        rest = await world.ask("GET", f"/jobs?limit=2&after={first['next']}")
        assert [job["id"] for job in rest["jobs"]] == [made[0]]
        assert rest["next"] is None
        assert await world.ask("GET", "/jobs?after=unknown", 400) == "query_invalid"
        assert await world.ask("GET", "/jobs?state=asleep", 400) == "query_invalid"
        assert await world.ask("GET", "/jobs?state=failed") == {"jobs": [], "next": None}


async def test_jobs_and_datasets_outlive_the_process(tmp_path: Path) -> None:
    async with open_world(data=str(tmp_path)) as world:
        job = await world.put_in("a")
        (shown,) = (await world.ask("GET", "/jobs"))["jobs"]
    async with open_world(data=str(tmp_path)) as world:
        assert (await world.ask("GET", "/jobs"))["jobs"] == [shown]
        (done, last, _), _ = await world.events(job["job"])
        assert (done, last) == ("done", f"{job['job']}:ended")
        assert (await world.ask("GET", "/datasets/a"))["rows"] == 2


async def test_readers_beyond_the_limit_are_refused() -> None:
    async with open_world(max_readers=1) as world:
        await world.put_in("a", ROWS * 5000)
        async with world.http.stream("GET", "/datasets/a/rows") as rows:
            await rows.receive()
            assert await world.ask("GET", "/datasets/a/rows", 503) == "readers_full"
        await world.ask("GET", "/datasets/a/rows")


async def test_readers_who_come_at_once_are_read_for_or_refused() -> None:
    """None is told 200 and cut, and none waits for another."""
    statuses: list[int] = []

    async def read(world: World) -> None:
        response = await world.http.request("GET", "/datasets/a/rows")
        statuses.append(response.status)

    async with open_world(max_readers=2) as world:
        await world.put_in("a")
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(read, world)
        assert set(statuses) == {200, 503}


async def test_rows_that_cannot_be_opened_are_told_with_a_status(tmp_path: Path) -> None:
    async with open_world(data=str(tmp_path)) as world:
        await world.put_in("a")
        (file,) = (tmp_path / "datasets").iterdir()
        file.unlink()
        assert await world.ask("GET", "/datasets/a/rows", 503) == "storage_failed"
        assert world.application.registry.closed["rows"] == {CloseReason.FAILED: 1}
        assert world.application.registry.leaked == 0


async def test_rows_go_on_when_their_dataset_is_deleted() -> None:
    async with open_world() as world:
        await world.put_in("a", ROWS * 5000)
        async with world.http.stream("GET", "/datasets/a/rows") as rows:
            body = await rows.receive()
            await world.ask("DELETE", "/datasets/a", 204)
            while piece := await rows.receive():
                body += piece
        assert len(json.loads(body)) == 10_000


async def test_a_server_that_drains_takes_no_imports() -> None:
    async with open_world() as world:
        job = (await world.put_in("a"))["job"]
        world.application.gate.close()
        assert await world.ask("POST", "/datasets/a", 503, body=ROWS, headers=NDJSON) == "server_draining"
        assert (await world.events(job))[0][0] == "done"
