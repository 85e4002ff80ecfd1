"""A language model in this process, asked from Trio.

What computes blocks, and calls back with each piece.  So each answer has a thread, which hands the pieces to
Trio through a memory channel.  With each piece, and between two parts of a long prompt, that thread learns
whether it is still wanted: an answer that is cancelled costs no more than what is just being computed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import trio

Chunk: TypeAlias = Mapping[str, Any]
"""What a model says: a chunk of chat completions, or an object with ``error``."""

CAPACITY = 16
"""Chunks between the thread of an answer and whoever reads it."""
STOP_SECONDS = 5.0
"""The longest that leaving an answer waits for its thread.  The next answer waits for it in any case."""


@dataclass(slots=True)
class _Answer:
    """One answer under way: `scope` is around its thread, `over` set when that has ended."""

    body: Mapping[str, object]
    pieces: trio.MemorySendChannel[Chunk]
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    over: trio.Event = field(default_factory=trio.Event)
    failure: Exception | None = None


class Engine(Protocol):
    """What computes: `xllamacpp.Server`, of which this is the part that is used."""

    def handle_chat_completions(
        self, body: dict[str, object], callback: Callable[[Chunk], bool], /
    ) -> object:
        """Answer `body`, a request for chat completions, chunk by chunk.

        It blocks until the answer is whole, `callback` has returned true, or it raises ValueError or
        RuntimeError.
        """
        ...


class LocalModel:
    """Opened by `open_local_model`."""

    def __init__(self, parallel: int, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._engine: Engine | None = None
        self._loaded = trio.Event()
        self._threads = trio.CapacityLimiter(parallel)

    async def run_loading(self, load: Callable[[], Engine]) -> None:
        """Load it in a thread.  It cannot be cancelled midway."""
        self._engine = await trio.to_thread.run_sync(load)
        self._loaded.set()

    async def answer(self, body: Mapping[str, object]) -> AsyncGenerator[Chunk, None]:
        """What the model answers to `body`, a request for chat completions, chunk by chunk.

        It waits until the model is loaded and one of its contexts is free.  To be consumed under `aclosing`:
        closed or cancelled, it is left when its thread has ended.

        Raises:
            ValueError: it is no request that the model takes.
            RuntimeError: the model failed.
        """
        pieces, chunks = trio.open_memory_channel[Chunk](CAPACITY)
        answer = _Answer(body, pieces)
        # A task of the model's own nursery: one around the loop would be held across its yield.
        self._nursery.start_soon(self._run, answer)
        try:
            with chunks:
                async for chunk in chunks:
                    yield chunk  # noqa: ASYNC119 - consumed under aclosing
            if answer.failure is not None:
                raise answer.failure
        finally:
            answer.scope.cancel()
            with trio.move_on_after(STOP_SECONDS, shield=True):
                await answer.over.wait()

    async def _run(self, answer: _Answer) -> None:
        try:
            with answer.scope:
                await self._loaded.wait()
                await trio.to_thread.run_sync(self._compute, answer, limiter=self._threads)
        except (trio.BrokenResourceError, RuntimeError, ValueError) as error:
            answer.failure = error
        finally:
            answer.pieces.close()
            answer.over.set()

    def _compute(self, answer: _Answer) -> None:
        """The thread of an answer."""
        ended: BaseException | None = None

        def take(chunk: Chunk) -> bool:
            """Hand one chunk on; true to end the answer.  Nothing may be raised through the engine."""
            nonlocal ended
            try:
                if _says_something(chunk):
                    trio.from_thread.run(answer.pieces.send, chunk)
                else:
                    trio.from_thread.check_cancelled()
            except BaseException as error:  # noqa: BLE001, ASYNC103 - raised again below
                ended = error
            return ended is not None

        assert self._engine is not None
        try:
            self._engine.handle_chat_completions(dict(answer.body), take)
            if ended is not None:
                raise ended
        finally:
            # Its traceback holds this frame.
            del ended

    def close(self) -> None:
        """Give back what the model takes.  No answer may be under way."""
        self._engine = None


def _says_something(chunk: Chunk) -> bool:
    """Whether `chunk` is more than the progress of the prompt."""
    return "prompt_progress" not in chunk


@asynccontextmanager
async def open_local_model(load: Callable[[], Engine], parallel: int) -> AsyncIterator[LocalModel]:
    """The model that `load` loads, open as long as the block is.

    It is loaded meanwhile: answers wait for that, the block does not; what `load` raises comes out of the
    block.  Of its answers `parallel` are computed at once, and others wait.  Leaving the block ends them all.
    """
    async with trio.open_nursery() as nursery:
        model = LocalModel(parallel, nursery)
        nursery.start_soon(model.run_loading, load)
        try:
            yield model
        finally:
            nursery.cancel_scope.cancel()
    model.close()
