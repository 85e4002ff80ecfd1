"""Problems: every error a client is told, as application/problem+json (RFC 9457).

`CODES` is the one table: a stable `code` (noun and fault), its status and its title.  Nothing else in the
server chooses a status for an error.  A problem never carries a stack trace, a path or a library's words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypedDict

import msgspec

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:sluiceway:problem:"


class Code(NamedTuple):
    """One row of the table: HTTP status and title of a code."""

    status: int
    title: str


CODES: dict[str, Code] = {
    "request_malformed": Code(400, "The request is malformed"),
    "name_invalid": Code(400, "The name is invalid"),
    "query_invalid": Code(400, "A query parameter is invalid"),
    "json_malformed": Code(400, "The body is not JSON"),
    "text_malformed": Code(400, "The body is not UTF-8 text"),
    "body_incomplete": Code(400, "The body ended early"),
    "idempotency_key_invalid": Code(400, "The idempotency key is invalid"),
    "subprotocol_unknown": Code(400, "No offered subprotocol is known"),
    "origin_foreign": Code(403, "The request comes from a foreign origin"),
    "topic_reserved": Code(403, "The topic is published by the server alone"),
    "path_unknown": Code(404, "There is nothing at this path"),
    "topic_unknown": Code(404, "The topic has never been used"),
    "room_unknown": Code(404, "The room has never been used"),
    "document_unknown": Code(404, "The document has never been written into"),
    "generation_unknown": Code(404, "There is no generation of this id"),
    "model_unknown": Code(404, "There is no such model"),
    "dataset_unknown": Code(404, "There is no such dataset"),
    "job_unknown": Code(404, "There is no such job"),
    "file_unknown": Code(404, "There is no such file"),
    "method_unknown": Code(405, "The method is not allowed here"),
    "form_unacceptable": Code(406, "None of the accepted types is available"),
    "head_slow": Code(408, "The request head took too long"),
    "body_slow": Code(408, "The request body took too long"),
    "generation_gone": Code(410, "The generation is no longer kept"),
    "job_exists": Code(409, "There is a job of this id already"),
    "job_cancelled": Code(409, "The job was cancelled"),
    "precondition_failed": Code(412, "The file is not in the state that the request is for"),
    "body_too_large": Code(413, "The body is too large"),
    "batch_too_large": Code(413, "The batch is too large"),
    "prompt_too_large": Code(413, "The prompt is too large"),
    "target_too_long": Code(414, "The request target is too long"),
    "type_unsupported": Code(415, "The type of the body is not supported"),
    "encoding_unsupported": Code(415, "A content encoding of the body is not supported"),
    "range_unsatisfiable": Code(416, "No part of the range is there"),
    "host_foreign": Code(421, "The host is not served here"),
    "body_invalid": Code(422, "The body is well-formed and not valid"),
    "import_empty": Code(422, "There is nothing to import"),
    "row_invalid": Code(422, "A row cannot be imported"),
    "idempotency_key_reused": Code(422, "The idempotency key came with another body"),
    "websocket_version_unsupported": Code(426, "The WebSocket version is not supported"),
    "generations_full": Code(429, "Too many generations are running"),
    "head_too_large": Code(431, "The request head is too large"),
    "server_failed": Code(500, "The server failed"),
    "job_interrupted": Code(500, "The server was stopped while the job ran"),
    "documents_unavailable": Code(501, "Documents are not installed here"),
    "provider_failed": Code(502, "The model's provider failed"),
    "provider_refused": Code(502, "The model's provider refused the request"),
    "provider_unavailable": Code(502, "The model's provider cannot be reached"),
    "provider_limited": Code(503, "The model's provider limits its use"),
    "server_draining": Code(503, "The server is shutting down"),
    "connections_full": Code(503, "Too many connections are open"),
    "topics_full": Code(503, "Too many topics are in use"),
    "jobs_full": Code(503, "Too many jobs are running"),
    "readers_full": Code(503, "Too many readers of datasets are open"),
    "storage_failed": Code(503, "What is stored cannot be read or written now"),
    "upload_ended": Code(503, "The upload was ended by the server"),
    "idempotency_keys_full": Code(503, "Too many idempotency keys are in progress"),
    "provider_slow": Code(504, "The model's provider took too long"),
    "datasets_full": Code(507, "There are as many datasets as this server keeps"),
    "storage_full": Code(507, "There is no room"),
}


class FieldError(TypedDict):
    """One fault in a body: where (RFC 6901) and what."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, for the client.  `code` is a key of `CODES`; `detail` says what to do about it."""

    code: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The HTTP status of this code."""
        return CODES[self.code].status

    def encode(self) -> bytes:
        """The body, as application/problem+json."""
        title = CODES[self.code].title
        body: dict[str, object] = {
            "type": TYPE_PREFIX + self.code,
            "title": title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.errors:
            body["errors"] = list(self.errors)
        return msgspec.json.encode(body)


class ProblemError(Exception):
    """Raised below a route to answer with `problem`."""

    def __init__(
        self, code: str, detail: str, *, errors: tuple[FieldError, ...] = (), **headers: str
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.problem = Problem(code, detail, errors, {k.replace("_", "-"): v for k, v in headers.items()})
