"""The folder: files appear whole or not at all, and each has a tag of its own."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from server.files import (
    ConditionFailedError,
    Folder,
    StorageError,
    StorageFullError,
    StoredFile,
    open_folder,
)
from tests.support.cancel import cancel_at_each_step


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with open_folder(tmp_path) as folder:
        yield folder


def always(current: StoredFile | None) -> bool:
    return True


def never(current: StoredFile | None) -> bool:
    return False


def names_in(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "files").iterdir()}


async def put(folder: Folder, name: str, data: bytes) -> StoredFile:
    async with folder.upload() as upload:
        await upload.write(memoryview(data))
        stored, _ = await upload.commit(name, always)
    return stored


async def content(folder: Folder, name: str) -> bytes | None:
    file = await folder.open(name)
    if file is None:
        return None
    try:
        return os.pread(file.descriptor, 10_000_000, 0)
    finally:
        await file.aclose()


async def test_a_file_has_its_name_only_when_it_is_whole(folder: Folder, tmp_path: Path) -> None:
    async with folder.upload() as upload:
        await upload.write(memoryview(b"half"))
        assert await folder.find("a") is None
        assert await folder.page("", 10) == ([], None)
        await upload.write(memoryview(b", whole"))
        stored, before = await upload.commit("a", always)
    assert (stored.size, before) == (11, None)
    assert await folder.find("a") == stored
    assert await content(folder, "a") == b"half, whole"
    assert names_in(tmp_path) == {"a"}


async def test_what_is_not_committed_is_gone(folder: Folder, tmp_path: Path) -> None:
    await put(folder, "a", b"old")
    async with folder.upload() as upload:
        await upload.write(memoryview(b"new"))
    with pytest.raises(ConditionFailedError):
        async with folder.upload() as upload:
            await upload.write(memoryview(b"new"))
            await upload.commit("a", never)
    assert await content(folder, "a") == b"old"
    assert names_in(tmp_path) == {"a"}


async def test_who_has_a_file_open_goes_on_having_it(folder: Folder) -> None:
    await put(folder, "a", b"old")
    file = await folder.open("a")
    assert file is not None
    await put(folder, "a", b"new")
    assert await folder.remove("a", always)
    assert os.pread(file.descriptor, 10, 0) == b"old"
    await file.aclose()
    await file.aclose()
    assert await content(folder, "a") is None
    assert not await folder.remove("a", always)


async def test_each_content_has_a_tag_of_its_own_however_fast_they_follow(folder: Folder) -> None:
    tags = [(await put(folder, "a", b"%3d" % number)).etag for number in range(40)]
    assert len(set(tags)) == 40
    found = await folder.find("a")
    assert found is not None
    assert found.etag == tags[-1]


async def test_the_condition_is_asked_of_what_is_there_at_the_end(folder: Folder) -> None:
    seen: list[StoredFile | None] = []

    def note(current: StoredFile | None) -> bool:
        seen.append(current)
        return current is None

    async with folder.upload() as first, folder.upload() as second:
        await first.commit("a", note)
        with pytest.raises(ConditionFailedError):
            await second.commit("a", note)
    assert seen[0] is None
    assert seen[1] == await folder.find("a")


async def test_of_many_at_once_that_must_be_the_first_one_is(folder: Folder, tmp_path: Path) -> None:
    won: list[int] = []

    async def race(number: int) -> None:
        async with folder.upload() as upload:
            await upload.write(memoryview(b"%d" % number))
            try:
                await upload.commit("a", lambda current: current is None)
            except ConditionFailedError:
                return
            won.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(race, number)
    assert len(won) == 1
    assert await content(folder, "a") == b"%d" % won[0]
    assert names_in(tmp_path) == {"a"}


async def test_pages_follow_the_names_and_hold_files_alone(folder: Folder, tmp_path: Path) -> None:
    for name in ("b", "é", "a", "Z", "c"):
        await put(folder, name, b"")
    (tmp_path / "files" / "aa").mkdir()
    (tmp_path / "files" / "ab").symlink_to("/etc/passwd")
    (tmp_path / "files" / ".hidden").write_text("")
    Path(os.fsdecode(os.fsencode(tmp_path / "files") + b"/\xff")).write_text("")
    pages: list[list[str]] = []
    after: str | None = ""
    while after is not None:
        found, after = await folder.page(after, 2)
        pages.append([file.name for file in found])
    assert pages == [["Z", "a"], ["b", "c"], ["é"]]


@pytest.mark.parametrize("make", ["link", "directory", "pipe"])
async def test_what_is_no_file_is_not_there(make: str, folder: Folder, tmp_path: Path) -> None:
    path = tmp_path / "files" / "a"
    match make:
        case "link":
            path.symlink_to("/etc/passwd")
        case "directory":
            path.mkdir()
        case _:
            os.mkfifo(path)
    assert await folder.find("a") is None
    assert await folder.open("a") is None
    assert await folder.page("", 10) == ([], None)


async def test_a_link_is_replaced_and_not_followed(folder: Folder, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (tmp_path / "files" / "a").symlink_to(outside)
    await put(folder, "a", b"new")
    assert outside.read_text() == "mine"
    assert await content(folder, "a") == b"new"


async def test_a_directory_in_the_way_is_the_disks_fault(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "files" / "a").mkdir()
    with pytest.raises(StorageError):
        await put(folder, "a", b"new")
    assert names_in(tmp_path) == {"a"}


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the kernel refuse this process longer files, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_without_room_there_is_an_error_of_its_own_and_nothing_is_left(
    folder: Folder, tmp_path: Path
) -> None:
    await put(folder, "a", b"old")
    with files_of_at_most(100_000), pytest.raises(StorageFullError):
        async with folder.upload() as upload:
            await upload.write(memoryview(bytes(200_000)))
    with pytest.raises(StorageFullError):
        await folder.check_room(2**62)
    await folder.check_room(1)
    assert await content(folder, "a") == b"old"
    assert names_in(tmp_path) == {"a"}


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    with open_folder(tmp_path):
        (tmp_path / "files" / ".upload-0123").write_text("half")
        (tmp_path / "files" / "a").write_text("whole")
    with open_folder(tmp_path):
        assert names_in(tmp_path) == {"a"}


async def test_cancelled_anywhere_an_upload_is_there_whole_or_not_at_all(
    folder: Folder, tmp_path: Path
) -> None:
    old, new = b"old" * 50_000, b"new" * 100_000
    replaced: list[bool] = []

    async def upload() -> None:
        await put(folder, "a", old)
        async with folder.upload() as upload:
            await upload.write(memoryview(new[:150_000]))
            await upload.write(memoryview(new[150_000:]))
            await upload.commit("a", always)

    async def check(step: int) -> None:
        found = await content(folder, "a")
        assert found in (old, new) or (found is None and step < 30)
        replaced.append(found == new)
        assert names_in(tmp_path) <= {"a"}

    assert await cancel_at_each_step(upload, after=check) > 20
    assert replaced[-1]


async def test_cancelled_anywhere_nothing_is_left_open(folder: Folder) -> None:
    # The ledger looks at the descriptors.
    await put(folder, "a", b"old")

    async def read() -> None:
        file = await folder.open("a")
        assert file is not None
        try:
            await folder.find("a")
        finally:
            await file.aclose()

    assert await cancel_at_each_step(read) > 2
