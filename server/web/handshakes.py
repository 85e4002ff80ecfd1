"""The doors of WebSockets: which handshake leads where.  Quart never sees them."""

from __future__ import annotations

from functools import partial
from urllib.parse import parse_qs, unquote

from ..hub import TopicsFullError
from ..lifecycle import RequestHead
from ..rooms import JSON_PROTOCOL, PROTOCOLS, ROOM_TOPIC_PREFIX, Membership, RoomServices, run_echo
from ..rooms.echo import MAX_MESSAGE as ECHO_MAX_MESSAGE
from ..security import OriginRules, check_host, is_origin_allowed
from ..transport import Acceptance, WebSocketDoor, offered_subprotocols
from ..wire.problem import Problem, ProblemError
from ..wire.room_frames import MAX_FRAME
from .requests import check_name

DEFAULT_NAME = "guest"
MAX_NAME = 64
_UNPRINTABLE_IN_NAMES = str.maketrans("", "", "\u200c\u200d\u3000")
"""What Python does not call printable and names are written with: the joiners of Persian, of Indic scripts
and of emoji, and the space of Chinese and Japanese.
"""


def websocket_door(services: RoomServices, rules: OriginRules, *, echo: bool) -> WebSocketDoor:
    """The door of `/rooms/{room}` and, with `echo`, of `/echo`."""

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
        if parent != "/rooms":
            return Problem("path_unknown", "There is no WebSocket at this path.")
        try:
            return _accept_member(head, check_name(name), services)
        except ProblemError as error:
            return error.problem

    return door


def _accept_member(head: RequestHead, room: str, services: RoomServices) -> Acceptance | Problem:
    if services.gate.draining:
        return Problem("server_draining", "The server is shutting down.", headers={"Retry-After": "5"})
    subprotocol = _subprotocol_of(head)
    protocol = JSON_PROTOCOL if subprotocol is None else PROTOCOLS[subprotocol]
    membership = Membership(services, head.without_headers(), room, _name_of(head), protocol)
    try:
        services.hub.admit(ROOM_TOPIC_PREFIX + room)
    except TopicsFullError:
        return Problem("topics_full", "As many rooms are in use as this server allows.")
    return Acceptance(membership.run, subprotocol, MAX_FRAME)


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
    """The first known one that the client offers, None where it offers none at all."""
    offered = offered_subprotocols(head)
    for name in offered:
        if name in PROTOCOLS:
            return name
    if offered:
        raise ProblemError("subprotocol_unknown", f"Known here: {', '.join(PROTOCOLS)}.")
    return None
