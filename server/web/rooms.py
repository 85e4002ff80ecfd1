"""Rooms over HTTP: who is where, what was said, listening, and messages from the server side.  Members
themselves come by WebSocket.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from quart import Blueprint, Response, request

from ..hub import Selection
from ..rooms import (
    ROOM_EVENT_FORMS,
    ROOM_TOPIC_PREFIX,
    RoomInfo,
    RoomServices,
    frame_of,
    room_message,
    server_draft,
)
from ..streams import EventServices, head_of
from ..wire.content_coding import Coding
from ..wire.problem import ProblemError
from .answers import Answer, json_answer, json_response, publish_or_refuse
from .events import STREAM_PARAMETERS, open_events
from .idempotency import IdempotencyKeys, agreed_key, key_of, keyed_request
from .requests import (
    DEFAULT_PAGE,
    MAX_PAGE,
    check_name,
    content_type_of,
    decode_json,
    query_of,
    read_body,
    whole_number,
)
from .topics import page_of


class RoomPublication(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a message from the server side."""

    data: msgspec.Raw
    label: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    idempotency_key: str | None = None


def rooms_blueprint(
    services: RoomServices,
    events: EventServices,
    codings: Sequence[Coding],
    keys: IdempotencyKeys,
    max_body: int,
) -> Blueprint:
    """The routes of `/rooms`; event streams are compressed where asked with one of `codings`, best first."""
    blueprint = Blueprint("rooms", __name__)
    rooms, hub = services.rooms, services.hub

    @blueprint.get("/rooms")
    async def look_at_all() -> Response:
        query = query_of(head_of(request), frozenset({"limit", "after"}))
        limit = whole_number(query, "limit", DEFAULT_PAGE, least=1, most=MAX_PAGE)
        names = [name for name in rooms.names() if name > query.get("after", "")]
        infos = [info for name in names[:limit] if (info := rooms.info(name)) is not None]
        following = names[limit - 1] if len(names) > limit else None
        return json_response({"rooms": [_shown(info) for info in infos], "next": following})

    @blueprint.get("/rooms/<name>")
    async def look(name: str) -> Response:
        check_name(name)
        query = query_of(head_of(request), frozenset({"limit", "after"}))
        limit = whole_number(query, "limit", DEFAULT_PAGE, least=1, most=MAX_PAGE)
        info = rooms.info(name)
        if info is None:
            raise _unknown()
        room = rooms.room(name)
        members = sorted(room.members) if room else []
        following = [member for member in members if member > query.get("after", "")][: limit + 1]
        return json_response(
            {
                **_shown(info),
                "members": [room.info(member) for member in following[:limit]] if room else [],
                "next": following[limit - 1] if len(following) > limit else None,
            }
        )

    @blueprint.get("/rooms/<name>/messages")
    async def read(name: str) -> Response:
        check_name(name)
        if rooms.info(name) is None:
            raise _unknown()
        return page_of(hub, ROOM_TOPIC_PREFIX + name, room_message, frame_of)

    @blueprint.get("/rooms/<name>/events")
    async def listen(name: str) -> Response:
        check_name(name)
        head = head_of(request)
        query = query_of(head, STREAM_PARAMETERS)
        selection = Selection((ROOM_TOPIC_PREFIX + name,))
        return open_events(events, codings, head, selection, query, ROOM_EVENT_FORMS)

    @blueprint.post("/rooms/<name>")
    async def publish(name: str) -> Response:
        check_name(name)
        head = head_of(request)
        query_of(head, frozenset())
        media_type, _ = content_type_of(head)
        if media_type != "application/json":
            raise ProblemError("type_unsupported", "Send application/json as Content-Type.")
        key = key_of(head)
        body = await read_body(request, max_body)
        publication = decode_json(body, RoomPublication)
        draft = server_draft(name, publication.data, publication.label)

        async def perform() -> Answer:
            (message,) = await publish_or_refuse(hub, [draft])
            room = rooms.room(name)
            count = len(room.members) if room else 0
            return json_answer({"room": name, "id": str(message.id), "member_count": count}, 201)

        key = agreed_key(key, publication.idempotency_key)
        keyed = keyed_request(request, key, media_type, body)
        return (await keys.answer(keyed, perform)).response()

    return blueprint


def _unknown() -> ProblemError:
    return ProblemError("room_unknown", "Nobody has been in the room, and nothing was said in it.")


def _shown(info: RoomInfo) -> dict[str, object]:
    return {
        "room": info.room,
        "member_count": info.member_count,
        "last": str(info.last) if info.last else None,
    }
