"""WebSocket frames as a server sends them (RFC 6455, section 5), and the close codes.

Ready-made frames are what a room's message is turned into once for all members.  Frames from clients are
parsed by wsproto, never here.
"""

from __future__ import annotations

import base64
import binascii
from enum import IntEnum

MAX_CLOSE_REASON = 123
"""Bytes that the text of a close frame may have (section 5.5)."""

_FIN_TEXT = 0x81
_FIN_BINARY = 0x82
_FIN_CLOSE = 0x88
_FIN_PING = 0x89


class CloseCode(IntEnum):
    """The close codes this server sends or reads, and what a client does about each
    (docs/reference/rooms.md).
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005
    ABNORMAL = 1006
    INVALID_TEXT = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_LATER = 1013
    CREDENTIALS_EXPIRED = 4401
    FORBIDDEN = 4403
    HEARTBEAT_MISSED = 4408
    TOO_SLOW = 4413
    RATE_LIMITED = 4429
    # Of documents alone, whose clients never come back after 44xx (docs/reference/documents.md).
    MESSAGE_REFUSED = 4400
    CONTENT_TOO_LARGE = 4422
    HEARTBEAT_MISSED_FOR_NOW = 4508
    TOO_SLOW_FOR_NOW = 4513


def text_frame(payload: bytes) -> bytes:
    """`payload`, UTF-8, as one text frame."""
    return _head(_FIN_TEXT, len(payload)) + payload


def binary_frame(payload: bytes) -> bytes:
    """`payload` as one binary frame."""
    return _head(_FIN_BINARY, len(payload)) + payload


def ping_frame(payload: bytes = b"") -> bytes:
    """A ping with at most 125 bytes of `payload`."""
    return _head(_FIN_PING, len(payload)) + payload


def close_frame(code: int, reason: str) -> bytes:
    """A close frame; `reason` is cut, between two characters, to what fits."""
    words = reason.encode()[:MAX_CLOSE_REASON].decode(errors="ignore")
    payload = code.to_bytes(2, "big") + words.encode()
    return _head(_FIN_CLOSE, len(payload)) + payload


def is_close_frame(frame: bytes) -> bool:
    """Whether these bytes, which begin with a frame, begin with a close frame."""
    return frame[:1] == bytes([_FIN_CLOSE])


def is_key(text: str) -> bool:
    """Whether `text` is a Sec-WebSocket-Key: 16 bytes in base64 (section 4.1)."""
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _head(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, length))
    if length < 1 << 16:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")
