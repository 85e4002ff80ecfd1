"""Ranges: read as RFC 9110 has them, applied to a length, and never more than there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.wire.byte_ranges import MAX_RANGES, RangeSpec, Span, content_range, parse_ranges, resolve
from server.wire.multipart_ranges import content_type, part_head, tail


@pytest.mark.parametrize(
    ("value", "specs"),
    [
        ("bytes=0-499", [(0, 499)]),
        ("bytes=500-", [(500, None)]),
        ("bytes=-500", [(None, 500)]),
        ("bytes=-0", [(None, 0)]),
        ("BYTES=0-0", [(0, 0)]),
        ("bytes= 0-0 ,\t-1", [(0, 0), (None, 1)]),
        ("bytes=0-0,,2-3,", [(0, 0), (2, 3)]),
        ("bytes=0005-0006", [(5, 6)]),
        (f"bytes={'9' * 8000}-", [(10**19, None)]),
    ],
)
def test_what_is_asked_for_is_read(value: str, specs: list[tuple[int | None, int | None]]) -> None:
    assert parse_ranges(value) == [RangeSpec(*each) for each in specs]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=a-b",
        "bytes=5-2",
        "bytes=0-1,5-2",
        "bytes=0-1;2-3",
        "bytes=1 - 2",
        "bytes=--1",
        "bytes=+1-2",
        "bytes=\u0661-",
        "lines=0-1",
        "0-1",
        "bytes=" + ",".join(["0-"] * (MAX_RANGES + 1)),
    ],
)
def test_what_is_none_is_passed_over(value: str) -> None:
    assert parse_ranges(value) is None


@pytest.mark.parametrize(
    ("value", "length", "spans"),
    [
        ("bytes=0-499", 1000, [(0, 500)]),
        ("bytes=0-499", 100, [(0, 100)]),
        ("bytes=999-", 1000, [(999, 1000)]),
        ("bytes=1000-", 1000, []),
        ("bytes=-10", 1000, [(990, 1000)]),
        ("bytes=-2000", 1000, [(0, 1000)]),
        ("bytes=-0", 1000, []),
        ("bytes=0-", 0, []),
        ("bytes=-5", 0, []),
        ("bytes=2000-,0-0", 1000, [(0, 1)]),
        # In the order that they are asked for.
        ("bytes=500-501,0-1", 1000, [(500, 502), (0, 2)]),
        # What overlaps or touches is one, where the first of it stood.
        ("bytes=0-4,5-9", 1000, [(0, 10)]),
        ("bytes=900-,0-0,850-950", 1000, [(850, 1000), (0, 1)]),
        ("bytes=" + ",".join(["0-"] * MAX_RANGES), 1000, [(0, 1000)]),
    ],
)
def test_they_are_applied_to_a_length(value: str, length: int, spans: list[tuple[int, int]]) -> None:
    specs = parse_ranges(value)
    assert specs is not None
    assert resolve(specs, length) == [Span(*each) for each in spans]


position = st.none() | st.integers(0, 40)


@given(st.lists(st.builds(RangeSpec, position, position), max_size=10), st.integers(0, 30))
def test_they_cover_what_was_asked_for_and_nothing_twice(specs: list[RangeSpec], length: int) -> None:
    specs = [
        spec
        for spec in specs
        if spec != (None, None) and (None in spec or spec[0] <= spec[1])  # type: ignore[operator]
    ]
    asked: set[int] = set()
    for first, last in specs:
        if first is None:
            asked.update(range(length)[max(0, length - (last or 0)) :])
        else:
            asked.update(range(length)[first : None if last is None else last + 1])
    spans = resolve(specs, length)
    sent = [place for span in spans for place in range(span.start, span.stop)]
    assert len(sent) == len(set(sent))
    assert set(sent) == asked
    assert all(span.length > 0 for span in spans)


def test_content_range_counts_from_0_and_includes_the_last() -> None:
    assert content_range(Span(0, 500), 1234) == "bytes 0-499/1234"
    assert content_range(None, 1234) == "bytes */1234"


def test_parts_are_as_a_mail_program_reads_them() -> None:
    import email  # noqa: PLC0415
    import email.policy  # noqa: PLC0415

    body = b"".join(
        [
            part_head("edge", "image/png", Span(0, 3), 10) + b"abc",
            part_head("edge", "image/png", Span(9, 10), 10) + b"j",
            tail("edge"),
        ]
    )
    head = f"Content-Type: {content_type('edge')}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    assert message.get_content_type() == "multipart/byteranges"
    parts = [(part["Content-Range"], part.get_content()) for part in message.iter_parts()]
    assert parts == [("bytes 0-2/10", b"abc"), ("bytes 9-9/10", b"j")]
