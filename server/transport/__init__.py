"""Sockets: listening, dispatch of heads, HTTP through Hypercorn, the handover, ordered writes and their
deadline, drain.
"""

from .drain import DrainGate
from .http import RunStream
from .hypercorn import AsgiApp, AsgiMessage
from .listeners import open_listeners, raise_descriptor_limit
from .reading import BodyReadError, HttpOptions
from .server import ConnectionServer, ServerOptions
from .writes import ByteStream, Framing, OrderedStream, Sent

__all__ = [
    "AsgiApp",
    "AsgiMessage",
    "BodyReadError",
    "ByteStream",
    "ConnectionServer",
    "DrainGate",
    "Framing",
    "HttpOptions",
    "OrderedStream",
    "RunStream",
    "Sent",
    "ServerOptions",
    "open_listeners",
    "raise_descriptor_limit",
]
