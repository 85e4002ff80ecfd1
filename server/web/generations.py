"""Generations over HTTP: start one, watch it, look at it, stop it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import msgspec
from quart import Blueprint, Response, request

from ..generations import (
    Generation,
    GenerationRequest,
    Generations,
    GenerationStream,
    GenerationUnknownError,
    Note,
    PlacesFullError,
    RequestError,
    State,
)
from ..hub import Cursor
from ..lifecycle import CloseReason, RequestHead
from ..streams import FIRST_RETRY_MS, EventServices, StreamBody, head_of, preferred_type
from ..transport import STREAM_HEADERS, RunStream
from ..wire import sse
from ..wire.deltas import About, Encoder
from ..wire.generations import FORMS
from ..wire.problem import ProblemError
from ..wire.prompts import Turn
from ..wire.times import rfc3339
from .answers import Answer, json_answer, json_response, refuse_events, refused_response
from .idempotency import IdempotencyKeys, KeyedRequest, agreed_key, key_of, keyed_request
from .requests import (
    DEFAULT_PAGE,
    MAX_PAGE,
    content_type_of,
    decode_json,
    query_of,
    read_body,
    whole_number,
)

DETACH_SECONDS = 30.0
"""How long a detached generation goes on without a viewer where nothing is said."""
RETRY_AFTER = "5"

_RESUMING = frozenset({"format", "last_event_id"})


class Ask(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /generations."""

    messages: Annotated[tuple[Turn, ...], msgspec.Meta(min_length=1)]
    model: str | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    on_disconnect: Literal["cancel", "detach"] = "cancel"
    detach_seconds: Annotated[float, msgspec.Meta(ge=0)] | None = None
    options: dict[str, object] = {}
    idempotency_key: str | None = None


def generations_blueprint(
    generations: Generations, services: EventServices, keys: IdempotencyKeys, max_body: int
) -> Blueprint:
    """The routes of `/generations`."""
    blueprint = Blueprint("generations", __name__)

    @blueprint.post("/generations")
    async def start() -> Response:
        head = head_of(request)
        query = query_of(head, frozenset({"format"}))
        respond_async = _prefers_async(head)
        make_encoder = _form_of(head, query) if not respond_async else FORMS["events"]
        media_type, _ = content_type_of(head)
        if media_type != "application/json":
            raise ProblemError("type_unsupported", "Send application/json as Content-Type.")
        key = key_of(head)
        body = await read_body(request, max_body)
        ask = decode_json(body, Ask)
        detach_seconds = _detach_seconds(ask, generations.limits.detach_max, respond_async=respond_async)
        asked = checked(
            lambda: generations.request(
                ask.messages,
                model=ask.model,
                max_tokens=ask.max_tokens,
                temperature=ask.temperature,
                options=ask.options,
            )
        )
        keyed = keyed_request(request, agreed_key(key, ask.idempotency_key), media_type, body)
        if services.gate.draining:
            return _refused(services, head)
        generation = await start_once(
            generations, keys, keyed, asked, principal=head.peer, detach_seconds=detach_seconds
        )
        location = f"/generations/{generation.id}"
        if respond_async:
            answer = json_answer({"id": generation.id}, 202).response()
            answer.headers["Preference-Applied"] = "respond-async"
        else:
            answer = _viewed(services, head, generation, make_encoder, None)
        answer.headers["Location"] = location
        return answer

    @blueprint.get("/generations/<id>/events")
    async def join(id: str) -> Response:
        head = head_of(request)
        query = query_of(head, _RESUMING)
        make_encoder = _form_of(head, query)
        generation = found(generations, id)
        after = cursor_in(generation, head.header("last-event-id") or query.get("last_event_id"))
        if after is not None and generation.closing_id is not None and after >= generation.closing_id:
            return Response(b"", 204, headers={"Cache-Control": "no-store"})
        if services.gate.draining and generation.is_running:
            return _refused(services, head)
        return _viewed(services, head, generation, make_encoder, after)

    @blueprint.get("/generations/<id>")
    async def look(id: str) -> Response:
        query_of(head_of(request), frozenset())
        return json_response(shown(found(generations, id)))

    @blueprint.post("/generations/<id>/stop")
    async def stop(id: str) -> Response:
        query_of(head_of(request), frozenset())
        generation = found(generations, id)
        await generation.stop()
        return json_response(shown(generation))

    @blueprint.delete("/generations/<id>")
    async def erase(id: str) -> Response:
        query_of(head_of(request), frozenset())
        await generations.erase(found(generations, id))
        return Response(b"", 204)

    @blueprint.get("/generations")
    async def look_at_running() -> Response:
        query = query_of(head_of(request), frozenset({"limit", "after"}))
        limit = whole_number(query, "limit", DEFAULT_PAGE, least=1, most=MAX_PAGE)
        after = query.get("after", "")
        running = sorted((each for each in generations.running if each.id > after), key=lambda each: each.id)
        following = running[limit - 1].id if len(running) > limit else None
        return json_response(
            {"generations": [shown(generation) for generation in running[:limit]], "next": following}
        )

    return blueprint


# What the routes of other ecosystems' clients need as well


def checked(make: Callable[[], GenerationRequest], where: str = "") -> GenerationRequest:
    """What `make` returns; `where` is the pointer to what it was made of.

    Raises:
        ProblemError: what is wrong with the request, with a pointer.
    """
    try:
        return make()
    except RequestError as error:
        fault = {"pointer": where + error.pointer, "detail": str(error)}
        raise ProblemError(error.code, f"{str(error).capitalize()}.", errors=(fault,)) from None  # type: ignore[arg-type]


