"""The forms of a generation: pure encoders from its deltas to what each ecosystem's clients read.

`FORMS` names them as `?format=` does.  Each is made from `About` alone; what some take beside it
(`include_usage`, `starting_after`, ids of the client's own) has a default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .ag_ui import AgUi
from .answer import Answer, collect
from .chat_completions import ChatChunks, completion
from .data_stream import DataStream
from .plain import Events, Ndjson, PlainText, Raw
from .responses import Asked, ResponseEvents, Status, generation_id, response_body, response_id
from .ui_messages import UIMessages

if TYPE_CHECKING:
    from ..deltas import About, Encoder

__all__ = [
    "FORMS",
    "AgUi",
    "Answer",
    "Asked",
    "ChatChunks",
    "DataStream",
    "Events",
    "Ndjson",
    "PlainText",
    "Raw",
    "ResponseEvents",
    "Status",
    "UIMessages",
    "collect",
    "completion",
    "generation_id",
    "response_body",
    "response_id",
]

FORMS: dict[str, Callable[[About], Encoder]] = {
    "events": Events,
    "raw": Raw,
    "text": PlainText,
    "ndjson": Ndjson,
    "openai": ChatChunks,
    "responses": ResponseEvents,
    "ai-sdk": UIMessages,
    "ai-sdk-v4": DataStream,
    "ag-ui": AgUi,
}
