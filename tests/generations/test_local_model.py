"""A model in this process, asked from Trio: threads that are left when nobody wants more.  The engine is one
that says what it is told to.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import aclosing

import pytest
import trio

from server.generations.providers.local_model import CAPACITY, Chunk, LocalModel, open_local_model
from tests.support.cancel import cancel_at_each_step

MANY = 10_000


class Engine:
    """Computes `parts` parts of a prompt and `count` pieces, and then raises `failure`.

    `under_way` is how many answers are, `most` how many there have been at once, `computed` all pieces.
    """

    def __init__(self, count: int, *, parts: int = 0, failure: Exception | None = None) -> None:
        self.count = count
        self.parts = parts
        self.failure = failure
        self.under_way = self.most = self.computed = 0
        self._lock = threading.Lock()

    def handle_chat_completions(self, body: dict[str, object], callback: Callable[[Chunk], bool], /) -> None:
        with self._lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        try:
            for part in range(self.parts):
                if callback({"prompt_progress": {"processed": part}}):
                    return
            for number in range(self.count):
                self.computed += 1
                if callback({"piece": number}):
                    return
            if self.failure is not None:
                raise self.failure
        finally:
            with self._lock:
                self.under_way -= 1


async def read(model: LocalModel, count: int = MANY, into: list[object] | None = None) -> list[object]:
    """The first `count` pieces of an answer, put `into` a list as they come."""
    pieces = [] if into is None else into
    async with aclosing(model.answer({"messages": []})) as chunks:
        async for chunk in chunks:
            pieces.append(chunk["piece"])
            if len(pieces) == count:
                break
    return pieces


async def test_the_pieces_come_in_order_and_the_progress_of_the_prompt_does_not() -> None:
    async with open_local_model(lambda: Engine(200, parts=5), 1) as model:
        assert await read(model) == list(range(200))


async def test_an_answer_that_is_left_has_no_thread_any_more_and_computes_nothing() -> None:
    engine = Engine(MANY)
    async with open_local_model(lambda: engine, 1) as model:
        assert await read(model, 3) == [0, 1, 2]
        assert engine.under_way == 0
        # It was ahead by what the channel holds, what is on its way, and the one piece that told it.
        assert engine.computed <= 3 + CAPACITY + 2


async def test_a_prompt_is_left_between_two_of_its_parts() -> None:
    engine = Engine(0, parts=10**9)
    async with open_local_model(lambda: engine, 1) as model:
        with trio.move_on_after(0.01) as scope:
            await read(model)
        assert scope.cancelled_caught
        assert engine.under_way == 0


async def test_as_many_are_computed_at_once_as_there_are_contexts() -> None:
    engine = Engine(300)
    async with open_local_model(lambda: engine, 2) as model:
        answers: list[list[object]] = []

        async def ask() -> None:
            answers.append(await read(model))

        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(ask)
        assert answers == [list(range(300))] * 6
        assert engine.most <= 2


async def test_a_failure_comes_after_the_pieces_before_it_and_harms_no_other_answer() -> None:
    engine = Engine(2, failure=RuntimeError("no memory"))
    async with open_local_model(lambda: engine, 1) as model:
        pieces: list[object] = []
        with pytest.raises(RuntimeError, match="no memory"):
            await read(model, into=pieces)
        assert pieces == [0, 1]
        engine.failure = None
        assert await read(model) == [0, 1]


async def test_loading_keeps_nobody_waiting_but_answers() -> None:
    go_on = threading.Event()

    def load() -> Engine:
        go_on.wait()
        return Engine(2)

    async with open_local_model(load, 1) as model:
        with trio.move_on_after(0.01) as scope:
            await read(model)
        assert scope.cancelled_caught
        go_on.set()
        assert await read(model) == [0, 1]


async def test_cancelled_anywhere_it_leaves_no_thread() -> None:
    engine = Engine(3, parts=2)

    async def ask() -> None:
        async with open_local_model(lambda: engine, 1) as model:
            assert await read(model) == [0, 1, 2]

    def after(step: int) -> None:
        assert engine.under_way == 0

    assert await cancel_at_each_step(ask, after=after) > 10
