"""The endpoints of other ecosystems, at the addresses where their clients look for them.

Each is thin: the request is decoded in `server.wire.prompts`, the generation is the service's, and the answer
is one of the forms of `server.wire.generations`.
"""

from .ag_ui import ag_ui_blueprint
from .ai_sdk import ai_sdk_blueprint
from .asking import Asking
from .openai import openai_blueprint

__all__ = ["Asking", "ag_ui_blueprint", "ai_sdk_blueprint", "openai_blueprint"]
