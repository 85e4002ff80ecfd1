"""The data directory: made for one user, held by one process."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from server.lifecycle import open_data_directory, open_temporary_directory
from tests.support.process import ROOT

HOLDER = """
import sys
from server.lifecycle import open_data_directory
with open_data_directory(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_it_is_made_for_this_user_alone(tmp_path: Path) -> None:
    wanted = tmp_path / "one" / "two"
    with open_data_directory(str(wanted)) as path:
        assert path == wanted
        assert stat.S_IMODE(wanted.stat().st_mode) == 0o700


def test_one_that_is_there_is_taken_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    (tmp_path / "mine").write_text("kept")
    with open_data_directory(str(tmp_path)):
        pass
    with open_data_directory(str(tmp_path)):
        assert (tmp_path / "mine").read_text() == "kept"
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


def test_it_is_one_process_at_a_time_and_free_again_after_a_kill(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OSError, match="in use by another process"), open_data_directory(str(tmp_path)):
            pass
        holder.kill()
    with open_data_directory(str(tmp_path)):
        pass


def test_what_cannot_be_made_is_an_error_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(OSError, match="file"), open_data_directory(str(tmp_path / "file")):
        pass


def test_a_temporary_one_is_this_users_alone_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_temporary_directory() as first, open_temporary_directory() as second:
        assert first != second
        assert stat.S_IMODE(first.stat().st_mode) == 0o700
        (first / "large").write_text("")
    assert list(tmp_path.iterdir()) == []


def test_only_temporary_ones_that_nobody_holds_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, foreign, unnamed = (tmp_path / f"sluiceway-data-{name}" for name in ("left", "foreign", "unnamed"))
    for path in (left, foreign, unnamed):
        path.mkdir()
        (path / "large").write_text("")
    (left / "lock").write_text("")
    (foreign / "lock").symlink_to("/etc/passwd")
    with open_temporary_directory() as held:
        assert set(tmp_path.iterdir()) == {foreign, unnamed, held}
        with open_temporary_directory():
            assert held.exists()
