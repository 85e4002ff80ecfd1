"""Publishing to topics over HTTP: one message, or a batch, which is published whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from quart import Blueprint, Response, request

from ..hub import Draft, Hub, Message
from ..lifecycle import RequestHead
from ..streams import head_of
from ..wire import ndjson
from ..wire.problem import ProblemError
from .answers import Answer, json_answer, publish_or_refuse
from .batches import Entry, check_topic, event_fault, read_batch, read_batch_across_topics
from .idempotency import IdempotencyKeys, agreed_key, key_of, keyed_request
from .requests import content_type_of, decode_json, decode_text, query_of, read_body

JSON = "application/json"
TEXT = "text/plain"


class Publication(Entry):
    """The body of a publish, as JSON."""

    idempotency_key: str | None = None


def publishing_blueprint(
    hub: Hub, keys: IdempotencyKeys, max_body: int, reserved: Container[str]
) -> Blueprint:
    """The routes that publish to topics, but not to those `reserved`; a body may have `max_body` bytes."""
    blueprint = Blueprint("publishing", __name__)

    async def perform(drafts: Sequence[Draft], shape: Callable[[list[Message]], object]) -> Answer:
        return json_answer(shape(await publish_or_refuse(hub, drafts)), 201)

    @blueprint.post("/topics/<topic>")
    async def publish_to_one(topic: str) -> Response:
        check_topic(topic, reserved)
        head = head_of(request)
        query_of(head, frozenset())
        media_type = _media_type(head, JSON, TEXT, ndjson.CONTENT_TYPE)
        key = key_of(head)
        body = await read_body(request, max_body)
        if media_type == ndjson.CONTENT_TYPE:
            drafts = await read_batch(body, topic)
        elif media_type == TEXT:
            drafts = [Draft(topic, decode_text(body), text=True)]
        else:
            publication = _publication(body)
            key = agreed_key(key, publication.idempotency_key)
            drafts = [publication.draft(topic)]

        def shape(messages: list[Message]) -> object:
            ids = [str(message.id) for message in messages]
            which = {"ids": ids} if media_type == ndjson.CONTENT_TYPE else {"id": ids[0]}
            return {"topic": topic, **which, "subscribers": hub.watchers(topic)}

        keyed = keyed_request(request, key, media_type, body)
        return (await keys.answer(keyed, lambda: perform(drafts, shape))).response()

    @blueprint.post("/topics")
    async def publish_to_many() -> Response:
        head = head_of(request)
        query_of(head, frozenset())
        media_type = _media_type(head, ndjson.CONTENT_TYPE)
        key = key_of(head)
        body = await read_body(request, max_body)
        drafts = await read_batch_across_topics(body, reserved)

        def shape(messages: list[Message]) -> object:
            topics = dict.fromkeys(message.topic for message in messages)
            subscribers = {topic: hub.watchers(topic) for topic in topics}
            return {"ids": [str(message.id) for message in messages], "subscribers": subscribers}

        keyed = keyed_request(request, key, media_type, body)
        return (await keys.answer(keyed, lambda: perform(drafts, shape))).response()

    return blueprint


def _media_type(head: RequestHead, *known: str) -> str:
    media_type, charset = content_type_of(head)
    if media_type not in known:
        raise ProblemError("type_unsupported", f"Send {' or '.join(known)} as Content-Type.")
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise ProblemError("type_unsupported", "Send the body as UTF-8.")
    return media_type


def _publication(body: bytes) -> Publication:
    publication = decode_json(body, Publication)
    fault = None if publication.event is None else event_fault(publication.event)
    if fault is not None:
        raise ProblemError(
            "body_invalid",
            "The event name cannot be used.",
            errors=({"pointer": "/event", "detail": fault},),
        )
    return publication
