"""Sockets: listening, dispatch of heads, HTTP through Hypercorn, the handover, ordered writes and their
deadline, drain.
"""

from .connection import Connection, ConnectionEndedError
from .drain import DrainGate
from .file_sending import send_file
from .http import STREAM_HEADERS, RunStream
from .hypercorn import AsgiApp, AsgiMessage
from .listeners import open_listeners, raise_descriptor_limit
from .reading import BodyReadError, HttpOptions
from .server import ConnectionServer, ServerOptions
from .websocket import Acceptance, WebSocketDoor, offered_subprotocols
from .writes import DESCRIBING, ByteStream, Framing, Headers, HeadHolder, OrderedStream, Sent

__all__ = [
    "DESCRIBING",
    "STREAM_HEADERS",
    "Acceptance",
    "AsgiApp",
    "AsgiMessage",
    "BodyReadError",
    "ByteStream",
    "Connection",
    "ConnectionEndedError",
    "ConnectionServer",
    "DrainGate",
    "Framing",
    "HeadHolder",
    "Headers",
    "HttpOptions",
    "OrderedStream",
    "RunStream",
    "Sent",
    "ServerOptions",
    "WebSocketDoor",
    "offered_subprotocols",
    "open_listeners",
    "raise_descriptor_limit",
    "send_file",
]
