"""What a file may be called."""

from __future__ import annotations

import unicodedata
from urllib.parse import unquote_to_bytes

MAX_NAME_BYTES = 255


class InvalidNameError(ValueError):
    """The name is none; says why."""


def file_name(encoded: str) -> str:
    """The name in the last segment of a URL's path, percent-encoding and all.

    A name is 1 to 255 bytes of UTF-8 without a slash, control characters or a dot at its beginning.  It is
    brought into the normalization form C: what looks alike is one file.

    Raises:
        InvalidNameError: it is no name.
    """
    try:
        text = unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        raise InvalidNameError("A file's name is UTF-8.") from None
    name = unicodedata.normalize("NFC", text)
    if not 1 <= len(name.encode()) <= MAX_NAME_BYTES:
        raise InvalidNameError(f"A file's name has 1 to {MAX_NAME_BYTES} bytes of UTF-8.")
    if not is_file_name(name):
        raise InvalidNameError(
            "A file's name holds no slash and no control characters, and does not begin with a dot."
        )
    return name


def is_file_name(name: str) -> bool:
    """Whether files here can be called so."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        # The way in which Python shows a name on the disk that is not UTF-8.
        return False
    return (
        1 <= size <= MAX_NAME_BYTES
        and not name.startswith(".")
        and not any(character == "/" or unicodedata.category(character) == "Cc" for character in name)
        and unicodedata.is_normalized("NFC", name)
    )
