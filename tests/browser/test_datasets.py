"""Datasets in Chromium against the real server: import with a bar and Cancel, rows as they arrive."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE_MS, Visit
from tests.support.process import ServerProcess

expect.set_options(timeout=PATIENCE_MS)

PART = re.compile(r"^[1-9]\d?\.\d %.* of 1\.\d MB · [\d,]+ rows$")
"""Neither nothing nor all of it."""


def _open(page: Page, server: ServerProcess, dataset: str) -> None:
    page.goto(f"{server.url}/#dataset={dataset}")
    expect(page.locator("#dataset-shown")).to_have_text(dataset)
    expect(page.locator("#import-name")).to_have_value(dataset)


def _import(page: Page, text: str, kind: str = "CSV") -> None:
    page.get_by_text(kind, exact=True).click()
    page.locator("#import-text").fill(text)
    page.get_by_role("button", name="Import", exact=True).click()


def _throttle(page: Page, bytes_per_second: int) -> None:
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_second},
    )


@pytest.fixture
def large(tmp_path: Path) -> Path:
    file = tmp_path / "large.ndjson"
    file.write_text("".join(f'{{"n":{n},"word":"word number {n}"}}\n' for n in range(30_000)))
    return file


def test_what_is_imported_is_shown(running_server: ServerProcess, visit: Visit) -> None:
    page = visit.page
    _open(page, running_server, "shown")
    expect(page.locator("#rows-empty")).to_have_text("No dataset of this name. Import one.")
    _import(page, "city,visits\nOslo,12\n<b>Quito</b>,7\n")
    expect(page.locator("#import-result")).to_have_text("imported 2 rows into shown")
    expect(page.locator("#rows thead th")).to_have_text(["#", "city", "visits"])
    expect(page.locator("#rows tbody td")).to_have_text(["Oslo", "12", "<b>Quito</b>", "7"])
    expect(page.locator("#rows-tally")).to_have_text("2 of 2 rows")
    expect(page.locator("#rows-state")).to_have_text("All read")
    expect(page.locator("#known-datasets a[aria-current]")).to_have_text("shown")
    assert page.locator("#rows b").count() == 0
    assert visit.faults == []


def test_a_dataset_is_found_among_more_than_a_page_of_them(visit: Visit) -> None:
    page = visit.page
    with ServerProcess() as server:
        for name in [*(f"a{number:03}" for number in range(101)), "zz"]:
            answer = page.request.post(
                f"{server.url}/datasets/{name}", data=f"name\n{name}\n", headers={"Content-Type": "text/csv"}
            )
            assert answer.json()["state"] == "done"
        for name in ("zz", "a100", "a000"):
            _open(page, server, name)
            expect(page.locator("#rows tbody td")).to_have_text([name])
        for name in ("z", "zzz", "a"):
            _open(page, server, name)
            expect(page.locator("#rows-empty")).to_have_text("No dataset of this name. Import one.")
    assert visit.faults == []


def test_rows_come_a_page_at_a_time(running_server: ServerProcess, visit: Visit) -> None:
    page = visit.page
    _open(page, running_server, "pages")
    _import(page, "".join(f'{{"n":{n},"even":{str(n % 2 == 0).lower()}}}\n' for n in range(450)), "NDJSON")
    expect(page.locator("#rows tbody tr")).to_have_count(200)
    expect(page.locator("#rows-state")).to_have_text("More to read")
    page.get_by_role("button", name="Read more").click()
    expect(page.locator("#rows tbody tr")).to_have_count(400)
    page.get_by_role("button", name="Read more").click()
    expect(page.locator("#rows-tally")).to_have_text("450 of 450 rows")
    expect(page.locator("#rows tbody tr").last).to_have_text("450449false")
    expect(page.get_by_role("button", name="Read more")).to_be_hidden()
    assert visit.faults == []


def test_a_bar_shows_how_far_an_import_is(running_server: ServerProcess, visit: Visit, large: Path) -> None:
    page = visit.page
    _open(page, running_server, "bar")
    _throttle(page, 400_000)
    page.locator("#import-file").set_input_files(large)
    expect(page.get_by_role("radio", name="NDJSON")).to_be_checked()
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator("#import-how-far")).to_have_text(PART)
    expect(page.locator("#import-bar")).not_to_have_js_property("value", 0)
    expect(page.locator("#import-result")).to_have_text("imported 30,000 rows into bar")
    expect(page.locator("#import-how-far")).to_contain_text("100.0 %")
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    assert visit.faults == []


def test_cancel_leaves_what_was_there(running_server: ServerProcess, page: Page, large: Path) -> None:
    _open(page, running_server, "cancelled")
    _import(page, "city\nOslo\n")
    expect(page.locator("#import-result")).to_have_text("imported 1 row into cancelled")
    _throttle(page, 200_000)
    page.locator("#import-file").set_input_files(large)
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator("#import-how-far")).to_have_text(PART)
    page.locator("#import-cancel").click()
    expect(page.locator("#import-result")).to_have_text("Cancelled. The dataset is as it was.")
    page.get_by_role("button", name="Read again").click()
    expect(page.locator("#rows tbody td")).to_have_text(["Oslo"])


def test_a_line_that_cannot_be_read_is_named(running_server: ServerProcess, visit: Visit) -> None:
    page = visit.page
    _open(page, running_server, "wrong")
    _import(page, "city,visits\nOslo,12\nQuito\n")
    expect(page.locator("#import-result")).to_have_text(
        "Line 3: the record has 1 fields, and the header 2. The dataset is as it was."
    )
    page.locator("#import-name").fill(".no name")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator("#import-name-error")).to_contain_text("1–128 characters")
    assert visit.faults == []


def test_a_reload_keeps_the_dataset_in_view(running_server: ServerProcess, page: Page) -> None:
    _open(page, running_server, "kept")
    _import(page, "city\nOslo\n")
    expect(page.locator("#rows tbody td")).to_have_text(["Oslo"])
    page.reload()
    expect(page.locator("#rows tbody td")).to_have_text(["Oslo"])
    page.get_by_role("link", name="Topics", exact=True).click()
    expect(page.locator("#datasets-part")).to_be_hidden()
    page.get_by_role("link", name="Datasets", exact=True).click()
    expect(page.locator("#dataset-shown")).to_have_text("kept")
