"""A generation: one answer of a model, from the request to its closing delta.

It is a task in a scope of its own, not in that of the connection which asked for it.  What it makes is
published to a topic, and the topic's history is its text.  However it ends, it settles on one state and one
reason, the first that is named, and publishes exactly one closing delta behind everything else.

Its *viewers* decide how long it goes on: when the last one is gone it is cancelled, or, detached, goes on for
a time and ends as abandoned.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from enum import StrEnum

import trio

from ..hub import Cursor, Hub, reckoned_size
from ..wire.deltas import About, Delta, Failure, Finish, Text, ToolCall, Usage
from .log import GENERATION_TOPIC_PREFIX, checked, delta_of, draft_of
from .places import Place
from .providers import Provider, ProviderError
from .providers.provider import FAILURES
from .request import GenerationRequest

FIRST_VIEWER_SECONDS = 10.0
"""Time for whoever asked for a generation to become its first viewer."""
AFTER_FINISH_SECONDS = 2.0
"""Time for a provider to say what an answer has cost, once it has said that it is whole."""
CLOSING_SECONDS = 5.0
"""Time for a store to take the closing delta."""
NOTE_BYTES = 64 * 1024
"""Room for what an endpoint remembers of a request."""
_EVERYTHING = 1_000_000

_log = logging.getLogger("sluiceway.generations")


class State(StrEnum):
    """Where a generation is."""

    RUNNING = "running"
    """It runs, or waits for its turn."""
    DONE = "done"
    """The model came to an end, or to the limit of its answer."""
    STOPPED = "stopped"
    """Somebody stopped it."""
    FAILED = "failed"
    """The provider failed, or the server was shut down."""
    ABANDONED = "abandoned"
    """Nobody was there to see it any more."""


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """How large an answer may become (bytes that its topic is reckoned at), and how many seconds the provider
    may be silent, before its first delta and between any two.
    """

    size: int
    silence: float


@dataclass(frozen=True, slots=True)
class Note:
    """What an endpoint has to remember of the request for as long as the generation is known.

    Beside what the request holds already, it may take `NOTE_BYTES`; `size` is all of it.
    """

    value: object
    size: int


class Generation:
    """One answer.  Made and run by `Generations`."""

    def __init__(
        self,
        hub: Hub,
        id: str,
        request: GenerationRequest,
        principal: str,
        detach_seconds: float | None,
        note: Note | None = None,
    ) -> None:
        """`detach_seconds` is how long it goes on without a viewer, None for not at all."""
        self.id = id
        self.topic = GENERATION_TOPIC_PREFIX + id
        self.principal = principal
        """Who asked for it."""
        self.model = request.model
        self.note = note
        self.is_queued = True
        """Whether it waits for its turn, or has not come to it yet."""
        self.is_left = False
        """Whether it had viewers and has none any more."""
        self.started = time.time()
        self.ended: float | None = None
        """Unix times, for display."""
        self.usage: Usage | None = None
        self.tool_calls = 0
        self.size = 0
        """Bytes that its topic is reckoned at."""
        self.closing_id: Cursor | None = None
        """Id of the closing delta, once there is one."""
        self.start = hub.head
        """The place before its first delta."""
        self._hub = hub
        self._request: GenerationRequest | None = request
        self._detach_seconds = detach_seconds
        self._pieces = 0
        self._settled: tuple[State, str] | None = None
        self._viewers: dict[object, Callable[[], object]] = {}
        self._unwatched = trio.Event()
        self._unwatched.set()
        self._over = trio.Event()
        self._erased = trio.Event()
        patience = max(FIRST_VIEWER_SECONDS, detach_seconds or 0.0)
        self._scope = trio.CancelScope(deadline=trio.current_time() + patience)

    @property
    def state(self) -> State:
        """Where it is."""
        return self._settled[0] if self._settled and self._over.is_set() else State.RUNNING

    @property
    def reason(self) -> str | None:
        """Why it ended: of a model that came to an end its reason to finish, of a failure the code, else a
        close reason.  None while it runs.
        """
        return self._settled[1] if self._settled and self._over.is_set() else None

    @property
    def is_running(self) -> bool:
        """Whether more may come."""
        return not self._over.is_set()

    @property
    def is_erased(self) -> bool:
        """Whether nothing is left to be viewed."""
        return self._erased.is_set()

    @property
    def about(self) -> About:
        """What forms may say of it."""
        return About(self.id, self.model, int(self.started), str(self.start))

    @property
    def tokens(self) -> int:
        """Tokens of the answer: as the provider counts them, else its pieces of text."""
        return self.usage.completion_tokens if self.usage else self._pieces

    @property
    def prompt_bytes(self) -> int:
        """Bytes of the request, held while it runs, and of the note, reckoned at its most until then."""
        if self._request is None:
            return 0
        return self._request.size + (NOTE_BYTES if self.note else 0)

    @property
    def kept_bytes(self) -> int:
        """Bytes that it is reckoned at once it has ended."""
        return self.size + (self.note.size if self.note else 0)

    @property
    def viewers(self) -> int:
        """How many watch it."""
        return len(self._viewers)

    def deltas(self) -> list[tuple[Cursor, Delta]]:
        """All there is so far, with ids."""
        kept = self._hub.excerpt(self.topic, None, None, _EVERYTHING).messages
        return [(message.id, delta_of(message)) for message in kept]

    def has(self, id: Cursor) -> bool:
        """Whether `id` is that of one of its deltas."""
        if id.epoch != self.start.epoch or id <= self.start:
            return False
        found = self._hub.excerpt(self.topic, Cursor(id.epoch, id.offset - 1), None, 1).messages
        return any(message.id == id for message in found)

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(delta.text for _, delta in self.deltas() if isinstance(delta, Text))

    # Ending

    async def stop(self, reason: str = "client_stopped") -> None:
        """End it for everybody, and wait until it has, upstream included.

        Cancelling this leaves it to end by itself.  Where it had ended, nothing changes.
        """
        self.stop_nowait(reason)
        await self._over.wait()

    def stop_nowait(self, reason: str = "client_stopped") -> None:
        """`stop`, without waiting for the end."""
        self._settle(State.STOPPED, reason)
        self._scope.cancel()

    def fail(self, code: str) -> None:
        """End it as failed; `code` is a key of `FAILURES`.  Never waits."""
        self._settle(State.FAILED, code)
        self._scope.cancel()

    def erase(self) -> None:
        """Let nobody view it any more.  It must be over.  Never waits; safe to call again."""
        self._erased.set()
        for end in list(self._viewers.values()):
            end()

    async def wait_over(self) -> None:
        """Wait until it has ended, its closing delta among what can be read."""
        await self._over.wait()

    async def wait_erased(self) -> None:
        """Wait until it is to be forgotten."""
        await self._erased.wait()

    async def wait_unwatched(self) -> None:
        """Wait until nobody watches it."""
        await self._unwatched.wait()

    def _settle(self, state: State, reason: str) -> None:
        if self._settled is None:
            self._settled = (state, reason)

    # Viewers

    @contextmanager
    def watched(self, end: Callable[[], object]) -> Iterator[None]:
        """As long as the block is open it has one viewer more.

        `end` is called when there is nothing more to be seen of it although no closing delta came: it was
        erased.  It must not wait, and must bear being called more than once.
        """
        key = object()
        self._viewers[key] = end
        self._unwatched = trio.Event()
        self.is_left = False
        self._scope.deadline = math.inf
        try:
            if self.is_erased:
                end()
            yield
        finally:
            del self._viewers[key]
            if not self._viewers:
                self._unwatched.set()
                self.is_left = True
                self._leave_alone()

    def _leave_alone(self) -> None:
        """The last viewer is gone."""
        if self._detach_seconds is None:
            self._settle(State.ABANDONED, "client_disconnected")
            self._scope.cancel()
        else:
            self._scope.deadline = trio.current_time() + self._detach_seconds

    # Running

    async def run(self, provider: Provider, place: Place, limits: AnswerLimits) -> None:
        """Wait for `place`, follow `provider` to the end, and close.  It raises nothing of its own.

        Cancelled, it fails as the server's shutdown, and closes all the same.
        """
        finish: Finish | Failure | None = None
        try:
            try:
                with self._scope:
                    await place.wait()
                    self.is_queued = False
                    with _apart_from_cancellation():
                        finish = await self._follow(provider, limits)
            except Exception as error:  # noqa: BLE001 - whatever it is, it ends this generation and no other
                # What is raised by one that is cancelled is not why it ends.
                if self._scope.cancel_called:
                    self._settle(State.ABANDONED, "abandoned")
                elif trio.current_effective_deadline() == -math.inf:
                    self._settle(State.FAILED, "server_draining")
                self._take_failure(error)
            else:
                if finish is None:
                    # The scope's deadline has no other cause.
                    self._settle(State.ABANDONED, "abandoned")
                elif isinstance(finish, Failure):
                    self._settle(State.FAILED, finish.code)
                else:
                    self._settle(State.DONE, finish.reason)
        finally:
            self._settle(State.FAILED, "server_draining")
            with trio.move_on_after(CLOSING_SECONDS, shield=True):
                await self._close(finish)
            self._request = None
            self.ended = time.time()
            self._over.set()
            # Of what was said, nothing: that is between the client and the model.
            _log.info(
                "generation %s ended: %s, %s, %d tokens in %.1f s",
                self.id,
                self.state,
                self.reason,
                self.tokens,
                self.ended - self.started,
            )

    async def _follow(self, provider: Provider, limits: AnswerLimits) -> Finish | Failure:
        """Publish what the provider gives until it ends; what it ended with.

        Raises:
            ProviderError: it was silent for too long.
            Exception: whatever it raises.
        """
        request = self._request
        assert request is not None
        finish: Finish | None = None
        # Why no more is wanted of the provider: what it raises then, in its cleanup, changes nothing.
        cut: Finish | Failure | None = None
        silence = limits.silence
        # One scope around the whole, its deadline moved: a scope for each delta would be entered and left
        # while the generator is suspended inside of its own.
        patience = trio.CancelScope()
        try:
            with patience:
                async with aclosing(provider.stream(request)) as deltas:
                    patience.deadline = trio.current_time() + silence
                    async for given in deltas:
                        delta = checked(given)
                        match delta:
                            case Text() | ToolCall():
                                cut = await self._take(delta, request.max_tokens, limits.size)
                            case Usage():
                                self.usage = delta
                                await trio.lowlevel.checkpoint()
                            case Finish():
                                finish = delta
                                silence = min(silence, AFTER_FINISH_SECONDS)
                                await trio.lowlevel.checkpoint()
                            case Failure():
                                cut = delta
                        if cut is not None:
                            break
                        patience.deadline = trio.current_time() + silence
        except Exception as error:
            if cut is None and not patience.cancel_called:
                raise
            self._warn(error)
            is_cut_off = True
        else:
            is_cut_off = patience.cancelled_caught
        if cut is not None:
            return cut
        if is_cut_off and finish is None:
            raise ProviderError("provider_slow", f"no delta for {limits.silence:g} s")
        return finish or Finish("stop")

    async def _take(self, delta: Text | ToolCall, max_tokens: int, limit: int) -> Finish | None:
        """Publish `delta`, unless it is empty; the end, where the answer is as long as it may be."""
        if isinstance(delta, Text):
            if not delta.text:
                # A sign of life.  A provider may give many of them, and nothing else would run meanwhile.
                await trio.lowlevel.checkpoint()
                return None
            if self._pieces >= max_tokens:
                return Finish("length")
        return None if await self._publish(delta, limit) else Finish("length")

    async def _publish(self, delta: Text | ToolCall, limit: int) -> bool:
        """Publish `delta` where it fits; whether it did."""
        draft = draft_of(self.topic, delta)
        size = reckoned_size(draft.data)
        if self.size + size > limit:
            return False
        await self._hub.publish([draft])
        self.size += size
        if isinstance(delta, Text):
            self._pieces += 1
        else:
            self.tool_calls += 1
        return True

    def _take_failure(self, error: Exception) -> None:
        code = error.code if isinstance(error, ProviderError) else "provider_failed"
        if self._settled is None:
            _log.error("generation %s failed: %s", self.id, code, exc_info=error)
        else:
            # It was ending already: how the provider took that changes nothing.
            self._warn(error)
        self._settle(State.FAILED, code)

    def _warn(self, error: Exception) -> None:
        _log.warning("the provider of generation %s failed while it was ended", self.id, exc_info=error)

    async def _close(self, finish: Finish | Failure | None) -> None:
        """Publish the closing delta, and what the generation has cost before it."""
        assert self._settled is not None
        state, reason = self._settled
        closing: Finish | Failure
        if state is State.FAILED:
            given = finish if isinstance(finish, Failure) else None
            closing = given or Failure(reason, FAILURES[reason])
        elif state is State.DONE:
            assert isinstance(finish, Finish)
            closing = finish
        else:
            closing = Finish("cancelled")
        drafts = [draft_of(self.topic, delta) for delta in (self.usage, closing) if delta is not None]
        try:
            published = await self._hub.publish(drafts)
        except Exception:  # noqa: BLE001 - it has ended whatever its store says of it
            _log.exception("generation %s could not be closed in its topic", self.id)
            self.erase()
            return
        self.size += sum(reckoned_size(draft.data) for draft in drafts)
        self.closing_id = published[-1].id


@contextmanager
def _apart_from_cancellation() -> Iterator[None]:
    """Part what failed while it was cancelled: the cancellation goes on alone, the failure goes to the log.

    A provider with a nursery of its own raises both in one group, which no `except Exception` takes.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        cancelled, failures = group.split(trio.Cancelled)
        if cancelled is None or failures is None or not isinstance(failures, Exception):
            raise
        _log.warning("a provider failed while it was ended", exc_info=failures)
        raise cancelled from None
