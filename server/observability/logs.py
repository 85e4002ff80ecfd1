"""Logs on standard error: one line a request, one a stream's end, as text for people or JSON for machines."""

from __future__ import annotations

import json
import logging
import sys
import time
from functools import lru_cache
from typing import Literal

import trio

from ..lifecycle import CloseReason, OpenStream, RequestHead
from ..wire import json_text

LogFormat = Literal["text", "json"]

_requests = logging.getLogger("sluiceway.request")
_streams = logging.getLogger("sluiceway.stream")
_MAX_PATH = 512


def configure(log_format: LogFormat) -> None:
    """Send the project's log to standard error.

    For programs; those who embed the app configure logging themselves.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    log = logging.getLogger("sluiceway")
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def log_request(head: RequestHead | None, status: int, seconds: float) -> None:
    """One answered request.  The query is left out: tokens and cursors travel there."""
    fields: dict[str, object] = {
        "method": head.method if head else "-",
        "path": head.path[:_MAX_PATH] if head else "-",
        "status": status,
        "ms": round(seconds * 1000, 1),
        "peer": head.peer if head else "-",
    }
    _log(_requests, "request", fields)


def log_stream_end(stream: OpenStream, reason: CloseReason) -> None:
    """One stream that has ended."""
    fields: dict[str, object] = {
        "kind": stream.kind,
        "reason": reason.value,
        "seconds": round(trio.current_time() - stream.opened_at, 3),
        "bytes": stream.bytes_sent,
        "path": stream.head.path[:_MAX_PATH],
        "peer": stream.head.peer,
    }
    _log(_streams, "stream ended", fields)


def _log(logger: logging.Logger, message: str, fields: dict[str, object]) -> None:
    # Past `Logger.info`, which for each line would look through the stack for a caller that nobody is shown.
    if logger.isEnabledFor(logging.INFO):
        logger.handle(
            logger.makeRecord(logger.name, logging.INFO, "", 0, message, (), None, extra={"fields": fields})
        )


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = getattr(record, "fields", {})
        # Whatever a client can put into a line stays one field of one line.
        shown = "".join(f" {name}={_plain(value)}" for name, value in fields.items())
        line = f"{_timestamp(record)} {record.levelname.lower()} {record.getMessage()}{shown}"
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json_text.encode(entry)


def _timestamp(record: logging.LogRecord) -> str:
    return f"{_whole_seconds(int(record.created))}.{int(record.msecs):03d}Z"


@lru_cache(maxsize=1)
def _whole_seconds(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _plain(value: object) -> str:
    text = str(value)
    if text.isprintable() and " " not in text and '"' not in text:
        return text
    # ASCII alone: terminals and readers of lines act on control characters beyond it, too.
    return json.dumps(text)
