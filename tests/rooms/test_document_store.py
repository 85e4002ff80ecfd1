"""The store of documents: what it keeps, how it compacts, and that killing its process loses nothing."""

from __future__ import annotations

import logging
import random
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import apsw
import pytest
import trio

from server.rooms.documents.document import MANY
from server.rooms.documents.store import (
    FILE,
    DocumentStore,
    SqliteDocuments,
    open_document_store,
)
from server.wire.y_protocol import encode_update
from tests.support.frames import Close
from tests.support.process import ROOT
from tests.support.study import Study, hear_close, open_study


@pytest.fixture
def documents(tmp_path: Path) -> Iterator[SqliteDocuments]:
    documents = SqliteDocuments(tmp_path / FILE)
    yield documents
    documents.close()


def kept(documents: SqliteDocuments, name: str) -> list[bytes]:
    return [update.data for update in documents.load(name)]


def test_what_was_appended_is_loaded_in_order(documents: SqliteDocuments, tmp_path: Path) -> None:
    rows = documents.append([("a", b"1"), ("b", b"2"), ("a", b"3")])
    assert rows == sorted(rows)
    assert kept(documents, "a") == [b"1", b"3"]
    assert kept(documents, "b") == [b"2"]
    assert kept(documents, "c") == []
    again = SqliteDocuments(tmp_path / FILE)
    assert kept(again, "a") == [b"1", b"3"]
    again.close()


def test_looking_at_a_document_makes_none(documents: SqliteDocuments) -> None:
    assert documents.load("a") == []
    assert documents.size("a") is None
    assert documents.sizes("", 10) == []


def test_sizes_are_listed_by_name_and_in_pages(documents: SqliteDocuments) -> None:
    documents.append([("b", b"22"), ("a", b"1"), ("c", b"333"), ("a", b"1")])
    assert documents.sizes("", 10) == [("a", 2), ("b", 2), ("c", 3)]
    assert documents.sizes("a", 1) == [("b", 2)]
    assert documents.size("c") == 3


def test_a_merged_row_takes_the_place_of_those_up_to_it_alone(documents: SqliteDocuments) -> None:
    *_, last, _, _ = documents.append([("a", b"1"), ("a", b"2"), ("b", b"x"), ("a", b"3")])
    row = documents.replace("a", last, b"12")
    assert kept(documents, "a") == [b"3", b"12"]
    assert kept(documents, "b") == [b"x"]
    assert documents.load("a")[-1].row == row


def test_compacting_gives_room_back(documents: SqliteDocuments, tmp_path: Path) -> None:
    rows = documents.append([("a", b"x" * 10_000)] * 200)
    documents._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (tmp_path / FILE).stat().st_size
    documents.replace("a", rows[-1], b"merged")
    documents._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (tmp_path / FILE).stat().st_size < before / 10


def test_nobody_else_may_read_it(documents: SqliteDocuments, tmp_path: Path) -> None:
    documents.append([("a", b"1")])
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_what_is_no_store_is_said_with_its_path(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"something else entirely" * 100)
    with pytest.raises(OSError, match=FILE), open_document_store(tmp_path):
        pass


def test_a_store_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    SqliteDocuments(tmp_path / FILE).close()
    connection = apsw.Connection(str(tmp_path / FILE))
    connection.pragma("user_version", 99)
    connection.close()
    with pytest.raises(OSError, match="another version"), open_document_store(tmp_path):
        pass


WRITER = """
import sys
from pathlib import Path
from server.rooms.documents.store import SqliteDocuments

documents, number = SqliteDocuments(Path(sys.argv[1])), int(sys.argv[2])
name = "d"
while True:
    updates = [(name, b"%d " % (number + place) * 50) for place in range(number % 4 + 1)]
    rows = documents.append(updates)
    number += len(updates)
    print(number, flush=True)
    if number % 7 == 0:
        merged = b"".join(update.data for update in documents.load(name))
        documents.replace(name, rows[-1], merged)
"""


def test_a_process_killed_while_it_writes_loses_nothing_it_has_said_is_kept(tmp_path: Path) -> None:
    chance, path, said = random.Random(11), tmp_path / FILE, 0
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(said)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout is not None
            for _ in range(chance.randint(1, 60)):
                said = int(process.stdout.readline())
            process.kill()
            # What it had said before the signal came.
            said = max([said, *map(int, process.stdout.read().split("\n")[:-1])])
        documents = SqliteDocuments(path)
        try:
            assert documents._connection.pragma("integrity_check") == "ok"
            numbers = [int(word) for word in b"".join(kept(documents, "d")).split()]
        finally:
            documents.close()
        there = sorted(set(numbers))
        # All that was said, whole; and perhaps one transaction that was done and not said any more.
        assert there == list(range(len(there)))
        assert said <= len(there) <= said + 4
        assert len(numbers) == 50 * len(there)
        said = len(there)


# Documents on a store.  Threads work in real time, and so do these.


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DocumentStore]:
    with open_document_store(tmp_path) as store:
        yield store


