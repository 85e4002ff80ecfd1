"""What an answer says of a file: the name to save it under, and its type."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.files import InvalidNameError, file_name
from server.wire.content_disposition import attachment
from server.wire.media_types import guess_type


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("report.pdf", 'attachment; filename="report.pdf"'),
        ("two words.txt", 'attachment; filename="two words.txt"'),
        ("€ rates.txt", "attachment; filename=\"_ rates.txt\"; filename*=UTF-8''%E2%82%AC%20rates.txt"),
        ('a"b.txt', "attachment; filename=\"a_b.txt\"; filename*=UTF-8''a%22b.txt"),
        ("a\\b.txt", "attachment; filename=\"a_b.txt\"; filename*=UTF-8''a%5Cb.txt"),
        # Some clients decode what follows a percent sign in the plain form.
        ("100%41.txt", "attachment; filename=\"100_41.txt\"; filename*=UTF-8''100%2541.txt"),
        ("a;b'c.txt", "attachment; filename=\"a_b_c.txt\"; filename*=UTF-8''a%3Bb%27c.txt"),
    ],
)
def test_a_download_has_a_name(name: str, value: str) -> None:
    assert attachment(name) == value


@given(st.text(min_size=1, max_size=60))
def test_whatever_the_name_it_is_one_header_and_can_be_read_again(name: str) -> None:
    try:
        name = file_name("".join(f"%{byte:02x}" for byte in name.encode(errors="replace")))
    except InvalidNameError:
        return
    value = attachment(name)
    assert re.fullmatch(r"[ -~]+", value)
    plain = re.match(r'attachment; filename="([^"\\%]+)"', value)
    assert plain is not None
    if plain.end() == len(value):
        assert plain[1] == name
    else:
        assert value[plain.end() :].startswith("; filename*=UTF-8''")
        encoded = value[plain.end() :].removeprefix("; filename*=UTF-8''")
        assert re.fullmatch(r"(?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-F]{2})+", encoded)
        assert unquote(encoded, errors="strict") == name


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("a.txt", "text/plain"),
        ("a.b.PNG", "image/png"),
        ("a", "application/octet-stream"),
        ("a.", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
        # What a browser might run is not called by its name.
        *(
            (f"a.{ending}", "application/octet-stream")
            for ending in ("html", "htm", "xhtml", "svg", "xml", "xsl", "js", "mjs", "css", "wasm", "swf")
        ),
    ],
)
def test_a_type_is_named_only_where_nothing_runs_by_it(name: str, type_: str) -> None:
    assert guess_type(name) == type_
