"""The clients from npm that people use, unmodified, with a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.clients.generating import LONG, PATIENCE, SAID, SLOW, running, state_of, troubled, wait_none_runs
from tests.support.narrows import Narrows
from tests.support.npm import NodeProgram, install, run_script
from tests.support.npm import running as running_program
from tests.support.process import ServerProcess
from tests.support.trouble import AWKWARD, BREAK, REFUSE, SECRET
from tests.wire.generations.test_npm_clients import PACKAGES, UI

ALL = ["openaiChat", "openaiChatHelper", "openaiChatWhole", "openaiResponses", "openaiResponsesHelper"]
ALL += [*UI, "ai4", "agUi", "tanstack", "loop"]
STREAMS = ["openaiChat", "openaiResponses", *UI, "ai4", "agUi", "tanstack"]
DOCS = Path(__file__).parents[2] / "docs"
CANCEL = {"on_disconnect": "cancel"}


@pytest.fixture(scope="module")
def node_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("npm")
    # The pages call the AI SDK by its own name.
    install(folder, [*PACKAGES, "ai@7"])
    return folder


@pytest.fixture(scope="module")
def node(node_packages: Path) -> Iterator[NodeProgram]:
    with running_program(Path(__file__).with_name("generation_clients.mjs"), node_packages) as program:
        yield program


@pytest.fixture(scope="module")
def troubled_server() -> Iterator[ServerProcess]:
    with troubled() as server:
        yield server


@pytest.fixture
def narrows(troubled_server: ServerProcess) -> Iterator[Narrows]:
    with Narrows(troubled_server.port) as narrows:
        yield narrows


def ask(node: NodeProgram, client: str, url: str, text: str = SAID, **more: Any) -> dict[str, Any]:
    """What came of it: `ok` or `error`."""
    answered: dict[str, Any] = node.ask({"client": client, "url": url, "text": text, "chatId": "c"} | more)
    return answered


def ok(node: NodeProgram, client: str, url: str, text: str = SAID, **more: Any) -> dict[str, Any]:
    """What came of it, which has to be no error."""
    answered = ask(node, client, url, text, **more)
    assert "ok" in answered, answered
    came: dict[str, Any] = answered["ok"]
    return came


@pytest.mark.parametrize("client", ALL)
def test_an_answer_is_read(node: NodeProgram, running_server: ServerProcess, client: str) -> None:
    assert ok(node, client, running_server.url)["text"] == SAID


@pytest.mark.parametrize("client", ALL)
def test_text_that_is_cut_everywhere_is_whole(node: NodeProgram, narrows: Narrows, client: str) -> None:
    came = ok(node, client, narrows.url, AWKWARD)
    assert came["text"] == AWKWARD
    assert came.get("error") is None


@pytest.mark.parametrize("client", ALL)
@pytest.mark.parametrize(("said", "words"), [(REFUSE + AWKWARD, "refused"), (BREAK + AWKWARD, "failed")])
def test_a_provider_that_fails_is_an_error_of_the_client(
    node: NodeProgram,
    narrows: Narrows,
    troubled_server: ServerProcess,
    client: str,
    said: str,
    words: str,
) -> None:
    answered = ask(node, client, narrows.url, said)
    # The cause is where it belongs.
    assert SECRET not in str(answered)
    assert SECRET in troubled_server.stderr
    message = f"The model's provider {words}"
    if client == "openaiResponses":
        assert (answered["ok"]["type"], answered["ok"]["status"]) == ("response.failed", "failed")
    elif client == "openaiResponsesHelper":
        # It has no error of its own for it: the response says so.
        assert answered["ok"]["status"] == "failed"
    elif "error" in answered:
        assert message in answered["error"]["message"]
    elif client == "agUi":
        assert answered["ok"]["types"][-1] == "RUN_ERROR"
    else:
        assert message in str(answered["ok"]["error"])
    if said.startswith(BREAK) and "ok" in answered:
        assert answered["ok"]["text"] == said


@pytest.mark.parametrize("client", STREAMS)
def test_an_aborted_request_cancels(node: NodeProgram, running_server: ServerProcess, client: str) -> None:
    ask(node, client, running_server.url, LONG, leave=True, more=SLOW | CANCEL)
    wait_none_runs(running_server)


def test_a_request_for_the_whole_that_is_given_up_cancels(
    node: NodeProgram, running_server: ServerProcess
) -> None:
    answered = ask(node, "openaiChatWhole", running_server.url, LONG, leave=True, more=SLOW)
    assert answered["error"]["kind"] == "APIUserAbortError"
    wait_none_runs(running_server)


# OpenAI


def test_openai_gets_the_usage(node: NodeProgram, running_server: ServerProcess) -> None:
    more = {"stream_options": {"include_usage": True}}
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    assert ok(node, "openaiChat", running_server.url, more=more)["usage"] == usage
    assert ok(node, "openaiChatWhole", running_server.url)["usage"] == usage


def test_openai_cuts_resumes_and_retrieves_a_response(
    node: NodeProgram, running_server: ServerProcess
) -> None:
    url = running_server.url
    more = {"background": True, "options": {"delay_ms": 200}}
    left = ok(node, "openaiResponses", url, leave=True, more=more)
    assert 0 < len(left["text"]) < len(SAID)
    assert ok(node, "openaiRetrieve", url, id=left["id"])["status"] == "in_progress"
    rest = ok(node, "openaiRetrieveStream", url, id=left["id"], after=left["number"])
    assert left["text"] + rest["text"] == SAID
    assert rest["type"] == "response.completed"
    assert ok(node, "openaiRetrieve", url, id=left["id"])["output_text"] == SAID
    ok(node, "openaiDelete", url, id=left["id"])
    gone = ask(node, "openaiRetrieve", url, id=left["id"])
    assert gone["error"]["kind"] == "NotFoundError"


def test_openai_cancels_a_response(node: NodeProgram, running_server: ServerProcess) -> None:
    url = running_server.url
    made = ok(node, "openaiResponsesWhole", url, LONG, more=SLOW | {"background": True})
    assert made["status"] == "queued"
    assert ok(node, "openaiCancel", url, id=made["id"])["status"] == "cancelled"
    wait_none_runs(running_server)


def test_openai_lists_models(node: NodeProgram, running_server: ServerProcess) -> None:
    came = ok(node, "openaiModels", running_server.url)
    assert (came["ids"], came["one"]["object"]) == (["echo"], "model")


@pytest.mark.parametrize("client", ["openaiChat", "openaiChatWhole"])
@pytest.mark.parametrize(
    ("more", "kind", "code"),
    [
        ({"model": "gpt-9"}, "NotFoundError", "model_not_found"),
        ({"messages": []}, "BadRequestError", "body_invalid"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "BadRequestError", "body_invalid"),
        (
            {"messages": [{"role": "user", "content": "x" * 300_000}]},
            "BadRequestError",
            "context_length_exceeded",
        ),
        ({"temperature": "hot"}, "BadRequestError", "body_invalid"),
    ],
)
def test_openai_raises_bad_input_as_its_own_errors(
    node: NodeProgram, running_server: ServerProcess, client: str, more: Any, kind: str, code: str
) -> None:
    error = ask(node, client, running_server.url, more=more)["error"]
    assert (error["kind"], error["code"]) == (kind, code)


# The AI SDK


@pytest.mark.parametrize("client", UI)
def test_the_ai_sdk_resumes_a_chat_and_finds_none_where_none_runs(
    node: NodeProgram, running_server: ServerProcess, client: str
) -> None:
    url, chat = running_server.url, f"a/b {client}?"
    assert ok(node, client, url, chatId=chat, resume=True) == {"stream": None}
    left = ok(node, client, url, chatId=chat, leave=True, more={"options": {"delay_ms": 200}})
    assert left["aborted"]
    assert 0 < len(left["text"]) < len(SAID)
    # What an aborted request leaves goes on for a while, and is replayed from the beginning.
    resumed = ok(node, client, url, chatId=chat, resume=True)
    assert (resumed["text"], resumed["types"][0], resumed["types"][-1]) == (SAID, "start", "finish")
    assert ok(node, client, url, chatId=chat, resume=True) == {"stream": None}


def test_the_ai_sdk_is_told_of_a_stop(node: NodeProgram, running_server: ServerProcess) -> None:
    url = running_server.url
    left = ok(node, "ai7", url, LONG, chatId="stopped", leave=True, more=SLOW)
    (generation,) = running(running_server)
    stopped = httpx2.post(f"{url}/api/chat/stopped/stop", timeout=PATIENCE, trust_env=False)
    assert (stopped.status_code, stopped.json()["id"], stopped.json()["state"]) == (
        200,
        generation,
        "stopped",
    )
    assert state_of(running_server, generation)["text"].startswith(left["text"])
    assert ok(node, "ai7", url, chatId="stopped", resume=True) == {"stream": None}


@pytest.mark.parametrize("client", [*UI, "ai4"])
def test_the_ai_sdk_raises_bad_input(node: NodeProgram, running_server: ServerProcess, client: str) -> None:
    for text, more, words in (("", {}, "body_invalid"), ("a", {"model": "gpt-9"}, "model_unknown")):
        answered = ask(node, client, running_server.url, text, more=more)
        assert words in answered["error"]["message"]


# AG-UI


def test_ag_ui_has_its_own_ids_back(node: NodeProgram, running_server: ServerProcess) -> None:
    came = ok(node, "agUi", running_server.url)
    assert came["runs"] == ["t1 r1"]
    assert (came["types"][0], came["types"][-1]) == ("RUN_STARTED", "RUN_FINISHED")


# The first cut lies behind the first id: without one a client has nothing to come back with.
@pytest.mark.parametrize("cuts", [[1000], [1200, 100, 600], [1000, 100, 700, 300]])
def test_tanstack_mends_cuts(
    node: NodeProgram, troubled_server: ServerProcess, cuts: list[int | None]
) -> None:
    with Narrows(troubled_server.port, cuts) as narrows:
        came = ok(node, "tanstack", narrows.url, AWKWARD)
        assert (came["text"], came.get("error")) == (AWKWARD, None)
        assert narrows.connections == len(cuts) + 1


def test_tanstack_joins_a_run(node: NodeProgram, running_server: ServerProcess) -> None:
    ok(node, "agUi", running_server.url)
    came = ok(node, "tanstackJoin", running_server.url, runId="r1")
    assert (came["text"], came["types"][-1]) == (SAID, "RUN_FINISHED")
    assert "404" in ask(node, "tanstackJoin", running_server.url, runId="never")["error"]["message"]


@pytest.mark.parametrize("client", ["agUi", "tanstack"])
def test_ag_ui_raises_bad_input(node: NodeProgram, running_server: ServerProcess, client: str) -> None:
    answered = ask(node, client, running_server.url, more={"model": "gpt-9"})
    assert "404" in str(answered)


# What the pages show

BLOCKS = [
    pytest.param(match[1], id=f"{page.name}-{number}")
    for page in sorted(DOCS.rglob("*.md"))
    for number, match in enumerate(
        re.finditer(r"^```mjs\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    )
]


def test_there_are_blocks_to_run() -> None:
    assert len(BLOCKS) >= 4


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_a_page_runs(node_packages: Path, running_server: ServerProcess, block: str) -> None:
    script = node_packages / "block.mjs"
    script.write_text(block.replace("http://127.0.0.1:8000", running_server.url), "utf-8")
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert "It flows, word by word." in done.stdout, done.stdout
