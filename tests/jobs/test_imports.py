"""Imports: all or nothing, whatever ends them, and readers who are not disturbed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
import trio

from server.jobs import (
    DatasetLimits,
    JobExistsError,
    JobLimits,
    JobsFullError,
    JobState,
    ReadersFullError,
    Upload,
    import_rows,
    open_imports,
)
from server.jobs.imports import READERS
from server.jobs.tables import TableReader, write_table
from server.lifecycle import Registry, RequestHead
from server.streams import JSON_ARRAY, ByteWriter, EventServices, Heartbeats, OwnStream, write_rows
from server.transport import DrainGate, Framing, Sent
from server.wire.row_batches import MAX_RECORD, ndjson_rows
from tests.jobs.bench import (
    NDJSON,
    files_in,
    files_of_datasets,
    import_pieces,
    lines,
    open_bench,
    rows_of,
    words_of,
)
from tests.support.cancel import cancel_at_each_step
from tests.support.hubs import open_hub


async def test_an_import_is_a_dataset(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as imports:
        body = lines(3, "old")
        job = await import_pieces(imports, "a", [body[:10], body[10:]])
        assert (job.record.state, job.record.rows, job.record.current) == (JobState.DONE, 3, len(body))
        assert await rows_of(imports, "a") == [(0, "old"), (1, "old"), (2, "old")]
        assert await rows_of(imports, "a", after=1, limit=1) == [(1, "old")]
        dataset = await imports.datasets.look("a")
        assert (dataset.table.columns, dataset.table.rows) == (("n", "word"), 3)
    assert [path.stat().st_mode & 0o077 for path in tmp_path.rglob("*")] == [0] * len(
        list(tmp_path.rglob("*"))
    )


@pytest.mark.parametrize(
    ("pieces", "code", "line"),
    [
        ([lines(5000, "new"), b"{\n"], "row_invalid", 5001),
        ([b""], "import_empty", None),
        ([], "import_empty", None),
        ([b"\n \n"], "import_empty", None),
    ],
)
async def test_what_cannot_be_read_keeps_nothing(
    tmp_path: Path, pieces: list[bytes], code: str, line: int | None
) -> None:
    async with open_bench(tmp_path) as imports:
        await import_pieces(imports, "a", [lines(2, "old")])
        job = await import_pieces(imports, "a", pieces)
        fault = job.record.fault
        assert fault is not None
        assert (job.record.state, fault.code, fault.line) == (JobState.FAILED, code, line)
        assert await words_of(imports, "a") == {"old"}
        assert files_in(tmp_path) == files_of_datasets(tmp_path)


async def test_a_body_that_breaks_off_keeps_nothing(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as imports:
        upload = Upload()
        job = await imports.jobs.start("a", None, import_rows(imports.datasets, "a", READERS[NDJSON], upload))
        await upload.feed(lines(3000, "new"))
        upload.fail("body_incomplete", "The connection ended within the body.")
        await job.wait_ended()
        assert job.record.fault is not None
        assert job.record.fault.code == "body_incomplete"
        assert await words_of(imports, "a") is None
        assert files_in(tmp_path) == []


async def test_cancel_returns_when_all_is_undone(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as imports:
        await import_pieces(imports, "a", [lines(2, "old")])
        upload = Upload()
        job = await imports.jobs.start("a", None, import_rows(imports.datasets, "a", READERS[NDJSON], upload))
        assert await upload.feed(lines(3000, "new"))
        assert len(files_in(tmp_path)) == 2
        await imports.jobs.cancel(job)
        assert job.record.state is JobState.CANCELLED
        assert files_in(tmp_path) == files_of_datasets(tmp_path)
        assert not await upload.feed(b"more")
        assert await words_of(imports, "a") == {"old"}
        await imports.jobs.forget(job)
        assert imports.jobs.get(job.id) is None
        upload.complete()


async def test_cancelled_at_each_step_there_is_the_old_or_the_new(tmp_path: Path) -> None:
    """The whole service is cancelled; what the next process finds is whole."""
    folder = tmp_path / "0"
    folder.mkdir()
    pieces = [lines(40, "new")[:700], lines(40, "new")[700:]]

    async def prepare() -> None:
        async with open_bench(folder) as imports:
            await import_pieces(imports, "a", [lines(2, "old")])

    async def run() -> None:
        try:
            async with open_bench(folder) as imports:
                await import_pieces(imports, "a", pieces)
        except* JobsFullError:
            # Asked for while the service was stopping.
            pass

    seen: set[str] = set()

    async def check(step: int) -> None:
        nonlocal folder
        left = files_in(folder)
        named = files_of_datasets(folder)
        # The one file that may be left is the old one, no longer named.
        assert set(named) <= set(left)
        assert len(left) <= 2
        async with open_bench(folder) as imports:
            words = await words_of(imports, "a")
            assert words in ({"old"}, {"new"})
            assert files_in(folder) == named
            assert all(job.ended for job in imports.jobs.newest_first())
            seen.update(words or ())
        folder = tmp_path / str(step)
        folder.mkdir()
        await prepare()

    await prepare()
    assert await cancel_at_each_step(run, after=check) > 20
    assert seen == {"old", "new"}


async def test_cancelled_at_each_step_by_its_client_a_job_is_done_or_undone(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as imports:
        word = "0"
        step = 1
        known = {(await import_pieces(imports, "a", [lines(2, word)])).id}

        async def run() -> None:
            try:
                await import_pieces(imports, "a", [lines(30, f"w{step}")])
            finally:
                job = next(imports.jobs.newest_first())
                with trio.CancelScope(shield=True):
                    await imports.jobs.cancel(job)

        async def check(number: int) -> None:
            nonlocal step, word
            job = next(imports.jobs.newest_first())
            if job.id not in known and job.record.state is JobState.DONE:
                word = f"w{step}"
            known.add(job.id)
            assert await words_of(imports, "a") == {word}
            with trio.fail_after(5):
                while files_in(tmp_path) != files_of_datasets(tmp_path):
                    await trio.sleep(0.001)
            step = number + 1

        await cancel_at_each_step(run, after=check)
        assert word == f"w{step - 1}"


async def test_a_reader_has_the_rows_that_it_began_with(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as imports:
        await import_pieces(imports, "a", [lines(2000, "old")])
        async with imports.datasets.rows("a")() as rows:
            batches = aiter(rows.batches)
            words = {str(row[1]) for row in await anext(batches)}
            await import_pieces(imports, "a", [lines(2000, "new")])
            await import_pieces(imports, "a", [lines(2000, "newer")])
            count = len(words)
            async for batch in batches:
                words |= {str(row[1]) for row in batch}
                count += len(batch)
            assert (words, count) == ({"old"}, 1501)
            assert await words_of(imports, "a") == {"newer"}
            await imports.datasets.delete("a")
            assert await words_of(imports, "a") is None
        with trio.fail_after(5):
            while files_in(tmp_path):
                await trio.sleep(0.001)


@pytest.mark.parametrize("how", ["error", "abandoned", "cancelled"])
async def test_a_reading_ends_with_its_block_however_that_ends(tmp_path: Path, how: str) -> None:
    """The source's promise: what it holds goes in the same step, and not when the collector comes by."""
    async with open_bench(tmp_path) as imports:
        await import_pieces(imports, "a", [lines(2000, "old")])
        (file,) = files_in(tmp_path)
        path = str(tmp_path / "datasets" / file)
        with trio.CancelScope() as scope:
            try:
                async with imports.datasets.rows("a")() as rows:
                    async for _ in rows.batches:
                        assert path in _open_files()
                        match how:
                            case "error":
                                raise ValueError
                            case "abandoned":
                                break
                            case _:
                                scope.cancel()
                                await trio.sleep_forever()
            except ValueError:
                pass
            finally:
                assert path not in _open_files()
                assert imports.datasets.readers == 0


