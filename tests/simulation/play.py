"""One simulation: a script is played in virtual time, and what everybody was told is checked."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, TypeVar

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.ledger import no_task_left

from .member import Member
from .publishers import Publisher, run_purges
from .script import Post, Purge, Script, Stay, Visit, write_script
from .stage import GOODBYE_SECONDS, HANGUP_SECONDS, Life, Stage, no_error_logged
from .subscriber import Subscriber
from .talk import Talk, check_said_once
from .truth import SimulationError, check
from .wire import HttpClient

_TIME_LIMIT = 3600.0
"""Virtual seconds: whatever takes longer hangs."""

_T = TypeVar("_T", Visit, Stay, Post, Purge)


def simulate(seed: int, change: Callable[[Script], Script] = lambda script: script) -> None:
    """Play the script of `seed`.

    Raises:
        SimulationError: a promise was not kept; the message has the seed and the script.
    """
    script = change(write_script(seed))
    try:
        play(script)
    except SimulationError as failure:
        raise SimulationError(
            f"{failure}\nto repeat: python -m tests.simulation --start {seed} --seeds 1\n{script.describe()}"
        ) from failure


def play(script: Script) -> None:
    """Play `script`, the same way each time.

    Raises:
        SimulationError: a promise was not kept.
    """
    run = trio._core._run
    state, random_state = run._r.getstate(), random.getstate()
    ordered = run._ALLOW_DETERMINISTIC_SCHEDULING
    # What Hypothesis does for Trio: the order of tasks follows from the seed.
    run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    run._r.seed(script.seed)
    random.seed(script.seed)
    try:
        with no_error_logged():
            trio.run(_play, script, clock=MockClock(autojump_threshold=0))
    except (Exception, BaseExceptionGroup) as error:
        raise _first_failure(error) from error
    finally:
        run._r.setstate(state)
        random.setstate(random_state)
        run._ALLOW_DETERMINISTIC_SCHEDULING = ordered  # type: ignore[misc]


def _first_failure(error: BaseException) -> BaseException:
    """What went wrong, without the groups that it came in; whatever raises is a failure."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, SimulationError | KeyboardInterrupt | SystemExit):
        return error
    return SimulationError(f"{type(error).__name__}: {error}")


async def _play(script: Script) -> None:
    with trio.fail_after(_TIME_LIMIT):
        async with no_task_left(), trio.open_nursery() as nursery:
            stage = Stage(script)
            await nursery.start(stage.serve)
            await _play_on(stage, nursery)
            nursery.cancel_scope.cancel()


async def _play_on(stage: Stage, checks: trio.Nursery) -> None:
    script = stage.script
    publisher = Publisher(stage, _pieces(script, Post))
    async with trio.open_nursery() as clients:
        subscribers = [
            Subscriber(stage, visits, checks)
            for visits in _grouped(_pieces(script, Visit), lambda visit: visit.client)
        ]
        members = [
            Member(stage, stays, checks)
            for stays in _grouped(_pieces(script, Stay), lambda stay: stay.member)
        ]
        actors: list[Subscriber | Member] = [*subscribers, *members]
        for actor in actors:
            clients.start_soon(actor.run)
        async with trio.open_nursery() as feeds:
            feeds.start_soon(publisher.run)
            feeds.start_soon(run_purges, stage, [purge for _, purge in _pieces(script, Purge)])
            for actor in actors:
                feeds.start_soon(actor.settled.wait)
        life = await _settle(stage)
        publisher.check()
        for subscriber in subscribers:
            if not (subscriber.refused and script.server.forgets):
                check(subscriber.follow is not None, "a client cannot get in")
                assert subscriber.follow is not None
                subscriber.follow.finish()
        for member in members:
            if not (member.refused and script.server.forgets):
                check(member.talk is not None, "a member cannot get in")
                assert member.talk is not None
                member.talk.check_settled()
        _check_nobody_else(life, [member.talk for member in members if member.talk is not None])
        for truth in stage.truths.values():
            check_said_once(truth)
        check(life.hub.buffered_bytes == 0, "bytes wait for readers that have read all")
        clients.cancel_scope.cancel()
    await _check_nothing_left(life, script)


def _check_nobody_else(life: Life, talks: list[Talk]) -> None:
    """Who is in a room has a connection that stands: graces are over."""
    for name in {talk.stay.room_name for talk in talks}:
        room = life.application.rooms.rooms.room(name)
        present = set(room.members) if room else set()
        there = {talk.session.member for talk in talks if talk.stay.room_name == name}
        check(present == there, "in", name, "are", present, "and should be", there)


async def _settle(stage: Stage) -> Life:
    """Wait until the last server stands, and everybody has had the time to come back and read."""
    while True:
        await trio.sleep(3 * stage.script.server.write_deadline + 10)
        life = stage.life
        if life is not None and not life.ending and not stage.restarts_to_come:
            break
    await wait_all_tasks_blocked()
    return life


async def _check_nothing_left(life: Life, script: Script) -> None:
    # Members may be about to answer a close frame.
    await trio.sleep(GOODBYE_SECONDS + HANGUP_SECONDS)
    life.check_clean()
    line = life.connect(65536)
    client = HttpClient(line.end)
    await client.send("GET", "/stats")
    answer = await client.answer()
    assert answer is not None
    stats: dict[str, Any] = json.loads(answer[1])
    line.end.reset()
    check(not any(stats["streams"].values()), "streams:", stats["streams"])
    check(stats["subscriptions"] == 0, "subscriptions:", stats["subscriptions"])
    check(stats["connections"] == {"http": 1, "websocket": 0}, "connections:", stats["connections"])
    # Members may yet come back.
    sessions = life.application.rooms.rooms.sessions
    held = stats["buffered_bytes"] - life.hub.history_bytes - sessions.size
    # Answers to keys are kept for a while.
    keyed = any(post.repeat for _, post in _pieces(script, Post))
    check(held == 0 or (keyed and held > 0), "buffered:", held)
    check(stats["leaked"] == 0, "leaked:", stats["leaked"])


def _pieces(script: Script, kind: type[_T]) -> list[tuple[int, _T]]:
    return [(number, piece) for number, piece in script.pieces.items() if isinstance(piece, kind)]


def _grouped(pieces: list[tuple[int, _T]], key: Callable[[_T], int]) -> list[list[tuple[int, _T]]]:
    groups: dict[int, list[tuple[int, _T]]] = {}
    for number, piece in pieces:
        groups.setdefault(key(piece), []).append((number, piece))
    return list(groups.values())
