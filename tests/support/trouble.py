"""A provider for clients' tests: it cuts its text at every code point, and fails where it is told to.

It runs with ``sluiceway --provider tests.support.trouble:provider``.  A message that begins with `REFUSE` is
refused before anything of it has been said, one that begins with `BREAK` when all of it has.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from server.generations import GenerationRequest, Provider, ProviderError
from server.wire.deltas import Delta, Finish, Text, Usage

REFUSE = "refuse: "
BREAK = "break: "
SECRET = "the words of the inside"

AWKWARD = 'e\u0301 👩‍👩‍👧 👩🏽 🇩🇪 \r\n\n\u2028\u0085 \ufeff data: [DONE] "\\ \ufffd\U0010ffff ü end'
"""Combining characters, joiners, flags, and what some reader would break a line at or take for a frame."""


async def _cut(request: GenerationRequest) -> AsyncGenerator[Delta | str, None]:
    said = request.messages[-1].content
    if said.startswith(REFUSE):
        raise ProviderError("provider_refused", SECRET)
    for character in said:
        yield Text(character)
    if said.startswith(BREAK):
        raise RuntimeError(SECRET)
    yield Usage(1, len(said))
    yield Finish("stop")


provider = Provider("trouble", _cut, ("echo",), any_model=True, options=dict)
