"""Routes: one blueprint a resource.  Parse the request, call one thing below, shape the answer."""

from .answers import refuse_events, told
from .compat import Asking, ag_ui_blueprint, ai_sdk_blueprint, openai_blueprint
from .datasets import datasets_blueprint
from .documents import documents_blueprint
from .doors import install_doors, install_error_handlers
from .events import events_blueprint
from .files import files_blueprint
from .generations import generations_blueprint
from .handshakes import websocket_door
from .idempotency import IdempotencyKeys, IdempotencyLimits
from .jobs import jobs_blueprint
from .operations import operations_blueprint
from .pages import pages_blueprint
from .publishing import publishing_blueprint
from .rooms import rooms_blueprint
from .text import text_blueprint
from .topics import topics_blueprint

__all__ = [
    "Asking",
    "IdempotencyKeys",
    "IdempotencyLimits",
    "ag_ui_blueprint",
    "ai_sdk_blueprint",
    "datasets_blueprint",
    "documents_blueprint",
    "events_blueprint",
    "files_blueprint",
    "generations_blueprint",
    "install_doors",
    "install_error_handlers",
    "jobs_blueprint",
    "openai_blueprint",
    "operations_blueprint",
    "pages_blueprint",
    "publishing_blueprint",
    "refuse_events",
    "rooms_blueprint",
    "text_blueprint",
    "told",
    "topics_blueprint",
    "websocket_door",
]
