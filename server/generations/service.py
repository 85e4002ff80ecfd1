"""The generations of a server: started, found by id, kept for a while after their end.

Each lives in one task of the service's nursery, from its start until it is forgotten: while it runs, while it
is kept, and until its last viewer has left.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from ..hub import OVERHEAD, HistoryLimits, Hub, Overflow, TopicRules
from ..transport import DrainGate
from ..wire.prompts import Turn
from .generation import AnswerLimits, Generation, Note
from .places import Place, Places
from .providers import Provider
from .request import GenerationRequest, RequestError, size_of

CLOSING_BYTES = 16 * 1024
"""Room for the closing of a generation beside its answer."""
MAX_TURNS = 1000
_GONE_IDS = 10_000
_SHARE_OF_DRAIN = 0.8
"""The share of the drain's time that generations have to come to their end."""


@dataclass(frozen=True, slots=True)
class GenerationLimits:
    """What generations may take.

    The topic of one is reckoned at `size` bytes at most.  `running` run at once, `each` of them for one
    principal, and `queue` wait.  `kept_seconds` after its end one is forgotten, sooner where more than
    `kept`, or `kept_bytes`, would be kept.  An answer has at most `max_tokens`, a request `max_prompt` bytes.
    `silence` is how many seconds a provider may give nothing, `detach_max` how many a generation may go on
    without a viewer, `drain_seconds` how long a drain takes.
    """

    size: int = 4_016 * 1024
    running: int = 100
    each: int = 100
    queue: int = 20
    kept_seconds: float = 300.0
    kept: int = 10_000
    kept_bytes: int = 64 * 1024 * 1024
    max_tokens: int = 4000
    max_prompt: int = 256 * 1024
    silence: float = 60.0
    detach_max: float = 600.0
    drain_seconds: float = 25.0

    def rules(self) -> TopicRules:
        """The rules of the topics of generations.

        Everything is kept, for as long as the generation is.  As much may wait for a viewer: it takes no
        memory beside the history's, and however slow, a viewer is never cut off for being behind.
        """
        messages = self.size // OVERHEAD + 1
        history = HistoryLimits(messages, float("inf"), self.size)
        return TopicRules(messages, self.size, Overflow.DISCONNECT, history, whole=True)


class GenerationUnknownError(LookupError):
    """There is no generation of that id; `gone` where there was one, which has been forgotten."""

    def __init__(self, *, gone: bool) -> None:
        super().__init__("gone" if gone else "unknown")
        self.gone = gone


