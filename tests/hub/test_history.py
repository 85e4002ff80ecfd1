"""A topic's history is bounded by number, age and bytes, whichever is reached first."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from server.hub import Cursor, Draft, HistoryLimits, Message
from server.hub.history import History
from server.hub.message import OVERHEAD


def message(offset: int, size: int = 0) -> Message:
    """A message of now, reckoned at `OVERHEAD + 2 * size` bytes."""
    return Message(Draft("t", "x" * size), Cursor("e", offset), offset, 0.0, trio.current_time())


def offsets(history: History) -> list[int]:
    return [each.id.offset for each in history.after(0, 10**6)]


async def test_the_oldest_goes_when_there_are_too_many() -> None:
    history = History(HistoryLimits(messages=3), 0)
    for offset in range(1, 6):
        history.append(message(offset))
    assert offsets(history) == [3, 4, 5]
    assert (history.floor, history.seq, history.floor_seq) == (2, 5, 2)


async def test_what_is_older_than_the_limit_goes_also_when_nothing_comes(autojump_clock: MockClock) -> None:
    history = History(HistoryLimits(seconds=10), 0)
    history.append(message(1))
    autojump_clock.jump(5)
    history.append(message(2))
    autojump_clock.jump(5)
    history.prune(trio.current_time())
    assert offsets(history) == [1, 2]
    autojump_clock.jump(0.5)
    history.prune(trio.current_time())
    assert offsets(history) == [2]
    autojump_clock.jump(5)
    history.prune(trio.current_time())
    assert (offsets(history), history.size, history.floor) == ([], 0, 2)
    assert (history.first, history.last) == (None, None)


async def test_the_oldest_go_when_there_are_too_many_bytes() -> None:
    history = History(HistoryLimits(size=3 * OVERHEAD), 0)
    for offset in range(1, 4):
        history.append(message(offset))
    assert (offsets(history), history.size) == ([1, 2, 3], 3 * OVERHEAD)
    history.append(message(4, size=1))
    assert (offsets(history), history.size) == ([3, 4], 2 * OVERHEAD + 2)


async def test_a_message_larger_than_all_history_is_not_kept_and_takes_the_rest_along() -> None:
    history = History(HistoryLimits(size=10_000), 0)
    history.append(message(1))
    history.append(message(2, size=10_000))
    assert (offsets(history), history.size, history.floor, history.seq) == ([], 0, 2, 2)


async def test_reading_begins_behind_an_offset_and_is_limited() -> None:
    history = History(HistoryLimits(), 0)
    for offset in (2, 4, 8):
        history.append(message(offset))
    for after, wanted in ((0, [2, 4, 8]), (2, [4, 8]), (3, [4, 8]), (7, [8]), (8, []), (9, [])):
        assert [each.id.offset for each in history.after(after, 10)] == wanted
    assert [each.id.offset for each in history.after(0, 2)] == [2, 4]


async def test_the_newest_are_found_from_the_end() -> None:
    history = History(HistoryLimits(), 0)
    assert history.from_end(1) is None
    for offset in (2, 4, 8):
        history.append(message(offset))
    found = [history.from_end(count) for count in (0, 1, 2, 3, 99)]
    assert [each and each.id.offset for each in found] == [None, 8, 4, 2, 2]
