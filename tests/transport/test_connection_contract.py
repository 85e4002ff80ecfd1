"""What every `Connection` promises, whatever carries it."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from server.lifecycle import WriteDeadlineError
from server.transport import Connection, ConnectionEndedError, Sent
from server.wire.websocket import binary_frame, ping_frame, text_frame
from tests.support.connections import (
    OpenEnds,
    in_memory,
    websocket_over_memory,
    websocket_over_sockets,
)
from tests.support.frames import Binary, Close, PingFrame, Text

ALL = [in_memory, websocket_over_memory, websocket_over_sockets]
BOUNDED = [in_memory, websocket_over_sockets]
"""Those whose client can take nothing, so that the server's writes wait."""
VIRTUAL = [in_memory, websocket_over_memory]
"""Those that need no real time."""

every = pytest.mark.parametrize("open_ends", ALL, ids=lambda fn: fn.__name__)
every_bounded = pytest.mark.parametrize("open_ends", BOUNDED, ids=lambda fn: fn.__name__)
every_virtual = pytest.mark.parametrize("open_ends", VIRTUAL, ids=lambda fn: fn.__name__)

FILLER = text_frame(b"x" * 1000)


async def send_by_the_rules(connection: Connection, frame: bytes) -> None:
    """As a subscription does: offer first, then write what was not taken."""
    sent = connection.try_send(frame)
    if sent is Sent.KEPT:
        await connection.send_all(b"")
    elif sent is Sent.BUSY:
        await connection.send_all(frame)
    else:
        assert sent is Sent.SENT


def fill(connection: Connection) -> tuple[int, Sent]:
    """Offer frames until one is not wholly taken: how many were, and what became of that one."""
    for count in range(100_000):
        sent = connection.try_send(FILLER)
        if sent is not Sent.SENT:
            return count, sent
    raise AssertionError("there is no end to what the client has room for")


async def end_of(connection: Connection) -> ConnectionEndedError:
    """The end, after what is still to be received."""
    while True:
        try:
            await connection.receive()
        except ConnectionEndedError as ended:
            return ended


@every
async def test_frames_arrive_whole_and_in_the_order_of_sending(open_ends: OpenEnds) -> None:
    async with open_ends() as ends:
        await ends.connection.send_all(text_frame(b"one") + binary_frame(b"two"))
        await send_by_the_rules(ends.connection, ping_frame(b"three"))
        await send_by_the_rules(ends.connection, text_frame("vierzig €".encode()))
        expected = [Text("one"), Binary(b"two"), PingFrame(b"three"), Text("vierzig €")]
        assert [await ends.peer.receive() for _ in expected] == expected


@every
async def test_two_writers_and_offers_in_between_never_tear_a_frame(open_ends: OpenEnds) -> None:
    async def write(letter: str) -> None:
        for number in range(20):
            await send_by_the_rules(ends.connection, text_frame(f"{letter}{number}".encode() + b"." * 9000))

    async with open_ends() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(write, "a")
        nursery.start_soon(write, "b")
        got = [await ends.peer.receive() for _ in range(40)]
        texts = [frame.text.rstrip(".") for frame in got if isinstance(frame, Text)]
        assert [text for text in texts if text[0] == "a"] == [f"a{number}" for number in range(20)]
        assert [text for text in texts if text[0] == "b"] == [f"b{number}" for number in range(20)]


@every_bounded
async def test_try_send_takes_frames_until_the_client_has_no_room(open_ends: OpenEnds) -> None:
    async with open_ends() as ends:
        taken, last = fill(ends.connection)
        assert taken > 0
        assert last in (Sent.KEPT, Sent.BUSY)
        assert ends.connection.try_send(FILLER) is Sent.BUSY
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.connection.send_all, text_frame(b"last"))
            kept = 1 if last is Sent.KEPT else 0
            for _ in range(taken + kept):
                assert await ends.peer.receive() == Text("x" * 1000)
            assert await ends.peer.receive() == Text("last")


