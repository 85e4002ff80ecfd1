"""Strict JSON (RFC 8259), read from untrusted bytes.

msgspec refuses NaN, infinities, lone surrogates and control characters by itself; what it leaves open is
closed here: invalid UTF-8 inside of values that are passed on unread, and depth, which would otherwise be a
matter of the interpreter's stack.
"""

from __future__ import annotations

import re
from typing import Generic, TypeVar

import msgspec

MAX_DEPTH = 64

_T = TypeVar("_T")
# One without an end reaches to the end of the text: otherwise each quotation mark in it would be tried as
# the beginning of another, in time that grows with the square of the length.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SEPARATORS = {"\u0085": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


class MalformedError(ValueError):
    """The bytes are not JSON, or not JSON as it is accepted here.

    The message is a sentence without its full stop, fit to be shown to a client.
    """


class InvalidError(ValueError):
    """The bytes are JSON, and not what was asked for.

    `pointer` (RFC 6901) says where, the message what is wrong.
    """

    def __init__(self, detail: str, pointer: str) -> None:
        super().__init__(detail)
        self.pointer = pointer


def decode(text: bytes, type: type[_T]) -> _T:
    """`text` as a value of `type`.

    Raises:
        MalformedError: not JSON, invalid UTF-8, or nested more than 64 deep.
        InvalidError: well-formed, of another shape than `type`.
    """
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise MalformedError(f"The text is not UTF-8 at byte {error.start}") from None
    return Decoder(type).decode(text)


class Decoder(Generic[_T]):
    """`decode` for many texts of one type, which are known to be UTF-8."""

    __slots__ = ("_decode",)

    def __init__(self, type: type[_T]) -> None:
        self._decode = msgspec.json.Decoder(type).decode

    def decode(self, text: bytes) -> _T:
        """As the function of this name, but for the look at the encoding."""
        if _depth_exceeds(text, MAX_DEPTH):
            raise MalformedError(f"Arrays and objects are nested more than {MAX_DEPTH} deep")
        try:
            return self._decode(text)
        except msgspec.ValidationError as error:
            raise InvalidError(*explain(str(error))) from None
        except (msgspec.DecodeError, RecursionError):
            raise MalformedError("The text is not JSON") from None


def compact(text: bytes | msgspec.Raw) -> str:
    """JSON on one line and without spaces, its numbers and escapes as they came.

    The three line separators that JSON may hold bare and that clients written with `str.splitlines` break at
    (U+0085, U+2028, U+2029) are escaped.
    """
    return _without_separators(msgspec.json.format(text, indent=-1).decode())


def encode(value: object) -> str:
    """`value` as compact JSON, with the line separators escaped as `compact` does."""
    return _without_separators(msgspec.json.encode(value).decode())


def _without_separators(line: str) -> str:
    if line.isascii():
        return line
    for separator, escaped in _SEPARATORS.items():
        line = line.replace(separator, escaped)
    return line


def _depth_exceeds(text: bytes, limit: int) -> bool:
    # What is nested has a bracket at either end of each level.
    if len(text) <= 2 * limit or text.count(b"[") + text.count(b"{") <= limit:
        return False
    depth = 0
    # Not by a pattern: with the pieces that it would make, this took seventy times the text.
    for bracket in _STRING.sub(b"", text).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > limit:
            return True
    return False


def explain(message: str) -> tuple[str, str]:
    """What msgspec said of JSON or MessagePack, and its path (``… - at `$.a[0]` ``) as a detail and a JSON
    pointer.

    Of mappings msgspec says neither key nor value (``key` in `$.a``, ``$.a[...]``): the pointer ends there.
    """
    detail, _, path = message.partition(" - at `")
    known = path.rpartition("$")[2].rstrip("`").partition("[...]")[0]
    return _in_our_words(detail), re.sub(r"\[(\d+)\]", r"/\1", known.replace(".", "/"))


_WORDS = (
    (r"Object missing required field `(.+)`", r"the field \1 is missing"),
    (r"Object contains unknown field `(.+)`", r"the field \1 is not known here"),
    (r"Expected `(.+)`, got `(.+)`", r"has to be of type \1, and is of type \2"),
    (r"Expected `(.+)` ((?:of length )?[<>]=? \d+)", r"has to be of type \1, \2"),
)


def _in_our_words(detail: str) -> str:
    """What msgspec says of a value, in words that stay the same when it changes its own."""
    for pattern, words in _WORDS:
        match = re.fullmatch(pattern, detail)
        if match is not None:
            return match.expand(words)
    return "the value is not one of those known here"
