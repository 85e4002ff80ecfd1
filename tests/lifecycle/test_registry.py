"""Every stream ends with one reason, counted once, and what it still holds then is known."""

from __future__ import annotations

import logging
from collections import Counter

import pytest
import trio
from trio.testing import MockClock

from server.lifecycle import (
    STREAM_KINDS,
    CloseReason,
    OpenStream,
    Registry,
    RequestHead,
    WriteDeadlineError,
    reconnects,
)
from tests.support.cancel import cancel_at_each_step

HEAD = RequestHead("GET", "/topics/x/events", "", ())


def closed(registry: Registry) -> dict[CloseReason, int]:
    """How the event streams ended."""
    return dict(registry.closed.get("events", Counter()))


async def test_a_stream_that_comes_to_its_end_is_completed() -> None:
    registry = Registry()
    with registry.open_stream("events", HEAD) as stream:
        assert registry.streams == {stream.id: stream}
        assert registry.count_open()["events"] == 1
    assert closed(registry) == {CloseReason.COMPLETED: 1}
    assert registry.streams == {}
    assert registry.count_open() == dict.fromkeys(STREAM_KINDS, 0)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (trio.BrokenResourceError(), CloseReason.CLIENT_DISCONNECTED),
        (trio.ClosedResourceError(), CloseReason.CLIENT_DISCONNECTED),
        (WriteDeadlineError(), CloseReason.SLOW_CONSUMER),
        (ValueError(), CloseReason.FAILED),
        (KeyboardInterrupt(), CloseReason.FAILED),
        (
            ExceptionGroup("", [trio.BrokenResourceError(), trio.ClosedResourceError()]),
            CloseReason.CLIENT_DISCONNECTED,
        ),
        (
            ExceptionGroup("", [trio.BrokenResourceError(), WriteDeadlineError()]),
            CloseReason.SLOW_CONSUMER,
        ),
        (
            BaseExceptionGroup("", [WriteDeadlineError(), ExceptionGroup("", [ValueError()])]),
            CloseReason.FAILED,
        ),
    ],
    ids=repr,
)
async def test_an_exception_says_the_reason_and_goes_on(error: BaseException, reason: CloseReason) -> None:
    registry = Registry()
    with pytest.raises(type(error)) as caught, registry.open_stream("events", HEAD):
        raise error
    assert caught.value is error
    assert closed(registry) == {reason: 1}


async def test_a_cancellation_from_outside_is_a_disconnect() -> None:
    registry = Registry()
    with trio.CancelScope() as scope:
        scope.cancel()
        with registry.open_stream("events", HEAD):
            await trio.sleep_forever()
    assert closed(registry) == {CloseReason.CLIENT_DISCONNECTED: 1}


async def test_a_cancellation_beside_a_failure_is_a_failure() -> None:
    registry = Registry()

    async def fail() -> None:
        raise ValueError

    with pytest.RaisesGroup(ValueError), registry.open_stream("events", HEAD):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(fail)
    assert closed(registry) == {CloseReason.FAILED: 1}


async def test_closing_ends_the_stream_now_and_nothing_comes_out() -> None:
    registry = Registry()
    with registry.open_stream("events", HEAD) as stream:
        stream.close(CloseReason.ADMIN)
        await trio.sleep_forever()
    assert stream.scope.cancelled_caught
    assert closed(registry) == {CloseReason.ADMIN: 1}


async def test_the_first_reason_wins() -> None:
    registry = Registry()
    with registry.open_stream("events", HEAD) as stream:
        stream.close(CloseReason.SLOW_CONSUMER)
        stream.close(CloseReason.ADMIN)
        stream.end(CloseReason.SERVER_DRAINING)
        with pytest.raises(trio.Cancelled):
            await trio.lowlevel.checkpoint()
    with pytest.raises(ValueError), registry.open_stream("events", HEAD) as stream:
        stream.end(CloseReason.EXPIRED)
        raise ValueError
    assert closed(registry) == {CloseReason.SLOW_CONSUMER: 1, CloseReason.EXPIRED: 1}


