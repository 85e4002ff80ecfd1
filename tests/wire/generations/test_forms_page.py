"""The page about the forms says of each what the encoders do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.wire.generations import FORMS
from tests.wire.generations.scripts import ABOUT

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "forms.md").read_text()


def table(first: str) -> dict[str, list[str]]:
    """The rows of the table whose head begins with `first`, by name of the form."""
    found = re.search(rf"^\| form \| {first}.*\n\| ---.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert found is not None
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found[1].splitlines()]
    return {name.strip("`"): rest for name, *rest in rows}


def test_every_form_is_on_the_page() -> None:
    assert list(table("asked for")) == list(FORMS)
    assert list(table("the model ended")) == list(FORMS)


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_what_the_page_says(name: str) -> None:
    form = FORMS[name](ABOUT)
    _, media_type, _, ids = table("asked for")[name]
    assert media_type == f"`{form.media_type}`"
    assert (ids == "yes") == form.resumable
    for header, value in form.headers:
        assert f"`{header}: {value}`" in PAGE