async def test_cancelled_at_each_step_a_reading_leaves_nothing(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as imports:
        await import_pieces(imports, "a", [lines(1200, "old")])
        (file,) = files_in(tmp_path)

        def check(_: int) -> None:
            assert str(tmp_path / "datasets" / file) not in _open_files()
            assert imports.datasets.readers == 0

        async def read() -> None:
            assert len(await rows_of(imports, "a")) == 1200

        assert await cancel_at_each_step(read, after=check) > 5


async def test_cancelled_at_each_step_a_stream_of_rows_leaves_nothing(tmp_path: Path) -> None:
    """As a client has it: encoded, over a connection that takes some of it and then is gone."""
    async with open_bench(tmp_path) as imports:
        await import_pieces(imports, "a", [lines(1200, "old")])
        (file,) = files_in(tmp_path)
        registry = Registry()
        hub = open_hub()
        services = EventServices(hub, registry, Heartbeats(15.0), DrainGate(lambda: 0, 1.0))
        taken: list[bytes] = []

        class Wire:
            framing = Framing.IDENTITY
            bytes_sent = 0

            def try_send(self, frame: bytes) -> Sent:
                return Sent.BUSY

            async def send_all(self, data: bytes) -> None:
                await trio.lowlevel.checkpoint()
                taken.append(data)

        async def read() -> None:
            taken.clear()

            async def write(output: ByteWriter) -> None:
                await write_rows(output, imports.datasets.rows("a"), JSON_ARRAY)

            stream = OwnStream(services, RequestHead("GET", "/", "", ()), "rows", write, ByteWriter)
            await stream.run(Wire())
            assert len(json.loads(b"".join(taken))) == 1200

        def check(_: int) -> None:
            assert str(tmp_path / "datasets" / file) not in _open_files()
            assert imports.datasets.readers == 0
            assert registry.streams == {}
            assert registry.leaked == 0

        assert await cancel_at_each_step(read, after=check) > 20


async def test_readers_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    async with open_bench(tmp_path, datasets=DatasetLimits(readers=1)) as imports:
        await import_pieces(imports, "a", [lines(1, "old")])
        async with imports.datasets.rows("a")():
            assert imports.datasets.full
            with pytest.raises(ReadersFullError):
                await rows_of(imports, "a")
        assert not imports.datasets.full
        assert len(await rows_of(imports, "a")) == 1


async def test_jobs_are_bounded(tmp_path: Path) -> None:
    async with open_bench(tmp_path, JobLimits(running=1, kept=2)) as imports:
        upload = Upload()
        work = import_rows(imports.datasets, "a", READERS[NDJSON], upload)
        job = await imports.jobs.start("a", None, work, "mine")
        with pytest.raises(JobsFullError):
            await imports.jobs.start("a", None, work)
        upload.complete()
        await job.wait_ended()
        with pytest.raises(JobExistsError):
            await imports.jobs.start("a", None, work, "mine")
        others = [await import_pieces(imports, "a", [lines(1, "x")]) for _ in range(3)]
        assert [job.id for job in imports.jobs.newest_first()] == [others[2].id, others[1].id]
    async with open_bench(tmp_path) as imports:
        assert [job.id for job in imports.jobs.newest_first()] == [others[2].id, others[1].id]


async def test_jobs_that_ended_long_ago_are_forgotten(tmp_path: Path) -> None:
    async with open_bench(tmp_path, JobLimits(seconds=0.05)) as imports:
        job = await import_pieces(imports, "a", [lines(1, "x")])
        assert imports.jobs.get(job.id) is job
        await trio.sleep(0.06)
        assert imports.jobs.get(job.id) is None
        assert await words_of(imports, "a") == {"x"}


async def test_a_job_with_the_id_of_a_forgotten_one_is_kept(tmp_path: Path) -> None:
    """Killed while it runs, it has been interrupted, as any other."""
    async with open_bench(tmp_path, JobLimits(seconds=0.0)) as imports:
        upload = Upload()
        work = import_rows(imports.datasets, "a", READERS[NDJSON], upload)
        first = await imports.jobs.start("a", None, work, "mine")
        upload.complete()
        await first.wait_ended()
        await trio.sleep(0.01)
        upload = Upload()
        work = import_rows(imports.datasets, "a", READERS[NDJSON], upload)
        await imports.jobs.start("a", None, work, "mine")
        connection = apsw.Connection(str(tmp_path / "datasets.sqlite"))
        try:
            assert connection.execute("SELECT id FROM jobs").get == "mine"
        finally:
            connection.close()


async def test_a_job_deleted_twice_at_once_takes_no_later_one_of_its_id_with_it(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as imports:
        upload = Upload()
        work = import_rows(imports.datasets, "a", READERS[NDJSON], upload)
        first = await imports.jobs.start("a", None, work, "mine")
        upload.complete()
        await first.wait_ended()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(imports.jobs.forget, first)
            while imports.jobs.get("mine") is first:
                await trio.lowlevel.checkpoint()
            upload = Upload()
            work = import_rows(imports.datasets, "a", READERS[NDJSON], upload)
            second = await imports.jobs.start("a", None, work, "mine")
        assert imports.jobs.get("mine") is second
        assert [job.id for job in imports.jobs.newest_first()] == ["mine"]


async def test_datasets_are_bounded(tmp_path: Path) -> None:
    async with open_bench(tmp_path, datasets=DatasetLimits(datasets=1)) as imports:
        await import_pieces(imports, "a", [lines(1, "x")])
        job = await import_pieces(imports, "b", [lines(1, "x")])
        assert job.record.fault is not None
        assert job.record.fault.code == "datasets_full"
        assert (await import_pieces(imports, "a", [lines(1, "y")])).record.state is JobState.DONE
        with trio.fail_after(5):
            while files_in(tmp_path) != files_of_datasets(tmp_path):
                await trio.sleep(0.001)


async def test_a_full_disk_fails_the_job_and_says_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, batches: Iterator[object]) -> None:
        next(batches)
        raise apsw.FullError("FullError: database or disk is full at /secret")

    monkeypatch.setattr("server.jobs.imports.write_table", full)
    async with open_bench(tmp_path) as imports:
        job = await import_pieces(imports, "a", [lines(1, "x")])
        assert job.record.fault is not None
        assert (job.record.fault.code, job.record.fault.message) == ("storage_full", "The disk is full.")


def test_a_disk_that_fills_leaves_no_file(tmp_path: Path) -> None:
    """A real one: the file may not grow beyond a size."""
    import resource  # noqa: PLC0415
    import signal  # noqa: PLC0415

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * 1024, before[1]))
    try:
        with pytest.raises((apsw.Error, OSError)):
            write_table(tmp_path / "t", ndjson_rows([lines(200_000, "many")]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(tmp_path.iterdir()) == []


def test_large_rows_come_few_at_once(tmp_path: Path) -> None:
    large = b'{"n":1,"word":"' + b"x" * (MAX_RECORD - 100) + b'"}\n'
    table = write_table(tmp_path / "t", ndjson_rows([large] * 3 + [lines(3000, "small")] + [large]))
    reader = TableReader(tmp_path / "t", table, 0, None)
    sizes = []
    count = 0
    while batch := reader.read():
        sizes.append(sum(len(str(row[1])) for row in batch))
        count += len(batch)
    reader.close()
    assert count == 3004
    assert max(sizes) < 1.5 * MAX_RECORD
    assert len(sizes) < 20


async def test_what_an_earlier_process_left_running_has_failed(tmp_path: Path) -> None:
    hub = open_hub()
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "half.rows").write_bytes(b"half")
    with open_imports(tmp_path, hub, JobLimits(), DatasetLimits(), 1) as imports:
        # As a process that is killed leaves it: begun, and no end.
        from server.jobs import JobRecord  # noqa: PLC0415

        await imports.jobs._catalog.save_job(JobRecord("left", "a", 1.0, 100, current=10))
    async with open_bench(tmp_path) as imports:
        job = imports.jobs.get("left")
        assert job is not None
        assert job.record.state is JobState.FAILED
        assert job.record.fault is not None
        assert job.record.fault.code == "job_interrupted"
        assert files_in(tmp_path) == []


def _open_files() -> set[str]:
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        try:
            found.add(os.readlink(each))  # noqa: PTH115
        except OSError:
            continue
    return found