async def test_a_stream_that_can_say_goodbye_is_asked_and_not_cancelled() -> None:
    registry = Registry()
    asked: list[CloseReason | None] = []
    with registry.open_stream("events", HEAD) as stream:
        stream.on_end(lambda: asked.append(stream.reason))
        stream.end(CloseReason.SERVER_DRAINING)
        await trio.lowlevel.checkpoint()
    assert asked == [CloseReason.SERVER_DRAINING]
    assert not stream.scope.cancel_called
    assert closed(registry) == {CloseReason.SERVER_DRAINING: 1}


async def test_a_stream_that_cannot_say_goodbye_is_cancelled() -> None:
    registry = Registry()
    with registry.open_stream("events", HEAD) as stream:
        stream.end(CloseReason.SERVER_DRAINING)
        await trio.sleep_forever()
    assert closed(registry) == {CloseReason.SERVER_DRAINING: 1}


async def test_who_learns_to_say_goodbye_after_it_was_asked_is_told_at_once() -> None:
    registry = Registry()
    asked: list[str] = []
    with registry.open_stream("events", HEAD) as stream:
        # `end` before there was a callback has cancelled; the goodbye is then as far as the next checkpoint.
        stream.end(CloseReason.SERVER_DRAINING)
        stream.on_end(lambda: asked.append("now"))
    assert asked == ["now"]


async def test_a_stream_that_ends_while_it_is_asked_keeps_its_one_reason() -> None:
    registry = Registry()
    with registry.open_stream("events", HEAD) as stream:
        stream.on_end(lambda: stream.close(CloseReason.LIMIT))
        stream.end(CloseReason.SERVER_DRAINING)
        await trio.sleep_forever()
    assert closed(registry) == {CloseReason.SERVER_DRAINING: 1}


async def test_a_stream_that_has_ended_can_be_ended_again() -> None:
    ended: list[tuple[OpenStream, CloseReason]] = []
    registry = Registry(lambda stream, reason: ended.append((stream, reason)))
    asked: list[str] = []
    with registry.open_stream("events", HEAD) as stream:
        stream.on_end(lambda: asked.append("asked"))
    stream.end(CloseReason.SERVER_DRAINING)
    stream.close(CloseReason.ADMIN)
    assert asked == []
    assert ended == [(stream, CloseReason.COMPLETED)]


async def test_what_is_held_and_given_back_is_no_leak() -> None:
    registry = Registry()
    with registry.open_stream("events", HEAD) as stream:
        with stream.hold("subscription"), stream.hold("subscription"), stream.hold("file"):
            await trio.lowlevel.checkpoint()
    assert registry.leaked == 0


async def test_what_outlives_its_stream_is_counted_and_named(caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry()
    with caplog.at_level(logging.ERROR):
        with registry.open_stream("job", HEAD) as stream:
            stream.hold("row").__enter__()
            stream.hold("row").__enter__()
    assert registry.leaked == 2
    assert "'row': 2" in caplog.text


async def test_cancelled_anywhere_a_stream_is_counted_once_and_holds_nothing(
    autojump_clock: MockClock,
) -> None:
    registry = Registry()
    runs = 0

    async def run() -> None:
        nonlocal runs
        await trio.lowlevel.checkpoint()
        runs += 1
        with registry.open_stream("events", HEAD) as stream, stream.hold("lock"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, 1)
                nursery.start_soon(trio.sleep, 2)

    def check(step: int) -> None:
        assert registry.streams == {}
        assert sum(closed(registry).values()) == runs
        assert registry.leaked == 0

    await cancel_at_each_step(run, after=check)
    assert closed(registry).keys() == {CloseReason.CLIENT_DISCONNECTED, CloseReason.COMPLETED}


async def test_ids_are_never_given_twice() -> None:
    registry = Registry()
    with registry.open_stream("events", HEAD) as first, registry.open_stream("room", HEAD) as second:
        assert first.id != second.id
    with registry.open_stream("events", HEAD) as third:
        assert third.id not in (first.id, second.id)


def test_clients_come_back_unless_the_end_is_final() -> None:
    final = {reason for reason in CloseReason if not reconnects(reason)}
    assert final == {CloseReason.COMPLETED, CloseReason.CLIENT_STOPPED, CloseReason.ADMIN}
