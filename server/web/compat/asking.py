"""What the endpoints of all ecosystems have in common: from a request to its generation, and to a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

from quart import Response, request

from ...generations import (
    MAX_TURNS,
    Generation,
    GenerationRequest,
    Generations,
    GenerationStream,
    Note,
    RequestError,
    watch_whole,
)
from ...hub import Cursor
from ...streams import EventServices, PulledRequest, head_of
from ...wire.deltas import Encoder
from ...wire.generations import Answer
from ...wire.problem import ProblemError
from ...wire.prompts import OnDisconnect, Prompt, PromptLimits
from ..generations import checked, found, generation_response, start_once
from ..idempotency import IdempotencyKeys, key_of, keyed_request
from ..requests import content_type_of, read_body

_JSON = "application/json"
CLIENT_GONE = 499
"""The status in the log of an answer that nobody waited for; nginx says it so."""


class Without(NamedTuple):
    """What happens to a generation without viewers, where the request does not say."""

    on_disconnect: OnDisconnect
    seconds: float


@dataclass(frozen=True, slots=True)
class Asking:
    """The services behind the endpoints."""

    generations: Generations
    services: EventServices
    keys: IdempotencyKeys
    max_body: int

    @property
    def prompt_limits(self) -> PromptLimits:
        """The most that a conversation may have."""
        return PromptLimits(MAX_TURNS, self.generations.limits.max_prompt)

    async def read(self) -> bytes:
        """The body of the request under way, which is said to be JSON.

        Raises:
            ProblemError: `type_unsupported`, `encoding_unsupported`, `body_too_large`, `body_incomplete`.
        """
        if content_type_of(head_of(request))[0] != _JSON:
            raise ProblemError("type_unsupported", f"Send {_JSON} as Content-Type.")
        return await read_body(request, self.max_body)

    def check_not_draining(self) -> None:
        """Refuse what would begin anew while the server is shut down.

        Raises:
            ProblemError: `server_draining`.
        """
        gate = self.services.gate
        if gate.draining:
            retry = str(max(1, round(gate.retry_ms() / 1000)))
            raise ProblemError("server_draining", "The server is shutting down.", Retry_After=retry)

    def detach_seconds(self, prompt: Prompt, without: Without, where: str = "") -> float | None:
        """How long the generation goes on without a viewer, None for not at all.

        `where` is the pointer to what the request says of it.

        Raises:
            ProblemError: `body_invalid`.
        """
        most = self.generations.limits.detach_max
        said = prompt.detach_seconds
        if said is not None and said > most:
            raise _invalid(f"{where}/detach_seconds", f"it may be {most:g} at most")
        if (prompt.on_disconnect or without.on_disconnect) == "detach":
            return min(without.seconds, most) if said is None else said
        if said is not None:
            raise _invalid(f"{where}/detach_seconds", "it needs on_disconnect to be detach")
        return None

    async def start(
        self,
        body: bytes,
        prompt: Prompt,
        detach_seconds: float | None,
        *,
        where: str = "",
        note: Note | None = None,
    ) -> Generation:
        """The generation that the request under way asks for, or the one that its key joins.

        `where` is the pointer to the model and the options in `body`.

        Raises:
            ProblemError: it is not taken.
        """
        asked = checked(lambda: self._request(prompt), where)
        head = head_of(request)
        keyed = keyed_request(request, key_of(head), _JSON, body)
        self.check_not_draining()
        return await start_once(
            self.generations,
            self.keys,
            keyed,
            asked,
            principal=head.peer,
            detach_seconds=detach_seconds,
            note=note,
        )

    def _request(self, prompt: Prompt) -> GenerationRequest:
        wishes = self.generations.provider.known(prompt.wishes)
        try:
            return self.generations.request(
                prompt.turns,
                model=prompt.model,
                max_tokens=prompt.max_tokens,
                temperature=prompt.temperature,
                options=wishes | prompt.options,
            )
        except RequestError as error:
            name = error.pointer.removeprefix("/options/").partition("/")[0]
            if name in wishes.keys() - prompt.options.keys():
                pointer = error.pointer.removeprefix("/options")
                raise RequestError(error.code, pointer, str(error)) from None
            raise

    def find(self, id: str) -> Generation:
        """The generation `id`.

        Raises:
            ProblemError: `generation_unknown`, `generation_gone`.
        """
        return found(self.generations, id)

    def stream(
        self, generation: Generation, encoder: Encoder, after: Cursor | None = None, *, joined: bool = True
    ) -> Response:
        """`generation` as a stream to one viewer more; the parameters are those of `GenerationStream`."""
        head = head_of(request).without_headers()
        stream = GenerationStream(self.services, head, generation, encoder, after, joined=joined)
        return generation_response(stream.run, encoder)

    async def whole(self, generation: Generation) -> Answer | None:
        """The answer once it has ended; None where nobody waits for it any more."""
        body = cast("PulledRequest", request).body
        head = head_of(request).without_headers()
        return await watch_whole(self.services, head, generation, body.wait_gone)


def gone_response() -> Response:
    """For a client that has gone, and for the log."""
    return Response(b"", CLIENT_GONE)


def _invalid(pointer: str, detail: str) -> ProblemError:
    return ProblemError(
        "body_invalid",
        "The body is JSON, and not what is expected here.",
        errors=({"pointer": pointer, "detail": detail},),
    )
