"""A turn of a conversation as chat completions have it, which is what models are asked in everywhere."""

from __future__ import annotations

from collections.abc import Mapping

from ...wire.prompts import Turn


def spoken(turn: Turn) -> Mapping[str, object]:
    """`turn` as a message of chat completions."""
    said: dict[str, object] = {"role": turn.role, "content": turn.content}
    if turn.tool_calls:
        said["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in turn.tool_calls
        ]
    if turn.tool_call_id is not None:
        said["tool_call_id"] = turn.tool_call_id
    return said
