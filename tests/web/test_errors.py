"""Errors of every route: problems that say nothing of the inside, which the log has."""

from __future__ import annotations

import logging

import pytest
from quart import Response
from trio.testing import MockClock

from tests.support.http_peer import open_world


@pytest.mark.parametrize(
    "target", ["/nothing", "/topics/", "/topics/a/b", "/topics//events", "/health", "/%2e%2e/etc"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_path_that_is_none_is_unknown(autojump_clock: MockClock, method: str, target: str) -> None:
    async with open_world() as world:
        assert (await world.request(method, target)).problem == (404, "path_unknown")


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("PUT", "/topics/a", "DELETE, GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/topics", "GET, HEAD, OPTIONS, POST"),
        ("PUT", "/topics/a/events", "GET, HEAD, OPTIONS"),
        ("POST", "/", "GET, HEAD, OPTIONS"),
        ("BREW", "/stats", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_method_that_is_none_is_told_which_there_are(
    autojump_clock: MockClock, method: str, target: str, allowed: str
) -> None:
    async with open_world() as world:
        answer = await world.request(method, target)
        assert answer.problem == (405, "method_unknown")
        assert answer.headers["allow"] == allowed


async def test_an_unexpected_exception_is_logged_and_not_told(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_world() as world:

        @world.application.app.get("/broken")
        async def broken() -> Response:
            raise RuntimeError("the secret of the inside")

        answer = await world.request("GET", "/broken")
        assert answer.problem == (500, "server_failed")
        assert b"secret" not in answer.body
        assert answer.headers["x-content-type-options"] == "nosniff"
        record = next(record for record in caplog.records if record.levelno == logging.ERROR)
        assert record.exc_info is not None
        assert str(record.exc_info[1]) == "the secret of the inside"
        assert (await world.request("GET", "/health/live")).status == 200


@pytest.mark.parametrize("target", ["/nothing", "/", "/topics", "/health/live"])
async def test_no_answer_is_to_be_guessed_the_type_of(autojump_clock: MockClock, target: str) -> None:
    async with open_world() as world:
        assert (await world.request("GET", target)).headers["x-content-type-options"] == "nosniff"
