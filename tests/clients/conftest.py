"""What the tests of this directory share: servers as processes, and a look at what they logged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.sockets import Api
from tests.support.process import ServerProcess


@pytest.fixture(scope="module")
def running_server() -> Iterator[ServerProcess]:
    """One server for the tests of a module; fails the last of them where anything unforeseen was logged."""
    with ServerProcess(["--bind", "127.0.0.1:0", "--drain-seconds", "2"]) as server:
        yield server
        assert_nothing_failed(server)


@pytest.fixture
def api(running_server: ServerProcess) -> Iterator[Api]:
    with Api(running_server.port) as api:
        yield api


def assert_nothing_failed(server: ServerProcess) -> None:
    """No connection, route or stream has ended by an exception that nobody expected."""
    log = server.stderr
    assert "Traceback" not in log
    assert " error " not in log
    assert "reason=failed" not in log