@every_bounded
async def test_try_send_is_busy_while_a_write_is_under_way(open_ends: OpenEnds) -> None:
    async with open_ends() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ends.connection.send_all, text_frame(b"x" * 4_000_000))
        await trio.testing.wait_all_tasks_blocked()
        assert ends.connection.try_send(FILLER) is Sent.BUSY
        nursery.cancel_scope.cancel()


@every_bounded
async def test_a_cancelled_write_breaks_the_connection(open_ends: OpenEnds) -> None:
    async with open_ends() as ends:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ends.connection.send_all, text_frame(b"x" * 4_000_000))
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert ends.connection.try_send(FILLER) is Sent.GONE
        with pytest.raises(trio.BrokenResourceError):
            await ends.connection.send_all(FILLER)


@every_bounded
async def test_a_client_that_takes_nothing_is_gone_after_the_write_deadline(open_ends: OpenEnds) -> None:
    async with open_ends() as ends:
        with pytest.raises(WriteDeadlineError):
            await ends.connection.send_all(text_frame(b"x" * 4_000_000))
        assert ends.connection.try_send(FILLER) is Sent.GONE


@every_bounded
async def test_since_when_a_client_takes_nothing_is_known(open_ends: OpenEnds) -> None:
    async with open_ends() as ends, trio.open_nursery() as nursery:
        assert ends.connection.refused_at is None
        began = trio.current_time()
        nursery.start_soon(ends.connection.send_all, text_frame(b"x" * 4_000_000))
        await trio.testing.wait_all_tasks_blocked()
        refused_at = ends.connection.refused_at
        assert refused_at is not None
        assert began <= refused_at <= trio.current_time()
        nursery.cancel_scope.cancel()
    assert ends.connection.refused_at is None


@every
async def test_bytes_sent_counts_what_left(open_ends: OpenEnds) -> None:
    async with open_ends() as ends:
        before = ends.connection.bytes_sent
        await send_by_the_rules(ends.connection, FILLER)
        await ends.connection.send_all(FILLER)
        assert ends.connection.bytes_sent - before == 2 * len(FILLER)


@every
async def test_messages_are_received_whole_and_in_order(open_ends: OpenEnds) -> None:
    async with open_ends() as ends:
        for message in ("ä" * 5000, b"\x00\xff", "", "last"):
            await ends.peer.send(message)
            assert await ends.connection.receive() == message


@every
async def test_a_cancelled_receive_loses_nothing(open_ends: OpenEnds) -> None:
    async with open_ends() as ends:
        for number in range(8):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ends.connection.receive)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
            await ends.peer.send(f"{number}")
            with trio.CancelScope() as scope:
                scope.cancel()
                await ends.connection.receive()
            assert await ends.connection.receive() == f"{number}"


@every_virtual
async def test_last_heard_is_when_the_client_last_spoke(
    open_ends: OpenEnds, autojump_clock: MockClock
) -> None:
    async with open_ends() as ends:
        await trio.sleep(5)
        spoke = trio.current_time()
        await ends.peer.send("here")
        await ends.connection.receive()
        await trio.sleep(5)
        assert ends.connection.last_heard == spoke


@every
async def test_close_brings_its_code_and_reason_and_then_the_end(open_ends: OpenEnds) -> None:
    async with open_ends() as ends, trio.open_nursery() as nursery:
        await ends.connection.send_all(text_frame(b"before"))
        nursery.start_soon(ends.connection.close, 4413, "slow_consumer")
        assert await ends.peer.receive() == Text("before")
        assert await ends.peer.receive() == Close(4413, "slow_consumer")


@every
async def test_close_may_be_called_again(open_ends: OpenEnds) -> None:
    async with open_ends() as ends:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.connection.close, 1012, "server_draining")
            assert await ends.peer.receive() == Close(1012, "server_draining")
        await ends.connection.close(1000, "")
        await ends.connection.close(1011, "again")


@every
async def test_nothing_is_sent_after_close(open_ends: OpenEnds) -> None:
    async with open_ends() as ends:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.connection.close, 1000, "")
            assert await ends.peer.receive() == Close(1000, "")
            # The task that wrote it may not have run since.
            assert ends.connection.try_send(FILLER) in (Sent.BUSY, Sent.GONE)
        assert ends.connection.try_send(FILLER) is Sent.GONE
        with pytest.raises(trio.BrokenResourceError):
            await ends.connection.send_all(FILLER)


