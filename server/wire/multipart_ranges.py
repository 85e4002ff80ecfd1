"""multipart/byteranges: several parts of a representation in one answer (RFC 9110, section 14.6)."""

from __future__ import annotations

from .byte_ranges import Span, content_range


def content_type(boundary: str) -> str:
    """The type of the whole answer."""
    return f"multipart/byteranges; boundary={boundary}"


def part_head(boundary: str, part_type: str, span: Span, length: int) -> bytes:
    """What stands before the bytes of `span`, of a representation of `length` bytes."""
    return (
        f"\r\n--{boundary}\r\nContent-Type: {part_type}\r\n"
        f"Content-Range: {content_range(span, length)}\r\n\r\n"
    ).encode("ascii")


def tail(boundary: str) -> bytes:
    """What stands behind the last part."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")
