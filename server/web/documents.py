"""Documents over HTTP: which there are, how large, and how many edit them.  Editors come by WebSocket."""

from __future__ import annotations

from quart import Blueprint, Response, request

from ..rooms.documents import DocumentInfo, Documents, StoreError
from ..streams import head_of
from ..wire.problem import Problem, ProblemError
from .answers import json_response, problem_response
from .handshakes import documents_unavailable
from .requests import DEFAULT_PAGE, MAX_PAGE, check_name, query_of, whole_number


def documents_blueprint(documents: Documents | None) -> Blueprint:
    """The routes of `/documents`.  Without `documents` they say what is missing."""
    blueprint = Blueprint("documents", __name__)

    def installed() -> Documents:
        if documents is None:
            problem = documents_unavailable()
            raise ProblemError(problem.code, problem.detail)
        return documents

    @blueprint.errorhandler(StoreError)
    async def say_storage_failed(_: StoreError) -> Response:
        problem = Problem("storage_failed", "The store of documents fails; the server's log has the cause.")
        return problem_response(problem)

    @blueprint.get("/documents")
    async def look_at_all() -> Response:
        query = query_of(head_of(request), frozenset({"limit", "after"}))
        limit = whole_number(query, "limit", DEFAULT_PAGE, least=1, most=MAX_PAGE)
        infos = await installed().infos(query.get("after", ""), limit + 1)
        following = infos[limit - 1].document if len(infos) > limit else None
        return json_response({"documents": [_shown(info) for info in infos[:limit]], "next": following})

    @blueprint.get("/documents/<name>")
    async def look(name: str) -> Response:
        check_name(name)
        query_of(head_of(request), frozenset())
        info = await installed().info(name)
        if info is None:
            raise ProblemError("document_unknown", "Nobody edits the document, and nothing is kept of it.")
        return json_response(_shown(info))

    return blueprint


def _shown(info: DocumentInfo) -> dict[str, object]:
    return {"document": info.document, "editors": info.editors, "bytes": info.bytes}