async def leave(study: Study, *names: str) -> None:
    """Write into the documents, each by an editor that goes."""
    for name in names:
        writer = await study.join(name)
        await writer.write(name)
        await writer.catch_up()
        await writer.peer.close()
        await writer.ended.wait()


async def test_a_document_is_as_it_was_for_the_next_process(tmp_path: Path) -> None:
    for _ in range(3):
        with open_document_store(tmp_path) as store:
            async with open_study(store=store) as study:
                ada, ben = await study.join_two()
                before = str(ada.text)
                await ada.write("more ")
                await ben.hear_text(before + "more ")
    with open_document_store(tmp_path) as store:
        async with open_study(store=store) as study:
            assert str((await study.join()).text) == "more more more "
            assert [info.document for info in await study.documents.infos("", 10)] == ["paper"]


async def test_what_others_are_told_is_on_the_disk(store: DocumentStore, tmp_path: Path) -> None:
    async with open_study(store=store) as study:
        ada, ben = await study.join_two()
        for number in range(20):
            await ada.write(f"{number} ")
            await ben.hear()
            reader = SqliteDocuments(tmp_path / FILE)
            assert len(reader.load("paper")) >= number + 1
            reader.close()


async def test_a_forgotten_document_comes_back_from_the_store(store: DocumentStore) -> None:
    async with open_study(store=store) as study:
        await leave(study, "one", "two")
        study.documents._documents.clear()
        study.documents._bytes = 0
        assert [info.document for info in await study.documents.infos("", 10)] == ["one", "two"]
        one, again = study.enter("one"), study.enter("one")
        await one.catch_up()
        await again.catch_up()
        assert str(one.text) == str(again.text) == "one"
        assert study.documents.in_memory == 1


async def test_many_rows_become_one(store: DocumentStore, tmp_path: Path) -> None:
    async with open_study(store=store) as study:
        ada, ben = await study.join_two()
        for _ in range(MANY + 10):
            await ada.write("x")
        await ben.hear_text("x" * (MANY + 10))
        await ada.catch_up()
    rows = await store.load("paper")
    assert len(rows) < MANY / 2
    async with open_study(store=store) as study:
        assert str((await study.join()).text) == "x" * (MANY + 10)


async def test_what_is_written_again_and_again_is_not_kept_so_often(store: DocumentStore) -> None:
    async with open_study(store=store) as study:
        ada = await study.join()
        update = encode_update(ada.edit("x" * 200_000))
        for _ in range(30):
            await ada.peer.send(update)
        await ada.catch_up()
    rows = await store.load("paper")
    # Twice what it has, a mebibyte, and what may come in one transaction.
    assert sum(len(row.data) for row in rows) < 2 * 200_000 + 2 * 1024 * 1024 + 200_000
    async with open_study(store=store) as study:
        assert str((await study.join()).text) == "x" * 200_000


async def test_what_cannot_be_stored_is_told_to_nobody_and_its_editor_comes_back(
    documents: SqliteDocuments, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_study(store=DocumentStore(documents)) as study:
        ada, ben = await study.join_two()
        lost = "lost? " * 20_000
        # As on a full disk, where SQLite says the same in the middle of a transaction.
        documents._connection.pragma("max_page_count", documents._connection.pragma("page_count"))
        with caplog.at_level(logging.ERROR, "sluiceway"):
            await ada.write(lost)
            assert await hear_close(ada.peer) == Close(1011, "storage_failed")
        assert "disk is full" in caplog.text
        await ada.ended.wait()
        assert kept(documents, "paper") == []
        documents._connection.pragma("max_page_count", 1_000_000)
        # As a provider does: it comes back, and is asked for what it has.
        await study.join(doc=ada.doc)
        await ben.hear_text(lost)
    assert len(kept(documents, "paper")) == 1


async def test_an_editor_that_goes_in_the_middle_of_a_write_has_written_it_for_the_others(
    store: DocumentStore,
) -> None:
    async with open_study(store=store) as study:
        ben = await study.join()
        for number in range(10):
            ada = await study.join()
            text = str(ada.text) + f"{number} "
            await ada.write(f"{number} ")
            await trio.lowlevel.checkpoint()
            ada.peer.vanish()
            await ada.ended.wait()
            with trio.move_on_after(0.2):
                await ben.hear_text(text)
            again = await study.join()
            assert str(again.text) == str(ben.text)
            again.peer.vanish()
            await again.ended.wait()


async def test_a_store_that_cannot_be_read_ends_who_comes(
    documents: SqliteDocuments, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        other = SqliteDocuments(Path(documents._connection.filename))
        stack.callback(other.close)
        other._connection.execute("DROP TABLE updates")
        async with open_study(store=DocumentStore(documents)) as study:
            ada = study.enter()
            assert await hear_close(ada.peer) == Close(1011, "storage_failed")
            await ada.ended.wait()
    assert "no such table" in caplog.text