async def start_once(
    generations: Generations,
    keys: IdempotencyKeys,
    keyed: KeyedRequest | None,
    asked: GenerationRequest,
    *,
    principal: str,
    detach_seconds: float | None,
    note: Note | None = None,
) -> Generation:
    """Start a generation, or join the one that the same request with the same key has started.

    One that was abandoned is none to join: a client that sends its request again after its connection broke
    wants an answer.

    Raises:
        ProblemError: `generations_full`, and those of `IdempotencyKeys.answer`.
    """

    async def perform() -> Answer:
        try:
            generation = generations.start(
                asked, principal=principal, detach_seconds=detach_seconds, note=note
            )
        except PlacesFullError:
            detail = "As many generations run and wait as this server allows."
            raise ProblemError("generations_full", detail, Retry_After=RETRY_AFTER) from None
        return json_answer(generation.id)

    def counts(answer: Answer) -> bool:
        try:
            return generations.find(_id_in(answer)).state is not State.ABANDONED
        except GenerationUnknownError:
            return True

    answer = await keys.answer(keyed, perform, counts)
    return found(generations, _id_in(answer))


def _id_in(answer: Answer) -> str:
    return msgspec.json.decode(answer.body, type=str)


def found(generations: Generations, id: str) -> Generation:
    """The generation `id`.

    Raises:
        ProblemError: `generation_unknown`, `generation_gone`.
    """
    try:
        return generations.find(id)
    except GenerationUnknownError as error:
        if error.gone:
            raise ProblemError("generation_gone", "It ended a while ago, and is no longer kept.") from None
        raise ProblemError("generation_unknown", "There is no generation of this id.") from None


def cursor_in(generation: Generation, text: str | None) -> Cursor | None:
    """The place in `generation` that a viewer names, None for its beginning.

    An id that is none, or another generation's, says nothing about this one.
    """
    cursor = Cursor.parse(text) if text else None
    return cursor if cursor is not None and generation.has(cursor) else None


def generation_response(run: RunStream, encoder: Encoder) -> Response:
    """A streaming answer in the form of `encoder`."""
    headers = {**STREAM_HEADERS, **dict(encoder.headers)}
    return Response(StreamBody(run), headers=headers, content_type=encoder.media_type)


def shown(generation: Generation) -> dict[str, object]:
    """A generation as it stands."""
    return {
        "id": generation.id,
        "state": generation.state.value,
        "reason": generation.reason,
        "tokens": generation.tokens,
        "text": generation.text,
        "started": rfc3339(generation.started),
        "ended": None if generation.ended is None else rfc3339(generation.ended),
    }


def _viewed(
    services: EventServices,
    head: RequestHead,
    generation: Generation,
    make_encoder: Callable[[About], Encoder],
    after: Cursor | None,
) -> Response:
    encoder = make_encoder(generation.about)
    preamble = b""
    if make_encoder is FORMS["events"]:
        begins = after or generation.start
        preamble = sse.encode_event(id=str(begins), retry=random.randint(*FIRST_RETRY_MS))
    stream = GenerationStream(services, head.without_headers(), generation, encoder, after, preamble)
    return generation_response(stream.run, encoder)


def _refused(services: EventServices, head: RequestHead) -> Response:
    detail = "The server is shutting down."
    return refused_response(
        refuse_events(head, "server_draining", detail, CloseReason.SERVER_DRAINING, services.gate)
    )


_BY_TYPE: Mapping[str, str] = {
    "text/event-stream": "events",
    "application/x-ndjson": "ndjson",
    "text/plain": "text",
    # What `curl --json` and many clients accept whatever they ask for.
    "application/json": "events",
}
"""The form that a media type in Accept stands for, the preferred first."""


def _form_of(head: RequestHead, query: Mapping[str, str]) -> Callable[[About], Encoder]:
    named = query.get("format")
    if named is not None:
        if named not in FORMS:
            raise ProblemError("query_invalid", f"format is one of {', '.join(FORMS)}.")
        return FORMS[named]
    best = preferred_type(head, list(_BY_TYPE))
    if best is None:
        raise ProblemError("form_unacceptable", f"Available here: {', '.join(_BY_TYPE)}.")
    return FORMS[_BY_TYPE[best]]


def _prefers_async(head: RequestHead) -> bool:
    """Whether the client wants no stream (RFC 7240, section 4.1)."""
    preferences = ",".join(head.header_values("prefer")).split(",")
    return any(each.partition(";")[0].strip().lower() == "respond-async" for each in preferences)


def _detach_seconds(ask: Ask, most: float, *, respond_async: bool) -> float | None:
    said = ask.detach_seconds
    if said is not None and said > most:
        raise _invalid("/detach_seconds", f"it may be {most:g} at most")
    if respond_async:
        # Whoever does not watch comes back for it when it is done.
        return most if said is None else said
    if ask.on_disconnect == "cancel":
        if said is not None:
            raise _invalid("/detach_seconds", "it needs on_disconnect to be detach")
        return None
    return min(DETACH_SECONDS, most) if said is None else said


def _invalid(pointer: str, detail: str) -> ProblemError:
    return ProblemError(
        "body_invalid",
        "The body is JSON, and not what is expected here.",
        errors=({"pointer": pointer, "detail": detail},),
    )
