"""What routes have in common: the head of a request, names, query parameters, bodies.

Everything here either returns a checked value or raises the `ProblemError` that answers the client.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec
from quart import Request

from ..lifecycle import RequestHead
from ..streams import PulledRequest, preferred_type
from ..wire import json_text, sse
from ..wire.content_coding import Coding, UnacceptableError, negotiate
from ..wire.problem import ProblemError

MAX_PAGE = 1000
DEFAULT_PAGE = 100

_NAME = re.compile(r"[A-Za-z0-9_:-][A-Za-z0-9._:-]{0,127}")
_T = TypeVar("_T")

Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)]


def check_name(name: str) -> str:
    """`name`, where it is one.

    Raises:
        ProblemError: `name_invalid`.
    """
    if _NAME.fullmatch(name) is None:
        raise ProblemError(
            "name_invalid",
            "A name has 1 to 128 characters of A-Z, a-z, 0-9 and . _ : -, and does not begin with a dot.",
        )
    return name


def query_of(head: RequestHead, accepted: frozenset[str]) -> dict[str, str]:
    """The query parameters, each at most once.  One that is not known is refused: it would be a promise not
    kept.

    Raises:
        ProblemError: `query_invalid`.
    """
    query: dict[str, str] = {}
    for name, value in _pairs_of(head, accepted):
        if name in query:
            raise ProblemError("query_invalid", f"The parameter {name} is given twice.")
        query[name] = value
    return query


def queries_of(head: RequestHead, accepted: frozenset[str], many: str) -> tuple[dict[str, str], list[str]]:
    """`query_of`, and every value of the parameter `many`, which may be given more than once."""
    query: dict[str, str] = {}
    values: list[str] = []
    for name, value in _pairs_of(head, accepted | {many}):
        if name == many:
            values.append(value)
        elif name in query:
            raise ProblemError("query_invalid", f"The parameter {name} is given twice.")
        else:
            query[name] = value
    return query, values


def _pairs_of(head: RequestHead, accepted: frozenset[str]) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(head.query, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise ProblemError("query_invalid", "The query is not UTF-8, or has too many parameters.") from None
    if not all(name in accepted for name, _ in pairs):
        known = ", ".join(sorted(accepted)) or "none"
        raise ProblemError("query_invalid", f"A query parameter is unknown. Known here: {known}.")
    return pairs


def one_of(query: dict[str, str], name: str, values: tuple[str, ...]) -> str:
    """The parameter `name`, one of `values`; the first of them where it is not given.

    Raises:
        ProblemError: `query_invalid`.
    """
    value = query.get(name, values[0])
    if value not in values:
        raise ProblemError("query_invalid", f"{name} is {' or '.join(values)}.")
    return value


def whole_number(query: dict[str, str], name: str, default: int, *, least: int, most: int) -> int:
    """The parameter `name` as a whole number from `least` to `most`.

    Raises:
        ProblemError: `query_invalid`.
    """
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise ProblemError("query_invalid", f"{name} is a whole number from {least} to {most}.")
    return int(text)


def compression_asked(query: dict[str, str], *, default: bool) -> bool:
    """Whether the stream is to be compressed where the client can take it: as `compress` says, else
    `default`.

    Raises:
        ProblemError: `query_invalid`.
    """
    match query.get("compress"):
        case None:
            return default
        case "0" | "1" as asked:
            return asked == "1"
        case _:
            raise ProblemError("query_invalid", "compress is 0 or 1.")


def coding_of(head: RequestHead, codings: Sequence[Coding]) -> Coding | None:
    """The one of `codings` that the client likes best, None for none (identity).

    Raises:
        ProblemError: `form_unacceptable`.
    """
    values = list(head.header_values("accept-encoding"))
    try:
        return negotiate(", ".join(values), codings)
    except UnacceptableError:
        names = ", ".join(coding.name for coding in codings)
        raise ProblemError("form_unacceptable", f"Available here: {names}, identity.") from None


def check_accepts_events(head: RequestHead) -> None:
    """
    Raises:
        ProblemError: `form_unacceptable`, where the client does not take an event stream.
    """
    if preferred_type(head, [sse.CONTENT_TYPE]) is None:
        raise ProblemError("form_unacceptable", "Available here: text/event-stream.")


def content_type_of(head: RequestHead) -> tuple[str, str]:
    """Media type and charset of the body, lower case; the charset is UTF-8 where none is said.

    Raises:
        ProblemError: `encoding_unsupported`, for any Content-Encoding.
    """
    if any(value.lower() != "identity" for value in head.header_values("content-encoding")):
        raise ProblemError("encoding_unsupported", "Send the body without a Content-Encoding.")
    media_type, _, parameters = (head.header("content-type") or "").partition(";")
    charset = re.search(r'charset\s*=\s*"?([^\s";]+)', parameters, re.IGNORECASE)
    return media_type.strip().lower(), charset[1].lower() if charset else "utf-8"


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body.

    Raises:
        ProblemError: `body_too_large`, before the body is read where its length is said; `body_incomplete`.
    """
    if (request.content_length or 0) > max_bytes:
        raise ProblemError("body_too_large", f"A body here may have {max_bytes} bytes.")
    return await cast("PulledRequest", request).body.read_all(max_bytes)


def decode_json(body: bytes, type: type[_T]) -> _T:
    """`body` as `type`.

    Raises:
        ProblemError: `json_malformed` or `body_invalid`.
    """
    try:
        return json_text.decode(body, type)
    except json_text.MalformedError as error:
        raise ProblemError("json_malformed", f"{error}.") from None
    except json_text.InvalidError as error:
        raise ProblemError(
            "body_invalid",
            "The body is JSON, and not what is expected here.",
            errors=({"pointer": error.pointer, "detail": str(error)},),
        ) from None


def decode_text(body: bytes) -> str:
    """`body` as UTF-8 text.

    Raises:
        ProblemError: `text_malformed`.
    """
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise ProblemError("text_malformed", f"The body is not UTF-8 at byte {error.start}.") from None
