"""Files in Chromium: what a page uploads is saved under its name, and runs nowhere."""

from __future__ import annotations

from urllib.parse import quote
from urllib.request import Request, urlopen

from playwright.sync_api import Page

from tests.support.process import ServerProcess

NAME = 'Zürich – "報告書" 100%41 €.txt'


def put(server: ServerProcess, name: str, body: bytes) -> None:
    request = Request(f"{server.url}/files/{quote(name)}", body, method="PUT")
    with urlopen(request) as answer:
        assert answer.status in (200, 201)


def test_what_a_page_uploads_is_downloaded_under_its_name(running_server: ServerProcess, page: Page) -> None:
    page.goto(running_server.url)
    status = page.evaluate(
        """async (name) => {
            const file = new File(["from the page"], name);
            const url = `/files/${encodeURIComponent(file.name)}`;
            return (await fetch(url, { method: "PUT", body: file })).status;
        }""",
        NAME,
    )
    assert status == 201
    with page.expect_download() as downloading:
        page.evaluate("url => { location.href = url }", f"/files/{quote(NAME)}")
    download = downloading.value
    # Quotation marks are what Chromium puts in no file's name.
    assert download.suggested_filename == NAME.replace('"', "_")
    assert download.path().read_bytes() == b"from the page"


def test_what_somebody_uploaded_never_runs(running_server: ServerProcess, page: Page) -> None:
    put(running_server, "script.js", b"window.ran = true;")
    put(running_server, "page.html", b"<script>alert(1)</script>")
    page.goto(running_server.url)
    ran = page.evaluate(
        """() => new Promise((resolve) => {
            const script = document.createElement("script");
            script.src = "/files/script.js";
            script.onload = () => resolve("loaded");
            script.onerror = () => resolve("refused");
            document.head.append(script);
        })"""
    )
    assert ran == "refused"
    assert page.evaluate("window.ran") is None
    with page.expect_download() as downloading:
        page.evaluate("location.href = '/files/page.html'")
    assert downloading.value.suggested_filename == "page.html"
    assert page.url == f"{running_server.url}/"


def test_a_page_sees_a_part_and_what_it_has_already(running_server: ServerProcess, page: Page) -> None:
    put(running_server, "numbers.txt", b"0123456789")
    page.goto(running_server.url)
    seen = page.evaluate(
        """async () => {
            const part = await fetch("/files/numbers.txt", { headers: { Range: "bytes=2-4" } });
            const whole = await fetch("/files/numbers.txt");
            const known = { "If-None-Match": whole.headers.get("ETag") };
            const again = await fetch("/files/numbers.txt", { headers: known });
            return [part.status, await part.text(), await whole.text(), again.status];
        }"""
    )
    assert seen == [206, "234", "0123456789", 304]
