"""The doors of WebSockets: which handshake leads where.  Quart never sees them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from urllib.parse import parse_qs, unquote

from ..hub import After, Cursor, Earliest, Live, Start, TopicsFullError
from ..lifecycle import RequestHead
from ..rooms import JSON_PROTOCOL, PROTOCOLS, ROOM_TOPIC_PREFIX, Membership, RoomServices, run_echo
from ..rooms.documents import DOCUMENT_TOPIC_PREFIX, Editing, EditingServices
from ..rooms.documents.editing import MESSAGE_OVERHEAD
from ..rooms.echo import MAX_MESSAGE as ECHO_MAX_MESSAGE
from ..security import OriginRules, check_host, is_origin_allowed
from ..transport import Acceptance, WebSocketDoor, offered_subprotocols
from ..wire.problem import Problem, ProblemError
from ..wire.room_frames import MAX_FRAME
from ..wire.websocket import CloseCode
from .requests import check_name

DEFAULT_NAME = "guest"
MAX_NAME = 64
SESSION_SUBPROTOCOL = "sluiceway.session."
"""What stands before a session's secret among the subprotocols."""
_CREDENTIALS = (SESSION_SUBPROTOCOL, "sluiceway.bearer.")
_PARAMETERS = ("name", "session", "last_event_id")
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
    subprotocol = _subprotocol_of(head)
    protocol = JSON_PROTOCOL if subprotocol is None else PROTOCOLS[subprotocol]
    query = _query_of(head)
    # The query has a secret in it, and is nobody's business from here on.
    kept = replace(head.without_headers(), query="")
    membership = Membership(
        services, kept, room, _name_of(query), protocol, _secret_of(head, query), _start_of(query)
    )
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


def _query_of(head: RequestHead) -> dict[str, str]:
    """The parameters that a member's handshake knows, each at most once; others mean nothing."""
    try:
        query = parse_qs(head.query, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise ProblemError("query_invalid", "The query is not UTF-8, or has too many parameters.") from None
    for name in _PARAMETERS:
        if len(query.get(name, ())) > 1:
            raise ProblemError("query_invalid", f"The parameter {name} is given twice.")
    return {name: query[name][0] for name in _PARAMETERS if name in query}


def _secret_of(head: RequestHead, query: dict[str, str]) -> str | None:
    """The session that is to be resumed.  A subprotocol wins: it is what keeps the secret out of logs."""
    for name in offered_subprotocols(head):
        if name.startswith(SESSION_SUBPROTOCOL):
            return name.removeprefix(SESSION_SUBPROTOCOL)
    return query.get("session")


def _start_of(query: dict[str, str]) -> Start:
    text = query.get("last_event_id", "")
    if text == "earliest":
        return Earliest()
    # As for topics: an id that is none is of an epoch that never was, and a gap says so.
    return After(Cursor.parse(text) or Cursor("", 0)) if text else Live()


def _name_of(query: dict[str, str]) -> str:
    name = query.get("name", DEFAULT_NAME)
    if len(name) > MAX_NAME or not _is_readable(name):
        raise ProblemError(
            "query_invalid", f"name has 1 to {MAX_NAME} printable characters, and not spaces alone."
        )
    return name


def _is_readable(name: str) -> bool:
    plain = name.translate(_UNPRINTABLE_IN_NAMES)
    return plain.isprintable() and bool(plain.strip())


def _subprotocol_of(head: RequestHead) -> str | None:
    """The first known one that the client offers, None where it offers none at all.

    One that carries a credential is no offer, and is never echoed.
    """
    offered = [name for name in offered_subprotocols(head) if not name.startswith(_CREDENTIALS)]
    for name in offered:
        if name in PROTOCOLS:
            return name
    if offered:
        raise ProblemError("subprotocol_unknown", f"Known here: {', '.join(PROTOCOLS)}.")
    return None
