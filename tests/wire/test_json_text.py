"""JSON is strict: what is no JSON of RFC 8259 is refused, and what is passed on is passed on unchanged."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.wire import json_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=10,
)


class Envelope(msgspec.Struct):
    """A body whose value is passed on unread, as that of a publish is."""

    data: msgspec.Raw


class Node(msgspec.Struct):
    names: list[str] = []
    inner: Node | None = None
    counts: dict[str, int] = {}
    numbers: dict[int, int] = {}


def passed_on(value: bytes) -> str:
    return json_text.compact(json_text.decode(b'{"data": ' + value + b"}", Envelope).data)


@pytest.mark.parametrize(
    "value",
    [
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"[1, NaN]",
        rb'"\ud800"',
        rb'"\udc00\ud800"',
        rb'{"\ud800": 1}',
        b'"\xff"',
        b'"\xc0\xaf"',
        b'"\xed\xa0\x80"',
        b'"a\nb"',
        b'"\x00"',
        rb'"\x41"',
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"'a'",
        b"[1,]",
        b'{"a":1,}',
        b"{a:1}",
        b"tru",
        b"",
        b"1 2",
        b"1}x{",
        b"// comment\n1",
    ],
)
def test_what_is_not_json_is_malformed(value: bytes) -> None:
    with pytest.raises(json_text.MalformedError):
        passed_on(value)


@pytest.mark.parametrize(
    "text", [b"", b" ", b"{", b'\xef\xbb\xbf{"data":1}', b'{"data":1}\0', b'{"data":1}{}']
)
def test_a_text_that_is_not_one_value_is_malformed(text: bytes) -> None:
    with pytest.raises(json_text.MalformedError):
        json_text.decode(text, Envelope)


def test_invalid_utf8_is_reported_with_its_place() -> None:
    with pytest.raises(json_text.MalformedError, match=r"not UTF-8 at byte 2$"):
        json_text.decode(b'["\xff"]', list)


@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_64_levels_are_read_and_65_are_not(opened: bytes, closed: bytes) -> None:
    def nested(depth: int) -> bytes:
        return opened * depth + b"1" + closed * depth

    assert json_text.decode(nested(64), object)
    with pytest.raises(json_text.MalformedError, match="64 deep"):
        json_text.decode(nested(65), object)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000])
def test_a_hundred_thousand_levels_do_not_reach_the_interpreters_stack(text: bytes) -> None:
    with pytest.raises(json_text.MalformedError):
        json_text.decode(text, object)


@pytest.mark.parametrize("end", [b"", b"\\"], ids=["open", "open behind a backslash"])
def test_a_string_without_an_end_is_looked_at_once(end: bytes) -> None:
    text = b"[" * 65 + b'"' + b'\\"' * 20_000 + end
    started = time.process_time()
    with pytest.raises(json_text.MalformedError):
        json_text.decode(text, msgspec.Raw)
    # Once for each quotation mark in it would be seconds for these 40 KB, and the most of an hour for 1 MiB.
    assert time.process_time() - started < 0.5


def test_many_values_side_by_side_are_not_deep() -> None:
    assert json_text.decode(b"[" + b",".join([b"[{}]"] * 1000) + b"]", list) == [[{}]] * 1000


@pytest.mark.parametrize("text", ["[" * 100, '\\"' + "[" * 100, "\\\\", "{[" * 100 + '\\"'])
def test_brackets_inside_of_strings_do_not_count(text: str) -> None:
    body = f'["{text}", "{text}"]'.encode()
    assert json_text.decode(body, list[str]) == json.loads(body)


@pytest.mark.parametrize(
    "value",
    [
        "123456789012345678901234567890",
        "1.10",
        "1e999",
        "-0",
        "1E+2",
        r'"\u0041\/\ud83d\ude00"',
        '"😀"',
        r'"\u2028"',
        "null",
    ],
)
def test_numbers_and_escapes_are_passed_on_as_they_came(value: str) -> None:
    assert passed_on(value.encode()) == value


def test_whitespace_between_values_goes_and_within_strings_stays() -> None:
    assert passed_on(b' { "a" :\r\n\t[ 1 , " b  " ] } ') == '{"a":[1," b  "]}'


@given(VALUES)
def test_any_value_is_passed_on_in_one_line_and_reads_the_same(value: Any) -> None:
    for line in (
        passed_on(json.dumps(value, ensure_ascii=False, indent=2).encode()),
        json_text.encode(value),
    ):
        assert json.loads(line) == value
        assert len(line.splitlines()) == 1


@pytest.mark.parametrize("separator", ["\u0085", "\u2028", "\u2029"])
def test_line_separators_of_unicode_are_escaped(separator: str) -> None:
    escaped = f'"a\\u{ord(separator):04x}b"'
    assert passed_on(f'"a{separator}b"'.encode()) == escaped
    assert json_text.encode(f"a{separator}b") == escaped


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"[]", ""),
        (b'{"names": 1}', "/names"),
        (b'{"names": ["a", 1]}', "/names/1"),
        (b'{"inner": {"inner": {"names": ["a", "b", null]}}}', "/inner/inner/names/2"),
        (b'{"counts": {"some key": "x"}}', "/counts"),
        (b'{"inner": {"numbers": {"x": 1}}}', "/inner/numbers"),
    ],
)
def test_what_is_wrong_is_pointed_at(body: bytes, pointer: str) -> None:
    with pytest.raises(json_text.InvalidError) as caught:
        json_text.decode(body, Node)
    assert caught.value.pointer == pointer
    assert " - at " not in str(caught.value)


def test_what_is_missing_or_too_much_is_named_at_the_object() -> None:
    with pytest.raises(json_text.InvalidError, match="the field data is missing") as caught:
        json_text.decode(b"{}", Envelope)
    assert caught.value.pointer == ""