@every
async def test_after_close_there_is_nothing_to_receive(open_ends: OpenEnds) -> None:
    async with open_ends() as ends:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.connection.close, 1000, "")
            await ends.peer.receive()
        assert (await end_of(ends.connection)).ours


@every_virtual
async def test_a_client_that_does_not_answer_close_is_waited_for_a_moment(
    open_ends: OpenEnds, autojump_clock: MockClock
) -> None:
    async with open_ends() as ends:
        ends.silence()
        started = trio.current_time()
        await ends.connection.close(1000, "")
        assert 1 <= trio.current_time() - started <= 3


@every
@pytest.mark.parametrize("code", [1000, 1001, 1005, 4000])
async def test_the_clients_close_code_is_reported(open_ends: OpenEnds, code: int) -> None:
    async with open_ends() as ends:
        await ends.peer.send("before")
        await trio.testing.wait_all_tasks_blocked()
        await ends.peer.close(code)
        assert await ends.connection.receive() == "before"
        ended = await end_of(ends.connection)
        assert (ended.code, ended.ours) == (code, False)


@every
async def test_the_clients_close_is_answered(open_ends: OpenEnds) -> None:
    async with open_ends() as ends:
        await ends.peer.close(1001)
        await end_of(ends.connection)
        await ends.connection.close(1000, "")
        assert await ends.peer.receive() == Close(1001, "")


@every
async def test_a_client_that_vanishes_is_reported_as_1006(open_ends: OpenEnds) -> None:
    async with open_ends() as ends:
        await ends.vanish()
        ended = await end_of(ends.connection)
        assert (ended.code, ended.ours) == (1006, False)
        assert (await end_of(ends.connection)).code == 1006


@every
async def test_writing_to_a_client_that_has_vanished_breaks(open_ends: OpenEnds) -> None:
    async with open_ends() as ends:
        await ends.vanish()
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await ends.connection.send_all(FILLER)
        assert ends.connection.try_send(FILLER) is Sent.GONE


@every
async def test_closing_a_connection_whose_client_has_vanished_is_safe(open_ends: OpenEnds) -> None:
    async with open_ends() as ends:
        await ends.vanish()
        await end_of(ends.connection)
        await ends.connection.close(1011, "server_failed")


@every_virtual
async def test_a_client_that_nobody_listens_to_is_not_silent(
    open_ends: OpenEnds, autojump_clock: MockClock
) -> None:
    async def talk() -> None:
        for number in range(100):
            await ends.peer.send(f"{number}")

    async with open_ends() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(talk)
        await trio.sleep(60)
        assert ends.connection.last_heard == trio.current_time()
        for number in range(100):
            assert await ends.connection.receive() == f"{number}"
        with trio.move_on_after(60):
            await ends.connection.receive()
        assert ends.connection.last_heard == trio.current_time() - 60


@every_bounded
async def test_a_close_frame_is_heard_while_a_write_waits(open_ends: OpenEnds) -> None:
    async with open_ends() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ends.connection.send_all, text_frame(b"x" * 4_000_000))
        await trio.testing.wait_all_tasks_blocked()
        await ends.peer.send("before")
        await ends.peer.close(1001)
        with trio.fail_after(5):
            assert await ends.connection.receive() == "before"
            with pytest.raises(ConnectionEndedError) as ended:
                await ends.connection.receive()
        assert ended.value.code == 1001
        nursery.cancel_scope.cancel()


@every
async def test_a_close_frame_is_answered_behind_what_was_being_written(open_ends: OpenEnds) -> None:
    async with open_ends() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ends.connection.send_all, text_frame(b"x" * 200_000))
        await trio.testing.wait_all_tasks_blocked()
        await ends.peer.close(1001)
        assert (await end_of(ends.connection)).code == 1001
        nursery.start_soon(ends.connection.close, 1000, "")
        assert await ends.peer.receive() == Text("x" * 200_000)
        assert await ends.peer.receive() == Close(1001, "")
