"""`/echo` behaves in each of Autobahn's cases as the testsuite wants it, strictly."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.autobahn.cases import CASES, Answered, Case, Send, StillOpen
from tests.support.process import ServerProcess
from tests.support.raw_websocket import CLOSE, Frame, RawWebSocket, close

QUIET_SECONDS = 0.15


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess(["--bind", "127.0.0.1:0", "--echo"]) as process:
        yield process
        assert "Traceback" not in process.stderr


def test_the_cases_are_all_there() -> None:
    groups = {"1": 16, "2": 11, "3": 7, "4": 10, "5": 20, "6": 145, "7": 37, "10": 1}
    ids = [case.id for case in CASES]
    assert len(set(ids)) == len(ids)
    counted = {group: sum(name.partition(".")[0] == group for name in ids) for group in groups}
    assert counted == groups


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(case: Case, server: ServerProcess) -> None:
    with RawWebSocket(server.port, "/echo") as client:
        received = _play(case, client)
        if case.client_closes:
            wanted = len(case.answers[0])
            while len(received) < wanted:
                received.append(_some(client.receive()))
            client.send(close(1000))
        received += client.drain()
    *answers, end = received
    assert tuple(answers) in case.answers
    assert end.opcode == CLOSE
    assert end.code in case.codes


def _play(case: Case, client: RawWebSocket) -> list[Frame]:
    received: list[Frame] = []
    for step in case.steps:
        match step:
            case Send(data, chop):
                client.send(data, chop)
            case StillOpen():
                assert client.is_quiet(QUIET_SECONDS)
            case Answered(frames):
                for expected in frames:
                    received.append(_some(client.receive()))
                    assert received[-1] == expected
    return received


def _some(frame: Frame | None) -> Frame:
    assert frame is not None, "the server ended the connection"
    return frame
