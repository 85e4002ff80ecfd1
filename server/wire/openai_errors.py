"""Errors as OpenAI's clients read them: ``{"error": {"message", "type", "param", "code"}}``.

https://platform.openai.com/docs/guides/error-codes.  Below ``/v1`` every error of a route has this body in
the place of a problem.  Its `code` is the problem's own, except where clients look for one of OpenAI's; its
`param` names the field.  What is wrong with a body is 400 there, where it is 413 or 422 elsewhere.
"""

from __future__ import annotations

import msgspec

from .deltas import Failure
from .problem import CODES, Problem

CONTENT_TYPE = "application/json"

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


_STATUSES = {"body_invalid": 400, "prompt_too_large": 400, "generation_gone": 404}
_CODES = {"model_unknown": "model_not_found", "prompt_too_large": "context_length_exceeded"}


def status_of(problem: Problem) -> int:
    """The status that OpenAI's API answers `problem` with."""
    return _STATUSES.get(problem.code, problem.status)


def error_body(problem: Problem) -> bytes:
    """`problem` as the body of an answer."""
    detail, param = problem.detail, None
    if problem.errors:
        first = problem.errors[0]
        param = _param(first["pointer"])
        detail = f"{first['detail']}." if param is None else f"{param}: {first['detail']}."
    return msgspec.json.encode({"error": _error(problem.code, detail, param)})


def failure_object(failure: Failure) -> dict[str, object]:
    """`failure`, which came in the middle of a stream, as the data of its last event."""
    return {"error": _error(failure.code, failure.message, None)}


def _error(code: str, message: str, param: str | None) -> dict[str, object]:
    status = CODES[code].status if code in CODES else 500
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"message": message, "type": kind, "param": param, "code": _CODES.get(code, code)}


def _param(pointer: str) -> str | None:
    """``messages[0].content`` for ``/messages/0/content``."""
    name = ""
    for token in pointer.split("/")[1:]:
        step = token.replace("~1", "/").replace("~0", "~")
        name += f"[{step}]" if step.isdecimal() else f".{step}" if name else step
    return name or None
