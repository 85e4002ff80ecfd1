"""Files over HTTP: upload, download, look at, remove."""

from __future__ import annotations

import logging
import secrets

from quart import Blueprint, Response, request

from ..files import (
    ConditionFailedError,
    Download,
    InvalidNameError,
    MalformedConditionError,
    OpenFile,
    Part,
    Preconditions,
    StorageError,
    StorageFullError,
    StoredFile,
    TooLargeError,
    UploadEndedError,
    UploadServices,
    Verdict,
    file_name,
    receive_upload,
)
from ..lifecycle import RequestHead
from ..streams import StreamBody, head_of
from ..transport import ByteStream
from ..wire import multipart_ranges
from ..wire.byte_ranges import Span, content_range, parse_ranges, resolve
from ..wire.content_disposition import attachment
from ..wire.http_dates import format_date
from ..wire.media_types import guess_type
from ..wire.problem import Problem, ProblemError
from ..wire.times import rfc3339
from .answers import json_answer, json_response, problem_response
from .requests import DEFAULT_PAGE, MAX_PAGE, content_type_of, query_of, whole_number

PREFIX = "/files/"

_log = logging.getLogger("sluiceway.web")


def files_blueprint(services: UploadServices) -> Blueprint:
    """The routes of `/files`."""
    blueprint = Blueprint("files", __name__)
    folder = services.folder
    _install_error_handlers(blueprint, services.max_size)

    @blueprint.put("/files/<path:_>")
    async def upload(_: str) -> Response:
        head = head_of(request)
        name = _name_of(head)
        _check_whole_file(head)
        conditions = Preconditions(head)
        conditions.check_readable()
        # Refused before the body is asked for, where that can be known.
        if (request.content_length or 0) > services.max_size:
            raise TooLargeError
        if not conditions.allow_write(await folder.find(name)):
            raise ConditionFailedError
        await folder.check_room(request.content_length or 0)
        stored, before = await receive_upload(services, head, name, request.body, conditions.allow_write)
        answer = json_answer(_shown(stored), 200 if before else 201, ETag=stored.etag)
        response = answer.response()
        response.headers["Last-Modified"] = format_date(stored.modified)
        if before is None:
            response.headers["Location"] = head.path
        return response

    @blueprint.get("/files/<path:_>")
    async def download(_: str) -> Response:
        head = head_of(request)
        name = _name_of(head)
        file = await folder.open(name)
        if file is None:
            raise _unknown()
        try:
            response = _answer(services, head, file)
        except BaseException:
            file.close()
            raise
        if not isinstance(response.response, StreamBody) or head.method == "HEAD":
            file.close()
        return response

    @blueprint.delete("/files/<path:_>")
    async def remove(_: str) -> Response:
        head = head_of(request)
        name = _name_of(head)
        conditions = Preconditions(head)
        conditions.check_readable()
        if not await folder.remove(name, conditions.allow_write):
            raise _unknown()
        return Response(b"", 204)

    @blueprint.get("/files")
    async def look_at_all() -> Response:
        query = query_of(head_of(request), frozenset({"limit", "after"}))
        limit = whole_number(query, "limit", DEFAULT_PAGE, least=1, most=MAX_PAGE)
        found, following = await folder.page(query.get("after", ""), limit)
        return json_response({"files": [_shown(each) for each in found], "next": following})

    return blueprint


def _install_error_handlers(blueprint: Blueprint, max_size: int) -> None:
    def answer(error: type[Exception], problem: Problem) -> None:
        @blueprint.errorhandler(error)
        async def say(_: Exception) -> Response:
            return problem_response(problem)

    answer(TooLargeError, Problem("body_too_large", f"A file here may have {max_size} bytes."))
    answer(StorageFullError, Problem("storage_full", "There is no room for the file."))
    answer(UploadEndedError, Problem("upload_ended", "The server has ended the upload."))
    answer(
        ConditionFailedError,
        Problem("precondition_failed", "The file is not as If-Match, If-None-Match or a date has it."),
    )
    answer(
        MalformedConditionError,
        Problem("request_malformed", "If-Match and If-None-Match hold entity tags in double quotes, or *."),
    )

    @blueprint.errorhandler(StorageError)
    async def say_storage_failed(error: StorageError) -> Response:
        _log.error("the disk fails: %s", error)
        return problem_response(Problem("storage_failed", "The disk fails; the server's log has the cause."))


def _name_of(head: RequestHead) -> str:
    query_of(head, frozenset())
    try:
        return file_name(head.path.removeprefix(PREFIX))
    except InvalidNameError as error:
        raise ProblemError("name_invalid", str(error)) from None


def _check_whole_file(head: RequestHead) -> None:
    """Refuse bodies that are something else than the file as it is to be."""
    content_type_of(head)
    if head.header("content-range") is not None:
        # RFC 9110, section 14.5: taken for a whole file, a part would destroy it.
        raise ProblemError("request_malformed", "Send the whole file: there is no upload of a part.")


def _unknown() -> ProblemError:
    return ProblemError("file_unknown", "There is no file of that name.")


def _shown(file: StoredFile) -> dict[str, object]:
    return {
        "name": file.name,
        "bytes": file.size,
        "type": guess_type(file.name),
        "etag": file.etag,
        "modified": rfc3339(file.modified_ns / 1e9),
    }


def _answer(services: UploadServices, head: RequestHead, file: OpenFile) -> Response:
    """The answer to a GET or HEAD of `file`."""
    info = file.info
    conditions = Preconditions(head)
    verdict = conditions.verdict(info)
    if verdict is Verdict.FAILED:
        raise ConditionFailedError
    headers = {
        "ETag": info.etag,
        "Last-Modified": format_date(info.modified),
        "Cache-Control": "no-cache",
    }
    if verdict is Verdict.NOT_MODIFIED:
        return Response(b"", 304, headers=headers)
    media_type = guess_type(info.name)
    headers |= {
        "Accept-Ranges": "bytes",
        "Content-Disposition": attachment(info.name),
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Accel-Buffering": "no",
    }
    spans = _spans(head, conditions, info)
    if spans is None:
        status, parts, tail = 200, [Part(b"", Span(0, info.size))], b""
    elif not spans:
        raise ProblemError(
            "range_unsatisfiable",
            f"The file has {info.size} bytes.",
            Content_Range=content_range(None, info.size),
            Accept_Ranges="bytes",
        )
    elif len(spans) == 1:
        status, parts, tail = 206, [Part(b"", spans[0])], b""
        headers["Content-Range"] = content_range(spans[0], info.size)
    else:
        boundary = secrets.token_hex(16)
        before = (multipart_ranges.part_head(boundary, media_type, span, info.size) for span in spans)
        status, parts = 206, [Part(each, span) for each, span in zip(before, spans, strict=True)]
        tail = multipart_ranges.tail(boundary)
        media_type = multipart_ranges.content_type(boundary)
    sent = Download(services.registry, head, file, parts, tail)
    headers["Content-Length"] = str(sent.length)
    body = StreamBody(_nothing if head.method == "HEAD" else sent.run)
    return Response(body, status, headers=headers, content_type=media_type)


def _spans(head: RequestHead, conditions: Preconditions, info: StoredFile) -> list[Span] | None:
    """The parts that are asked for; None for the whole file, an empty list where there are none of them."""
    values = list(head.header_values("range"))
    if head.method != "GET" or len(values) != 1 or not conditions.range_applies(info):
        return None
    specs = parse_ranges(values[0])
    return None if specs is None else resolve(specs, info.size)


async def _nothing(_: ByteStream) -> None:
    """The body of an answer to HEAD, which is never run."""
