"""Event streams: whatever is encoded comes back from a strict reader, and nothing breaks out of its line."""

from __future__ import annotations

import re
import tracemalloc

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.wire import sse
from tests.support.sse import Event, SSEParser

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LINE = TEXT.filter(sse.is_field_text)


def read(stream: bytes, cuts: list[int] | None = None) -> list[Event]:
    """The events of `stream`, fed to the reader in pieces that end at `cuts`."""
    parser = SSEParser()
    ends = sorted({min(cut, len(stream)) for cut in cuts or []} | {len(stream)})
    events: list[Event] = []
    start = 0
    for end in ends:
        events += parser.feed(stream[start:end])
        start = end
    assert parser.is_between_events
    return events


def as_read(text: str) -> str:
    """`text` as the format can carry it: each line end a LF."""
    return re.sub("\r\n|\r", "\n", text)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"], ids=ascii)
def test_a_text_of_many_lines_costs_what_its_frame_does(end: str) -> None:
    tracemalloc.start()
    try:
        frame = sse.encode_event(data=end * 50_000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert frame.count(b"data: \n") == 50_001
    assert most < 6 * len(frame)


@given(
    st.lists(
        st.builds(
            dict[str, object],
            data=st.none() | TEXT,
            event=st.none() | LINE.filter(bool),
            id=st.none() | LINE,
            retry=st.none() | st.integers(0, 10**9),
        ).filter(lambda fields: any(value is not None for value in fields.values())),
        max_size=5,
    ),
    st.lists(st.integers(0, 200)),
)
def test_what_is_encoded_is_what_is_read_however_the_network_cuts_it(
    events: list[dict[str, object]], cuts: list[int]
) -> None:
    stream = b"".join(sse.encode_event(**fields) for fields in events)  # type: ignore[arg-type]
    wanted = [
        Event(
            id=fields["id"],  # type: ignore[arg-type]
            event=fields["event"] or "message",  # type: ignore[arg-type]
            data=None if fields["data"] is None else as_read(str(fields["data"])),
            retry=fields["retry"],  # type: ignore[arg-type]
        )
        for fields in events
    ]
    assert read(stream, cuts) == wanted


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", ""),
        ("a", "a"),
        ("a\nb", "a\nb"),
        ("a\r\nb", "a\nb"),
        ("a\rb", "a\nb"),
        ("a\n\nb", "a\n\nb"),
        ("a\r\r\nb\n", "a\n\nb\n"),
        ("\n", "\n"),
        (" leading", " leading"),
        ("  two", "  two"),
        ("id: 7\nevent: x", "id: 7\nevent: x"),
        (": no comment", ": no comment"),
    ],
)
def test_text_keeps_its_lines_and_spaces(text: str, seen: str) -> None:
    assert [event.data for event in read(sse.encode_event(data=text))] == [seen]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\v", "\f", "\x1c", "\0"])
def test_other_separators_do_not_end_a_line(separator: str) -> None:
    stream = sse.encode_event(data=f"a{separator}b", event=None)
    assert stream.count(b"data: ") == 1
    assert [event.data for event in read(stream)] == [f"a{separator}b"]


@pytest.mark.parametrize("field", ["event", "id"])
@pytest.mark.parametrize("breaker", ["\r", "\n", "\r\n", "\0"])
def test_a_line_end_or_nul_cannot_get_into_a_field(field: str, breaker: str) -> None:
    value = f"a{breaker}data: b"
    assert not sse.is_field_text(value)
    with pytest.raises(ValueError, match=f"^{field} holds"):
        sse.encode_event(data="x", **{field: value})  # type: ignore[arg-type]


def test_a_block_without_data_sets_id_and_retry_alone() -> None:
    assert read(sse.encode_event(id="e:1", retry=1500)) == [Event(id="e:1", retry=1500)]


def test_an_empty_text_is_an_event_and_not_a_block_without_data() -> None:
    assert read(sse.encode_event(data="")) == [Event(data="")]


def test_a_heartbeat_is_a_comment() -> None:
    assert read(sse.HEARTBEAT) == [Event(comment="")]


@given(st.lists(st.binary(min_size=1), max_size=4))
def test_chunks_are_read_back_by_an_http_client(payloads: list[bytes]) -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    client.receive_data(b"".join(map(sse.chunk, payloads)) + b"0\r\n\r\n")
    assert isinstance(client.next_event(), h11.Response)
    received = b""
    while isinstance(event := client.next_event(), h11.Data):
        received += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert received == b"".join(payloads)


@given(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])))
def test_a_line_is_encoded_as_any_event(line: str) -> None:
    assert sse.encode_line("e:1", line) == sse.encode_event(id="e:1", data=line)
