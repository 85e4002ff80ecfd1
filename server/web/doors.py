"""What every request passes before a route, and every answer after it: hosts, origins, CORS, and errors as
problems.
"""

from __future__ import annotations

import logging

from quart import Quart, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from ..lifecycle import RequestHead
from ..security import (
    OriginRules,
    check_host,
    check_origin,
    cors_headers,
    is_preflight,
    preflight_headers,
)
from ..streams import head_of
from ..transport import BodyReadError
from ..wire.problem import Problem, ProblemError
from .answers import problem_response

_WITHOUT_BODY = (204, 304)
_SLASHES_IN_IDS = ("/api/chat/", "/v1/models/")

_log = logging.getLogger("sluiceway.web")


def install_doors(app: Quart, rules: OriginRules) -> None:
    """Let every request of `app` through the doors."""

    @app.before_request
    async def check() -> Response | None:
        head = head_of(request)
        problem = check_host(head, rules) or check_origin(head, rules) or _check_path(head)
        if problem is not None:
            return problem_response(problem, head)
        if not is_preflight(head):
            return None
        headers = preflight_headers(head, rules)
        if headers is None:
            detail = "Pages of that origin may not do this. See --allow-origin."
            return problem_response(Problem("origin_foreign", detail), head)
        return Response(b"", 204, headers=headers)

    @app.after_request
    async def add_headers(response: Response) -> Response:
        for name, value in cors_headers(head_of(request), rules).items():
            if name == "Vary":
                response.vary.add(value)
            else:
                response.headers[name] = value
        response.headers["X-Content-Type-Options"] = "nosniff"
        if response.status_code in _WITHOUT_BODY:
            # Quart describes a body all the same (RFC 9110, section 8.6).
            for name in ("Content-Type", "Content-Length"):
                response.headers.pop(name, None)
        return response


def install_error_handlers(app: Quart) -> None:
    """Let every error of `app` be answered as a problem that says nothing of the inside."""

    @app.errorhandler(ProblemError)
    async def known(error: ProblemError) -> Response:
        return problem_response(error.problem, head_of(request))

    @app.errorhandler(BodyReadError)
    async def unread(error: BodyReadError) -> Response:
        return problem_response(error.problem, head_of(request))

    @app.errorhandler(HTTPException)
    async def http(error: HTTPException) -> Response:
        return problem_response(_problem_of(error), head_of(request))

    @app.errorhandler(Exception)
    async def unexpected(error: Exception) -> Response:
        _log.error("a route failed", exc_info=error)
        problem = Problem("server_failed", "The server failed. It has been logged.")
        return problem_response(problem, head_of(request))


def _check_path(head: RequestHead) -> Problem | None:
    """Refuse spellings that the router would take for another path: `/topics/a%2Fevents` is no subscription.

    Ids of other ecosystems may hold slashes; their routes reckon with it.
    """
    if head.path.startswith("//"):
        return Problem("path_unknown", "There is nothing at this path.")
    if head.path.startswith("/files/") and "%0a" in head.path.lower():
        # The router's paths end at a line: for it there would be nothing there.
        return Problem("name_invalid", "A file's name holds no control characters.")
    if "%2f" in head.path.lower() and not head.path.startswith(_SLASHES_IN_IDS):
        return Problem("name_invalid", "A name holds no slash.")
    return None


def _problem_of(error: HTTPException) -> Problem:
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        return Problem("method_unknown", f"Allowed here: {allowed}.", headers={"Allow": allowed})
    if isinstance(error, NotFound):
        return Problem("path_unknown", "There is nothing at this path.")
    if error.code is not None and 400 <= error.code < 500:
        return Problem("request_malformed", "The request cannot be understood.")
    _log.error("a route failed", exc_info=error)
    return Problem("server_failed", "The server failed. It has been logged.")
