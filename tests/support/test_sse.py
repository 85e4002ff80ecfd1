"""The parser reads the standard's own examples, in whatever pieces they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.sse import Event, SSEError, SSEParser


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [Event(data="a")]),
        (b"data: a\ndata: b\n\n", [Event(data="a\nb")]),
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [Event(data="YHOO\n+2\n10")]),
        # From the standard: a comment, an id set, an id cleared, a leading space that is kept, an unfinished
        # end.
        (
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            [
                Event(comment="test stream"),
                Event(data="first event", id="1"),
                Event(data="second event", id=""),
                Event(data=" third event"),
            ],
        ),
        (b"data\n\ndata\ndata\n\ndata:", [Event(data=""), Event(data="\n")]),
        (b"data:test\n\ndata: test\n\n", [Event(data="test"), Event(data="test")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Event(data="a")]),
        (b"data: \xef\xbb\xbfa\n\n", [Event(data="\ufeffa")]),
        (b"data: a\r\rdata: b\r\n\r\ndata: c\n\r\n", [Event(data="a"), Event(data="b"), Event(data="c")]),
        (b"event: add\ndata: 7\n\n", [Event(event="add", data="7")]),
        (b"event:\ndata: 7\n\n", [Event(data="7")]),
        (b"retry: 1500\nid: 4\n\n", [Event(retry=1500, id="4")]),
        (b":\n\n:a\n:  b\n\n", [Event(comment=""), Event(comment="a\n b")]),
        (b"\n\n\r\n", []),
        ("data: a\u2028b\x85c\x0bd\n\n".encode(), [Event(data="a\u2028b\x85c\x0bd")]),
    ],
)
def test_reads_a_stream_whole_and_byte_by_byte(stream: bytes, events: list[Event]) -> None:
    assert SSEParser().feed(stream) == events
    parser = SSEParser()
    assert [event for byte in stream for event in parser.feed(bytes([byte]))] == events


@pytest.mark.parametrize(
    "stream",
    [b"data: \xff\n\n", b"hello\n\n", b" data: a\n\n", b"id: a\0b\n\n", b"retry: 1.5\n\n", b"retry: -1\n\n"],
)
def test_refuses_what_no_good_server_sends(stream: bytes) -> None:
    with pytest.raises(SSEError):
        SSEParser().feed(stream)


def test_knows_the_last_event_id_and_whether_a_block_is_open() -> None:
    parser = SSEParser()
    parser.feed(b"id: 1\ndata: a\n\ndata: b\n\n: \xe2\x82")
    assert parser.last_event_id == "1"
    assert not parser.is_between_events
    parser.feed(b"\xac\n\n")
    assert parser.is_between_events


line_ends = st.sampled_from([b"\n", b"\r", b"\r\n"])
lines = st.sampled_from(
    ["", "", "data: a", "data", "data:  é", "id: 1", "id", "event: x", ":c", "retry: 5", "data:\ufeff€"]
)


@given(
    st.lists(st.tuples(lines.map(str.encode), line_ends)).map(
        lambda parts: b"".join(a + b for a, b in parts)
    ),
    st.booleans(),
    st.data(),
)
def test_pieces_make_no_difference(stream: bytes, bom: bool, data: st.DataObject) -> None:
    stream = b"\xef\xbb\xbf" * bom + stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    parser = SSEParser()
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole = SSEParser()
    assert [event for piece in pieces for event in parser.feed(piece)] == whole.feed(stream)
    assert parser.last_event_id == whole.last_event_id
    assert parser.is_between_events == whole.is_between_events


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), min_size=1))
def test_data_comes_back_as_it_was(values: list[str]) -> None:
    stream = "".join(f"data: {value}\n" for value in values) + "\n"
    assert SSEParser().feed(stream.encode()) == [Event(data="\n".join(values))]
