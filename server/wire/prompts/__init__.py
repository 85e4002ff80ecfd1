"""Requests for generations, as each ecosystem's clients send them: pure decoders into one `Prompt`."""

from .ag_ui import RunRequest, decode_run
from .chat_completions import ChatRequest, decode_chat_completion
from .prompt import MadeCall, OnDisconnect, Prompt, PromptLimits, Role, Turn
from .responses import ResponseRequest, decode_response
from .ui_messages import UIChatRequest, decode_ui_chat

__all__ = [
    "ChatRequest",
    "MadeCall",
    "OnDisconnect",
    "Prompt",
    "PromptLimits",
    "ResponseRequest",
    "Role",
    "RunRequest",
    "Turn",
    "UIChatRequest",
    "decode_chat_completion",
    "decode_response",
    "decode_run",
    "decode_ui_chat",
]
