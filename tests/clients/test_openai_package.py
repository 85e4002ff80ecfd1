"""The `openai` package from PyPI, unmodified, with a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests.support.process import ServerProcess

SAID = "hello wörld, it\n flows 😀"


@pytest.fixture
def client(running_server: ServerProcess) -> Iterator[OpenAI]:
    with OpenAI(api_key="none", base_url=f"{running_server.url}/v1", max_retries=0) as client:
        yield client


def test_a_chat_is_streamed(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="echo", messages=[{"role": "user", "content": SAID}], stream=True
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SAID
    assert chunks[-1].choices[0].finish_reason == "stop"
