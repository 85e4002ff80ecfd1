"""A generation for a viewer who wants no stream: watched to its end, and put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ..lifecycle import CloseReason, RequestHead
from ..streams import EventServices
from ..wire.deltas import Failure, Finish
from ..wire.generations import Answer, collect
from .generation import Generation
from .stream import reason_of


async def watch_whole(
    services: EventServices,
    head: RequestHead,
    generation: Generation,
    wait_gone: Callable[[], Awaitable[None]],
) -> Answer | None:
    """Watch `generation` as one viewer more, and return the answer once it has ended.

    `wait_gone` returns when the client has gone.  None where it went before the end, or was sent away.
    """
    answer: Answer | None = None
    with services.registry.open_stream("generation", head) as opened:

        def end() -> None:
            # A drain waits for generations: the service ends them in time.
            if opened.reason is not CloseReason.SERVER_DRAINING:
                opened.scope.cancel()

        opened.on_end(end)
        # It is over before it is erased, so there is nothing to be told of that.
        with generation.watched(_nothing):
            if await _first_over(generation, wait_gone):
                deltas = [delta for _, delta in generation.deltas()]
                answer = collect(deltas)
                closing = deltas[-1] if deltas and isinstance(deltas[-1], Finish | Failure) else None
                if opened.reason in (None, CloseReason.SERVER_DRAINING):
                    opened.reason = reason_of(closing)
            else:
                opened.reason = opened.reason or CloseReason.CLIENT_DISCONNECTED
    return answer


async def _first_over(generation: Generation, wait_gone: Callable[[], Awaitable[None]]) -> bool:
    """Whether `generation` was over before the client had gone."""
    async with trio.open_nursery() as nursery:

        async def leave() -> None:
            await wait_gone()
            nursery.cancel_scope.cancel()

        nursery.start_soon(leave)
        await generation.wait_over()
        nursery.cancel_scope.cancel()
    return not generation.is_running


def _nothing() -> None:
    pass
