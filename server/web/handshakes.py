"""The doors of WebSockets: which handshake leads where.  Quart never sees them."""

from __future__ import annotations

from functools import partial
from urllib.parse import parse_qs, unquote

from ..hub import TopicsFullError
from ..lifecycle import RequestHead
from ..rooms import ROOM_TOPIC_PREFIX, Membership, RoomServices, run_echo
from ..rooms.documents import DOCUMENT_TOPIC_PREFIX, Editing, EditingServices
from ..rooms.documents.editing import MESSAGE_OVERHEAD
from ..rooms.echo import MAX_MESSAGE as ECHO_MAX_MESSAGE
from ..security import OriginRules, check_host, is_origin_allowed
from ..transport import Acceptance, WebSocketDoor, offered_subprotocols
from ..wire.problem import Problem, ProblemError
from ..wire.room_frames import JSON_SUBPROTOCOL, MAX_FRAME
from ..wire.websocket import CloseCode
from .requests import check_name

DEFAULT_NAME = "guest"
MAX_NAME = 64
_UNPRINTABLE_IN_NAMES = str.maketrans("", "", "\u200c\u200d\u3000")
"""What Python does not call printable and names are written with: the joiners of Persian, of Indic scripts
and of emoji, and the space of Chinese and Japanese.
"""


def websocket_door(
    services: RoomServices, rules: OriginRules, *, echo: bool, editing: EditingServices | None = None
) -> WebSocketDoor:
    """The door of `/rooms/{room}`, of `/documents/{document}` and, with `echo`, of `/echo`.

    Without `editing`, documents are not installed.
    """

    def door(head: RequestHead) -> Acceptance | Problem:
        problem = check_host(head, rules)
        if problem is not None:
            return problem
        if not is_origin_allowed(head, rules):
            return Problem("origin_foreign", "Pages of that origin may not do this. See --allow-origin.")
        # Parted before it is decoded, as the routes do: an escaped slash is part of a name.
        parent, _, name = (unquote(part) for part in head.path.rpartition("/"))
        if echo and (parent, name) == ("", "echo"):
            return Acceptance(
                partial(run_echo, services.registry, head.without_headers()), max_message=ECHO_MAX_MESSAGE
            )
        if parent not in ("/rooms", "/documents"):
            return Problem("path_unknown", "There is no WebSocket at this path.")
        try:
            if parent == "/documents":
                return _accept_editor(head, check_name(name), editing)
            return _accept_member(head, check_name(name), services)
        except ProblemError as error:
            return error.problem

    return door


def _accept_member(head: RequestHead, room: str, services: RoomServices) -> Acceptance | Problem:
    if services.gate.draining:
        return Problem("server_draining", "The server is shutting down.", headers={"Retry-After": "5"})
    membership = Membership(services, head.without_headers(), room, _name_of(head))
    subprotocol = _subprotocol_of(head)
    try:
        services.hub.admit(ROOM_TOPIC_PREFIX + room)
    except TopicsFullError:
        return Problem("topics_full", "As many rooms are in use as this server allows.")
    return Acceptance(membership.run, subprotocol, MAX_FRAME)


def _accept_editor(
    head: RequestHead, document: str, services: EditingServices | None
) -> Acceptance | Problem:
    if services is None:
        return documents_unavailable()
    if services.gate.draining:
        return Problem("server_draining", "The server is shutting down.", headers={"Retry-After": "5"})
    limits = services.documents.limits
    if services.documents.editors >= limits.editors:
        return Problem("connections_full", "As many editors are connected as this server allows.")
    try:
        services.hub.admit(DOCUMENT_TOPIC_PREFIX + document)
    except TopicsFullError:
        return Problem("topics_full", "As many rooms and documents are in use as this server allows.")
    editing = Editing(services, head.without_headers(), document)
    # A document as large as one may be can come in one message.
    max_message = limits.document_bytes + MESSAGE_OVERHEAD
    return Acceptance(editing.run, None, max_message, CloseCode.CONTENT_TOO_LARGE)


def documents_unavailable() -> Problem:
    """What is said wherever documents are asked for and are not installed."""
    return Problem("documents_unavailable", "Documents need the server's extra `documents` to be installed.")


def _name_of(head: RequestHead) -> str:
    try:
        query = parse_qs(head.query, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise ProblemError("query_invalid", "The query is not UTF-8, or has too many parameters.") from None
    (name, *others) = query.get("name", [DEFAULT_NAME])
    if others or len(name) > MAX_NAME or not _is_readable(name):
        raise ProblemError(
            "query_invalid", f"name has 1 to {MAX_NAME} printable characters, and not spaces alone."
        )
    return name


def _is_readable(name: str) -> bool:
    plain = name.translate(_UNPRINTABLE_IN_NAMES)
    return plain.isprintable() and bool(plain.strip())


def _subprotocol_of(head: RequestHead) -> str | None:
    offered = offered_subprotocols(head)
    if JSON_SUBPROTOCOL in offered:
        return JSON_SUBPROTOCOL
    if offered:
        raise ProblemError("subprotocol_unknown", f"Known here: {JSON_SUBPROTOCOL}.")
    return None
