"""The AI SDK's chat, at its transport's default addresses (https://ai-sdk.dev/docs/ai-sdk-ui/transport).

A chat has a current generation: the last one that was asked for in it.  Its client resumes and stops by the
chat's id, which it made itself.  A chat whose generation has ended has none; so there are never more of them
than generations that run and wait.

A reload and a Stop both look like an aborted request to a server: what was asked for goes on for a moment
without a viewer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from quart import Blueprint, Response, request
from quart.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter

from ...generations import Generation, Note
from ...streams import head_of
from ...wire.deltas import About, Encoder
from ...wire.generations import DataStream, UIMessages
from ...wire.prompts import UIChatRequest, decode_ui_chat
from ..answers import json_response
from ..generations import shown
from ..requests import one_of, query_of
from .asking import Asking, Without

_FORM = frozenset({"format"})
_FORMS = ("ai-sdk", "ai-sdk-v4")
_AWHILE = Without("detach", 10.0)


class _Turned(NamedTuple):
    """What a resume has to know of the request: the message that goes on, and whether version 4 asked."""

    continues: str | None
    version_4: bool


class _ChatIdConverter(BaseConverter):
    """A chat's id in a path, which a client may have made of anything, slashes included."""

    regex = ".+"
    part_isolating = False


def ai_sdk_blueprint(asking: Asking) -> Blueprint:
    """The routes below `/api/chat`."""
    blueprint = Blueprint("ai_sdk", __name__)
    chats: dict[str, Generation] = {}

    def current(id: str) -> Generation | None:
        generation = chats.get(id)
        return generation if generation is not None and generation.is_running else None

    @blueprint.record_once
    def add_converter(state: BlueprintSetupState) -> None:
        state.app.url_map.converters["chat_id"] = _ChatIdConverter

    @blueprint.post("/api/chat")
    async def send() -> Response:
        query = query_of(head_of(request), _FORM)
        one_of(query, "format", _FORMS)
        body = await asking.read()
        asked = decode_ui_chat(body, asking.prompt_limits)
        turned = _Turned(asked.continues, _is_version_4(query, asked))
        detach_seconds = asking.detach_seconds(asked.prompt, _AWHILE)
        size = len(asked.chat_id) + len(asked.continues or "")
        generation = await asking.start(body, asked.prompt, detach_seconds, note=Note(turned, 4 * size + 512))
        before = chats.get(asked.chat_id)
        if before is not None and before is not generation and before.is_left:
            # Nobody watches it, and nobody finds it any more.
            before.stop_nowait()
        for ended in [known for known, each in chats.items() if not each.is_running]:
            del chats[ended]
        chats[asked.chat_id] = generation
        return asking.stream(generation, _encoder(generation.about, turned))

    @blueprint.get("/api/chat/<chat_id:id>/stream")
    async def resume(id: str) -> Response:
        query = query_of(head_of(request), _FORM)
        one_of(query, "format", _FORMS)
        generation = current(id)
        if generation is None:
            return _nothing()
        assert generation.note is not None
        turned = generation.note.value
        assert isinstance(turned, _Turned)
        return asking.stream(generation, _encoder(generation.about, turned))

    @blueprint.post("/api/chat/<chat_id:id>/stop")
    async def stop(id: str) -> Response:
        query_of(head_of(request), frozenset())
        generation = current(id)
        if generation is None:
            return _nothing()
        await generation.stop()
        return json_response(shown(generation))

    return blueprint


def _is_version_4(query: Mapping[str, str], asked: UIChatRequest) -> bool:
    if "format" in query:
        return query["format"] == "ai-sdk-v4"
    return asked.version_4


def _encoder(about: About, turned: _Turned) -> Encoder:
    return DataStream(about) if turned.version_4 else UIMessages(about, message_id=turned.continues)


def _nothing() -> Response:
    return Response(b"", 204, headers={"Cache-Control": "no-store"})
