"""Echo: every message comes back as it came.  For conformance suites."""

from __future__ import annotations

from ..lifecycle import CloseReason, Registry, RequestHead
from ..transport import Connection, ConnectionEndedError
from ..wire.websocket import CloseCode, binary_frame, text_frame

MAX_MESSAGE = 16 * 1024 * 1024


async def run_echo(registry: Registry, head: RequestHead, connection: Connection) -> None:
    """Send every message back until the client ends the connection, or the server drains."""
    with registry.open_stream("room", head) as opened:
        try:
            while True:
                message = await connection.receive()
                if isinstance(message, str):
                    await connection.send_all(text_frame(message.encode()))
                else:
                    await connection.send_all(binary_frame(message))
        except ConnectionEndedError:
            opened.end(CloseReason.CLIENT_DISCONNECTED)
        finally:
            opened.bytes_sent = connection.bytes_sent
    if opened.reason is CloseReason.SERVER_DRAINING:
        await connection.close(CloseCode.SERVICE_RESTART, opened.reason.value)
