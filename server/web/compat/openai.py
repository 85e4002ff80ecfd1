"""OpenAI's API: chat completions, responses, models (https://platform.openai.com/docs/api-reference).

A response is a generation, and its id the generation's behind a prefix.  What the request said and the
response tells back is the generation's note; a generation without one was not asked for as a response, and is
none.
"""

from __future__ import annotations

from quart import Blueprint, Response, request

from ...generations import Generation, Note
from ...streams import head_of
from ...wire.generations import (
    Answer,
    Asked,
    ChatChunks,
    ResponseEvents,
    Status,
    collect,
    completion,
    generation_id,
    response_body,
)
from ...wire.problem import ProblemError
from ...wire.prompts import decode_chat_completion, decode_response
from ..answers import json_response
from ..requests import one_of, query_of, whole_number
from .asking import Asking, Without, gone_response

_NO_QUERY: frozenset[str] = frozenset()
_RETRIEVING = frozenset({"stream", "starting_after", "include", "include[]", "include_obfuscation"})
_ALONE = Without("cancel", 30.0)
_JSON = "application/json"


def openai_blueprint(asking: Asking) -> Blueprint:
    """The routes below `/v1`."""
    blueprint = Blueprint("openai", __name__)
    _add_chat_completions(blueprint, asking)
    _add_responses(blueprint, asking)
    _add_models(blueprint, asking)
    return blueprint


def _add_chat_completions(blueprint: Blueprint, asking: Asking) -> None:
    @blueprint.post("/v1/chat/completions")
    async def chat() -> Response:
        query_of(head_of(request), _NO_QUERY)
        body = await asking.read()
        asked = decode_chat_completion(body, asking.prompt_limits)
        detach_seconds = asking.detach_seconds(asked.prompt, _ALONE)
        generation = await asking.start(body, asked.prompt, detach_seconds)
        if asked.stream:
            encoder = ChatChunks(generation.about, include_usage=asked.include_usage)
            return asking.stream(generation, encoder)
        answer = await asking.whole(generation)
        if answer is None:
            return gone_response()
        if answer.failure is not None:
            # Nothing has been sent, so it can be told as what it is.
            raise ProblemError(answer.failure.code, answer.failure.message)
        return _json(completion(generation.about, answer))


def _add_responses(blueprint: Blueprint, asking: Asking) -> None:
    @blueprint.post("/v1/responses")
    async def create() -> Response:
        query_of(head_of(request), _NO_QUERY)
        body = await asking.read()
        decoded = decode_response(body, asking.prompt_limits)
        asked = decoded.asked
        without = _ALONE
        if asked.background:
            if decoded.prompt.on_disconnect == "cancel":
                detail = "A response in the background goes on without a viewer"
                fault = {"pointer": "/on_disconnect", "detail": detail}
                raise ProblemError("body_invalid", f"{detail}.", errors=(fault,))  # type: ignore[arg-type]
            without = Without("detach", asking.generations.limits.detach_max)
        detach_seconds = asking.detach_seconds(decoded.prompt, without)
        generation = await asking.start(body, decoded.prompt, detach_seconds, note=_note(asked))
        if decoded.stream:
            return asking.stream(generation, ResponseEvents(generation.about, asked=asked))
        if asked.background:
            return _shown(generation, asked)
        answer = await asking.whole(generation)
        return gone_response() if answer is None else _json(response_body(generation.about, asked, answer))

    @blueprint.get("/v1/responses/<id>")
    async def retrieve(id: str) -> Response:
        query = query_of(head_of(request), _RETRIEVING)
        generation, asked = _response(asking, id)
        streamed = one_of(query, "stream", ("false", "true")) == "true"
        if "starting_after" in query and not streamed:
            raise ProblemError("query_invalid", "starting_after needs stream=true.")
        if not streamed:
            return _shown(generation, asked)
        after = whole_number(query, "starting_after", -1, least=0, most=999_999_999)
        encoder = ResponseEvents(generation.about, asked=asked, starting_after=after)
        # What was joined across the place could not be parted again.
        return asking.stream(generation, encoder, joined=after < 0)

    @blueprint.post("/v1/responses/<id>/cancel")
    async def cancel(id: str) -> Response:
        query_of(head_of(request), _NO_QUERY)
        generation, asked = _response(asking, id)
        await generation.stop()
        return _shown(generation, asked)

    @blueprint.delete("/v1/responses/<id>")
    async def delete(id: str) -> Response:
        query_of(head_of(request), _NO_QUERY)
        generation, _ = _response(asking, id)
        await asking.generations.erase(generation)
        return json_response({"id": id, "object": "response", "deleted": True})


def _add_models(blueprint: Blueprint, asking: Asking) -> None:
    provider = asking.generations.provider

    def shown(model: str) -> dict[str, object]:
        # When a model was made is not known here, and clients demand a number.
        return {"id": model, "object": "model", "created": 0, "owned_by": provider.name}

    @blueprint.get("/v1/models")
    async def models() -> Response:
        query_of(head_of(request), _NO_QUERY)
        return json_response({"object": "list", "data": [shown(model) for model in provider.models]})

    @blueprint.get("/v1/models/<path:id>")
    async def model(id: str) -> Response:
        query_of(head_of(request), _NO_QUERY)
        if id not in provider.models:
            raise ProblemError("model_unknown", "There is no such model here.")
        return json_response(shown(id))


def _note(asked: Asked) -> Note:
    metadata = sum(len(key) + len(value) for key, value in asked.metadata.items())
    return Note(asked, 4 * (metadata + len(asked.instructions or "")) + 2048)


def _response(asking: Asking, id: str) -> tuple[Generation, Asked]:
    """The response `id`, and what was asked for.

    Raises:
        ProblemError: there is none; also where it was not to be stored.
    """
    unknown = ProblemError("generation_unknown", "There is no response of this id.")
    known = generation_id(id)
    if known is None:
        raise unknown
    generation = asking.find(known)
    asked = generation.note.value if generation.note is not None else None
    if not isinstance(asked, Asked) or not asked.store:
        raise unknown
    return generation, asked


def _shown(generation: Generation, asked: Asked) -> Response:
    """A response as it stands."""
    status: Status | None = None
    if generation.is_running:
        status = "queued" if generation.is_queued else "in_progress"
    answer: Answer = collect(delta for _, delta in generation.deltas())
    return _json(response_body(generation.about, asked, answer, status))


def _json(body: bytes) -> Response:
    return Response(body, headers={"Cache-Control": "no-store"}, content_type=_JSON)
