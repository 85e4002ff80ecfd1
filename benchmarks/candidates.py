"""Who competes in what: how each is started, and the paths that all of them serve."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from benchmarks.compile import compiled
from benchmarks.installed import Peers

EVENTS_PATH = "/topics/bench/events"
PUBLISH_PATH = "/topics/bench"
ROOM_PATH = "/rooms/bench"
FILE_PATH = "/files/bench"

_PEERS = Path(__file__).parent / "peers"

Command = Callable[[Peers], Sequence[str | Path]]


class Serves(Enum):
    """A part of the interface, which not every candidate has."""

    EVENTS = "events"
    """GET and POST at the topic's paths, and GET /stats."""
    MEMBERS = "members"
    """WebSockets at the room's path, a member's message to all of them."""
    ROOM_POSTS = "room posts"
    """POST at the room's path too."""
    FILES = "files"
    """PUT and GET at the file's path."""


@dataclass(frozen=True)
class Candidate:
    """A server: `command` raises PeerMissingError where what it needs is not installed."""

    name: str
    title: str
    command: Command
    serves: frozenset[Serves]


def _python(module: str, *packages: str) -> Command:
    return lambda peers: peers.python(f"benchmarks.peers.{module}", *packages)


def _node(script: str, *packages: str) -> Command:
    return lambda peers: peers.node(_PEERS / script, *packages)


_EVENTS = frozenset({Serves.EVENTS})
_MEMBERS = frozenset({Serves.MEMBERS})
_MESSAGES = frozenset({Serves.EVENTS, Serves.MEMBERS, Serves.ROOM_POSTS})

SLUICEWAY = Candidate(
    "sluiceway",
    "Sluiceway",
    lambda _: [sys.executable, "-m", "server", "--bind", "127.0.0.1:0"],
    frozenset(Serves),
)
CEILING = Candidate(
    "ceiling", "C, epoll, a `write` a message", lambda _: [compiled("peers/broadcaster")], _MESSAGES
)
JOINING = Candidate(
    "joining",
    "C, epoll, a `write` a batch",
    lambda _: [compiled("peers/broadcaster"), "--join"],
    frozenset({Serves.EVENTS, Serves.ROOM_POSTS}),
)
NAIVE = Candidate(
    "naive",
    "Quart-Trio on Hypercorn, as their docs write it",
    lambda _: [sys.executable, "-m", "benchmarks.peers.naive_quart"],
    frozenset({Serves.EVENTS, Serves.MEMBERS}),
)
AIOHTTP_FILES = Candidate(
    "aiohttp-files",
    "aiohttp, FileResponse",
    _python("aiohttp_files", "aiohttp", "uvloop"),
    frozenset({Serves.FILES}),
)

_ALL = (
    SLUICEWAY,
    CEILING,
    JOINING,
    Candidate("aiohttp", "aiohttp", _python("aiohttp_server", "aiohttp", "uvloop"), _EVENTS),
    Candidate(
        "starlette",
        "Starlette on uvicorn",
        _python("starlette_server", "starlette", "uvicorn", "uvloop"),
        _EVENTS,
    ),
    Candidate("node", "Node, http", _node("node_http.mjs"), _EVENTS),
    Candidate("picows", "picows", _python("picows_server", "picows", "uvloop"), _MEMBERS),
    Candidate(
        "websockets",
        "websockets, broadcast()",
        _python("websockets_server", "websockets", "uvloop"),
        _MEMBERS,
    ),
    Candidate("ws", "Node, ws", _node("node_ws.cjs", "ws"), _MEMBERS),
    NAIVE,
    AIOHTTP_FILES,
)

CANDIDATES = {candidate.name: candidate for candidate in _ALL}