class Generations:
    """Opened by `open_generations`."""

    def __init__(self, hub: Hub, provider: Provider, limits: GenerationLimits, nursery: trio.Nursery) -> None:
        self._hub = hub
        self._nursery = nursery
        at_once = limits.running if provider.at_once is None else min(limits.running, provider.at_once)
        self._places = Places(at_once, limits.each, limits.queue)
        self._answers = AnswerLimits(limits.size - CLOSING_BYTES, limits.silence)
        self._known: dict[str, Generation] = {}
        # In the order in which they ended.
        self._kept: dict[str, Generation] = {}
        self._kept_bytes = 0
        self._gone: dict[str, None] = {}
        self.provider = provider
        self.limits = limits

    def __len__(self) -> int:
        return len(self._known)

    @property
    def running(self) -> list[Generation]:
        """Those that run or wait for their turn, in the order of their start."""
        return [generation for generation in self._known.values() if generation.is_running]

    @property
    def prompt_bytes(self) -> int:
        """Bytes of all requests that are held."""
        return sum(generation.prompt_bytes for generation in self._known.values())

    def request(
        self,
        messages: tuple[Turn, ...],
        *,
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        options: Mapping[str, object] | None = None,
    ) -> GenerationRequest:
        """A checked request.  `max_tokens` is at most the server's own limit, whatever is asked for.

        Raises:
            RequestError: says what is wrong, and where.
        """
        limits = self.limits
        if not 1 <= len(messages) <= MAX_TURNS:
            raise RequestError("body_invalid", "/messages", f"there have to be 1 to {MAX_TURNS} messages")
        size = 0
        for index, turn in enumerate(messages):
            size += size_of(turn)
            if not turn.content and turn.role not in ("assistant", "tool"):
                raise RequestError("body_invalid", f"/messages/{index}/content", "it must not be empty")
            if size > limits.max_prompt:
                detail = f"all messages together may have {limits.max_prompt} bytes"
                raise RequestError("prompt_too_large", f"/messages/{index}", detail)
        most = limits.max_tokens if max_tokens is None else min(max_tokens, limits.max_tokens)
        return self.provider.request(messages, model, most, temperature, options or {})

    def start(
        self,
        request: GenerationRequest,
        *,
        principal: str = "",
        detach_seconds: float | None = None,
        note: Note | None = None,
    ) -> Generation:
        """Start a generation for `principal`; it goes on by itself.  Never waits.

        With `detach_seconds` it goes on for so long when its last viewer has gone, or before the first has
        come.  Without, it is cancelled then.  Whoever asked for it has `FIRST_VIEWER_SECONDS` in any case to
        become its first viewer.

        Raises:
            PlacesFullError: too many run and wait.
        """
        place = self._places.take(principal)
        # 128 random bits: who knows one may read it.
        generation_id = secrets.token_hex(16)
        generation = Generation(self._hub, generation_id, request, principal, detach_seconds, note)
        self._known[generation.id] = generation
        self._nursery.start_soon(self._live, generation, place, name=f"generation {generation.id}")
        return generation

    def find(self, id: str) -> Generation:
        """The generation `id`.

        Raises:
            GenerationUnknownError: there is none.
        """
        generation = self._known.get(id)
        if generation is None:
            raise GenerationUnknownError(gone=id in self._gone)
        return generation

    async def erase(self, generation: Generation) -> None:
        """Stop it, and forget that it ever was."""
        await generation.stop()
        self._forget(generation)

    async def _live(self, generation: Generation, place: Place) -> None:
        with self._hub.keep(generation.topic):
            with place:
                await generation.run(self.provider, place, self._answers)
            self._keep(generation)
            with trio.move_on_after(self.limits.kept_seconds):
                await generation.wait_erased()
            self._forget(generation, gone=not generation.is_erased)
            await generation.wait_unwatched()
        self._hub.drop(generation.topic)

    def _keep(self, generation: Generation) -> None:
        if generation.is_erased:
            return
        self._kept[generation.id] = generation
        self._kept_bytes += generation.kept_bytes
        while len(self._kept) > self.limits.kept or self._kept_bytes > self.limits.kept_bytes:
            self._forget(next(iter(self._kept.values())), gone=True)

    def _forget(self, generation: Generation, *, gone: bool = False) -> None:
        """Let nobody find or view it any more; with `gone`, remember that it was there."""
        if self._known.pop(generation.id, None) is None:
            return
        if self._kept.pop(generation.id, None) is not None:
            self._kept_bytes -= generation.kept_bytes
        if gone:
            self._gone[generation.id] = None
            if len(self._gone) > _GONE_IDS:
                del self._gone[next(iter(self._gone))]
        generation.erase()

    async def run_drain(self, gate: DrainGate) -> None:
        """When the server is shut down, end what does not come to its end in time.

        Viewers are not sent away before: until then, what runs may become whole.
        """
        await gate.wait_draining()
        await trio.sleep(self.limits.drain_seconds * _SHARE_OF_DRAIN)
        for generation in self.running:
            generation.fail("server_draining")


@asynccontextmanager
async def open_generations(
    hub: Hub, provider: Provider, limits: GenerationLimits, gate: DrainGate
) -> AsyncIterator[Generations]:
    """The service.  The topics of generations must have `GenerationLimits.rules` in `hub`.

    Leaving the block ends all that run, as a shutdown of the server, and waits for their cleanup.
    """
    async with trio.open_nursery() as nursery:
        generations = Generations(hub, provider, limits, nursery)
        nursery.start_soon(generations.run_drain, gate)
        yield generations
        nursery.cancel_scope.cancel()
