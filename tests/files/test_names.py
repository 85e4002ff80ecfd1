"""What a file may be called."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.files import InvalidNameError, file_name
from server.files.names import is_file_name


@pytest.mark.parametrize(
    ("encoded", "name"),
    [
        ("a.txt", "a.txt"),
        ("two%20words", "two words"),
        ("%E2%82%AC", "€"),
        ("a" * 255, "a" * 255),
        ("%C3%A9" * 127, "é" * 127),
        # What looks alike is one file.
        ("e%CC%81", "é"),
        ("e%CC%81" * 127, "é" * 127),
        ("a..b", "a..b"),
        ("-rf", "-rf"),
        ("a%5Cb", "a\\b"),
        ("%252f", "%2f"),
        ("100%", "100%"),
        ("con", "con"),
    ],
)
def test_a_name_is_what_the_path_says(encoded: str, name: str) -> None:
    assert file_name(encoded) == name


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        ".",
        "..",
        ".hidden",
        "%2e%2e",
        ".upload-0",
        "a/b",
        "..%2f..%2fetc%2fpasswd",
        "a%2Fb",
        "%00",
        "a%00.txt",
        "a%0d%0ab",
        "a%7f",
        "%C2%85",
        "%ff",
        "%C3",
        "%ED%A0%80",
        "a" * 256,
        "a" * 300,
        "%C3%A9" * 128,
    ],
)
def test_what_is_no_name_is_refused(encoded: str) -> None:
    with pytest.raises(InvalidNameError):
        file_name(encoded)


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda data: "".join(f"%{x:02x}" for x in data)))
def test_whatever_comes_the_file_is_right_in_the_folder(encoded: str) -> None:
    try:
        name = file_name(encoded)
    except (InvalidNameError, UnicodeEncodeError):
        return
    assert is_file_name(name)
    assert (Path("/folder") / name).parent == Path("/folder")
    assert (Path("/folder") / name).name == name
    assert unicodedata.is_normalized("NFC", name)
    assert len(name.encode()) <= 255
