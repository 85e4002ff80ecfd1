"""The provider that the documentation shows, as a module of its own, behind a whole server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from trio.testing import MockClock

from server.application import open_application
from server.settings import Settings
from tests.support.generating import ASKED

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "generations.md"


async def test_the_provider_of_the_page_runs_by_its_name(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (name,) = re.findall(r"--provider (\w+:\w+)", PAGE.read_text("utf-8"))
    (tmp_path / f"{name.partition(':')[0]}.py").write_text(block, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    async with open_application(Settings(provider=name)) as application:
        generations = application.generations
        generation = generations.start(generations.request(ASKED))
        await generation.wait_over()
        assert (generation.text, generation.model) == ("You said: hello ", "reply")
