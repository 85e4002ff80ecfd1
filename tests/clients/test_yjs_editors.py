"""Yjs editors as they are (npm's yjs and y-websocket, in Node): they write one document together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.clients.conftest import assert_nothing_failed
from tests.support.cutting_proxy import CuttingProxy
from tests.support.npm import YJS, npm_install
from tests.support.process import ServerProcess

PROGRAM = Path(__file__).with_name("yjs_editor.mjs")
PATIENCE = 30.0
FLAGS = ["--bind", "127.0.0.1:0", "--drain-seconds", "2", "--document-max", "256 KiB"]


class Editor:
    """One editor in a process of its own.  A command that is never answered ends it, and the test."""

    def __init__(self, modules: Path, port: int, document: str) -> None:
        self._process = subprocess.Popen(
            ["node", str(PROGRAM), f"ws://127.0.0.1:{port}/documents", document],
            env={**os.environ, "NODE_PATH": str(modules)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, command: str, *given: object) -> Any:
        """Do what `command` says, and return the answer."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        try:
            process.stdin.write(json.dumps([command, *given]) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        finally:
            watchdog.cancel()
        assert answer, f"{command} was not answered"
        return json.loads(answer)

    def kill(self) -> None:
        """End it without a word to anybody."""
        with self._process as process:
            process.kill()


OpenEditor = Callable[..., Editor]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return npm_install(tmp_path_factory.mktemp("yjs"), *YJS)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess(FLAGS) as server:
        yield server
        assert_nothing_failed(server)


@pytest.fixture
def edit(modules: Path, server: ServerProcess) -> Iterator[OpenEditor]:
    """Open an editor, at `server` where no port is said, that is up to date."""
    with ExitStack() as stack:

        def open_editor(document: str, port: int | None = None) -> Editor:
            editor = Editor(modules, port or server.port, document)
            stack.callback(editor.kill)
            editor("wait-synced")
            return editor

        yield open_editor


def converged(*editors: Editor) -> str:
    """The text of all `editors`, once it is the same."""
    length = max(editor("length") for editor in editors)
    while True:
        for editor in editors:
            editor("wait-length", length)
        texts = {editor("text") for editor in editors}
        if len(texts) == 1:
            return str(texts.pop())
        length = max(length, *map(len, texts))


def test_what_one_types_the_other_has(edit: OpenEditor) -> None:
    ada, ben = edit("typing"), edit("typing")
    ada("type", "it flows")
    ben("wait-text", "it flows")
    ben("insert", 0, "see: ")
    ada("wait-text", "see: it flows")


def test_who_comes_late_gets_the_whole(edit: OpenEditor) -> None:
    ada = edit("late")
    ada("type", "x" * 3000)
    ada("remove", 100, 1000)
    ada("set", "shape", {"x": 1.5, "deep": [{"list": [None, True, "ü"]}]})
    ben = edit("late")
    ada("append", "end")
    ben("wait-text", "end")
    assert ben("text") == ada("text") == "x" * 2000 + "end"
    assert ben("map") == ada("map")
    assert ben("state") == ada("state")


def test_an_edit_that_cuts_an_emoji_is_the_same_for_all(edit: OpenEditor) -> None:
    ada, ben = edit("emoji"), edit("emoji")
    ada("append", "ab😀cd")
    ben("wait-length", 6)
    ben("insert", 3, "x")
    ada("wait-length", 7)
    ada("remove", 0, 1)
    ben("append", "!")
    ada("wait-text", "!")
    late = edit("emoji")
    late("append", "?")
    for editor in (ada, ben):
        editor("wait-text", "?")
    assert ada("text") == ben("text") == late("text")
    assert late("text").startswith("b\ufffdx\ufffdcd")


def test_who_was_cut_and_edited_on_converges_with_the_others(edit: OpenEditor, server: ServerProcess) -> None:
    with CuttingProxy(server.port) as network:
        ada, ben = edit("offline", network.port), edit("offline")
        ada("append", "both ")
        ben("wait-text", "both ")
        for round_ in range(3):
            network.cut()
            ada("wait-unsynced")
            ada("append", f"ada-{round_} ")
            ben("insert", 0, f"ben-{round_} ")
            assert f"ben-{round_}" not in ada("text")
            network.mend()
            ada("wait-text", f"ben-{round_}")
            ben("wait-text", f"ada-{round_}")
        assert converged(ada, ben) == edit("offline")("text")


def test_awareness_goes_round_and_ends_with_the_connection(edit: OpenEditor) -> None:
    ada, ben = edit("aware"), edit("aware")
    ada("show", {"name": "Ada"})
    ben("wait-others", 1)
    assert ben("others") == [{"name": "Ada"}]
    late = edit("aware")
    late("wait-others", 1)
    ada.kill()
    ben("wait-others", 0)
    late("wait-others", 0)


def test_an_editor_that_comes_back_is_shown_again(edit: OpenEditor) -> None:
    ada, ben = edit("aware-again"), edit("aware-again")
    ada("show", {"name": "Ada"})
    ben("wait-others", 1)
    ada("cut")
    ben("wait-others", 0)
    ben("wait-others", 1)
    assert ben("others") == [{"name": "Ada"}]


def test_a_document_that_is_full_is_not_written_to_and_its_editor_does_not_come_back(
    edit: OpenEditor,
) -> None:
    ada, ben = edit("full"), edit("full")
    ben("append", "before ")
    ada("wait-text", "before ")
    ada("append", "x" * 200_000)
    ben("wait-length", 200_000)
    ada("append", "y" * 100_000)
    ada("wait-closed", 4422)
    assert ada("closes") == [[4422, "document_too_large"]]
    assert ada("connects") is False
    ben("append", " after")
    assert edit("full")("text") == ben("text") == "before " + "x" * 200_000 + " after"


def test_a_message_larger_than_a_document_may_be_is_not_tried_again(edit: OpenEditor) -> None:
    ada = edit("larger")
    ada("append", "x" * 300_000)
    ada("wait-closed", 4422)
    assert ada("closes") == [[4422, "frame_too_large"]]
    assert ada("connects") is False


@pytest.mark.parametrize("ended", ["stopped", "killed"])
def test_after_a_restart_all_is_there(ended: str, edit: OpenEditor, tmp_path: Path) -> None:
    data = str(tmp_path / "made" / "data")
    with ServerProcess([*FLAGS, "--data", data]) as own:
        ada, ben = edit("kept", own.port), edit("kept", own.port)
        ada("type", "kept ")
        ben("wait-text", "kept ")
        # Whoever wrote it has gone, and cannot bring it again.
        ada.kill()
        ben.kill()
        if ended == "killed":
            own.send_signal(signal.SIGKILL)
            own.wait()
            own.start_again()
        else:
            own.restart()
        late = edit("kept", own.port)
        assert late("text") == "kept "
        late("append", "and gone on with")
        with urlopen(f"{own.url}/documents", timeout=10) as answer:
            (info,) = json.load(answer)["documents"]
        assert (info["document"], info["editors"]) == ("kept", 1)
        assert_nothing_failed(own)


def test_a_restart_without_editors_going_is_not_noticed(edit: OpenEditor, tmp_path: Path) -> None:
    with ServerProcess([*FLAGS, "--data", str(tmp_path)]) as own:
        ada, ben = edit("through", own.port), edit("through", own.port)
        ada("append", "before ")
        ben("wait-text", "before ")
        own.restart()
        ada("append", "after")
        ben("wait-text", "after")
        assert [1012, "server_draining"] in ada("closes")
        assert converged(ada, ben) == "before after"


def test_without_data_a_document_is_as_long_as_the_process(edit: OpenEditor) -> None:
    with ServerProcess(FLAGS) as own:
        ada = edit("passing", own.port)
        ada("append", "gone")
        ada.kill()
        with urlopen(f"{own.url}/documents/passing", timeout=10) as answer:
            assert json.load(answer)["bytes"] > 0
        own.restart()
        with pytest.raises(HTTPError) as caught:
            urlopen(f"{own.url}/documents/passing", timeout=10)
        with caught.value as answer:
            assert (answer.code, json.load(answer)["code"]) == (404, "document_unknown")


def test_one_process_at_a_time_has_the_data(tmp_path: Path) -> None:
    with ServerProcess([*FLAGS, "--data", str(tmp_path)]):
        with pytest.raises(RuntimeError, match=r"error: the data directory .* is in use by another process"):
            ServerProcess([*FLAGS, "--data", str(tmp_path)]).__enter__()
