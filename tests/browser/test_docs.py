"""The `js` blocks about topics, datasets, generations and notifications that docs/ has for a page run as they
stand, in Chromium.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.browser.conftest import Visit
from tests.support.process import ServerProcess

DOCS = Path(__file__).parents[2] / "docs"
MODULES = ("sluiceway", "datasets", "generations", "notifications", "toasts")
BLOCKS = [
    pytest.param(match[1], id=f"{page.name}-{text.count(chr(10), 0, match.start()) + 1}")
    for page in sorted(DOCS.rglob("*.md"))
    for text in [page.read_text()]
    for match in re.finditer(r"^```js\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    if any(
        sign in match[1] for sign in (*[f'"/client/{each}.js"' for each in MODULES], 'fetch("/generations"')
    )
]


def test_there_are_blocks_to_run() -> None:
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs(running_server: ServerProcess, visit: Visit, block: str) -> None:
    visit.page.goto(f"{running_server.url}/#quiet")
    # The page's policy lets no script in that is not a file of the server: the same as a function's body.
    body = re.sub(
        r'^import (\{.*?\}) from (".*?");$', r"const \1 = await import(\2);", block, flags=re.MULTILINE
    )
    visit.page.evaluate(f"async () => {{ {body} }}")
    assert visit.faults == []
