"""What the checker of a connection accepts, and what it does not: it must be as exact as the promise."""

from __future__ import annotations

import pytest
import trio

from server.hub import (
    Cursor,
    Draft,
    HistoryLimits,
    HubLimits,
    Message,
    Overflow,
    ReplayLimits,
    Selection,
    TopicRules,
)

from .follow import Asked, Follow
from .script import Server
from .truth import SimulationError, Truth

EPOCH = "1f"
_KEEPS = HistoryLimits(10, 300.0, 1_000_000)


def _server(**rules: TopicRules) -> Server:
    """One that has forgotten topics, and replays six messages at most."""
    default = TopicRules(10, 1_000_000, Overflow.DISCONNECT, _KEEPS)
    return Server(rules, default, HubLimits(max_topics=4), ReplayLimits(6, 1_000_000))


def _published(server: Server, *topics: str) -> Truth:
    """A store into which a message came for each of `topics`, in order."""
    truth = Truth(server, EPOCH)
    _publish(truth, *topics)
    return truth


def _publish(truth: Truth, *topics: str) -> None:
    for topic in topics:
        cursor = Cursor(EPOCH, truth.head + 1)
        seq = truth.count(topic, truth.head) + 1
        truth.add([Message(Draft(topic, str(cursor.offset)), cursor, seq, 0.0, trio.current_time())])


def _resumed(truth: Truth, at: int, *entries: str) -> Follow:
    """A connection that has come back with the id at offset `at`."""
    cursor = f"{EPOCH}:{at}"
    follow = Follow(truth, Asked(Selection.of(entries), "after", cursor, head=truth.head))
    follow.first(cursor)
    return follow


def _hear(follow: Follow, truth: Truth, offset: int) -> None:
    message = truth.entries[offset - 1].message
    follow.message(f"{EPOCH}:{offset}", message.topic, message.data, message.seq)


async def test_a_pattern_does_not_end_what_a_topic_beside_it_left_out() -> None:
    latest = TopicRules(10, 1_000_000, Overflow.LATEST, _KEEPS)
    truth = _published(_server(b=latest), *"aaaab", *"aaaaaa")
    follow = _resumed(truth, 1, "*")
    follow.gap(f"{EPOCH}:1", "evicted", [("*", None)])
    follow.gap(f"{EPOCH}:4", "limit", [("a", None)])
    _hear(follow, truth, 5)
    # The newest five of `a`: 6 was too much as well.
    for offset in range(7, 12):
        _hear(follow, truth, offset)
    follow.finish()


async def test_what_was_left_out_ends_with_the_next_message() -> None:
    truth = _published(_server(), *"aaaaaaaaaa")
    follow = _resumed(truth, 1, "*")
    follow.gap(f"{EPOCH}:1", "evicted", [("*", None)])
    follow.gap(f"{EPOCH}:4", "limit", [("a", None)])
    _hear(follow, truth, 5)
    with pytest.raises(SimulationError, match="lost: a 6"):
        _hear(follow, truth, 7)


async def test_a_purge_told_live_stands_where_it_is() -> None:
    drops = TopicRules(1, 1_000_000, Overflow.DROP_OLDEST, _KEEPS)
    truth = _published(_server(a=drops), *"a")
    follow = _resumed(truth, 1, "*")
    follow.gap(f"{EPOCH}:1", "purged", [("a", 0)])
    _publish(truth, *"aaabaa")
    # Those dropped stand before `b`, and some of them are behind it.
    follow.gap(f"{EPOCH}:4", "overflow", [("a", 4)])
    _hear(follow, truth, 5)
    _hear(follow, truth, 7)
    follow.finish()
