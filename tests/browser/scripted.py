"""A provider that does what the question says, so that a test decides how far an answer comes.

It repeats the last message word by word.  At a word ``GATE:name`` it waits until there is a file of that name
in the folder that the environment calls ``GATES``; at ``BREAK`` it fails, with words that nobody should see.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import trio

from server.generations import GenerationRequest

SECRET = "the-secret-words-of-the-upstream"


async def answer(request: GenerationRequest) -> AsyncIterator[str]:
    """The provider."""
    for word in re.findall(r"\s*\S+|\s+$", request.messages[-1].content):
        match word.strip().partition(":"):
            case "GATE", _, name:
                while not (Path(os.environ["GATES"]) / name).exists():
                    await trio.sleep(0.01)
            case "BREAK", _, _:
                raise RuntimeError(SECRET)
            case _:
                yield word
    await trio.lowlevel.checkpoint()
