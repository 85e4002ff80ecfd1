"""Whatever is generated is what is read, in every form, however the network cuts it and wherever a client
comes back.
"""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.wire.deltas import Delta, Failure, Finish, Text, ToolCall, Usage
from server.wire.generations import FORMS, ResponseEvents
from tests.wire.generations.readers import READERS, events_of, read_responses
from tests.wire.generations.scripts import ABOUT, FAILURE, Script, encoded, ids_of, scripts, stream, texts

RESUMABLE = [name for name, form in FORMS.items() if form(ABOUT).resumable]


def cut_at(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


places = st.lists(st.integers(0, 5000), max_size=8)


def test_there_is_a_reader_for_each_form_but_plain_text() -> None:
    assert READERS.keys() == FORMS.keys() - {"text"}
    assert RESUMABLE == ["events", "ndjson", "ag-ui"]


@pytest.mark.parametrize("name", READERS)
@given(scripts(), places)
def test_what_is_generated_is_what_is_read(name: str, script: Script, places: list[int]) -> None:
    read = READERS[name](cut_at(stream(FORMS[name](ABOUT), script.deltas), places))
    assert read.text == script.text
    assert read.called == script.calls
    assert read.error == (FAILURE.message if script.failed else None)
    assert len(read.ends) == 1


@given(st.lists(texts), places)
def test_plain_text_is_the_text(pieces: list[str], places: list[int]) -> None:
    deltas: list[Delta] = [*map(Text, pieces), ToolCall("a", "b", "{}"), Usage(1, 1), Finish("stop")]
    assert stream(FORMS["text"](ABOUT), deltas).decode() == "".join(pieces)


def test_plain_text_ends_with_the_failure_on_a_line_of_its_own() -> None:
    ended = stream(FORMS["text"](ABOUT), [Text("half an ans"), FAILURE])
    assert ended == b"half an ans\n[server_failed: The provider failed.]\n"


@pytest.mark.parametrize("name", FORMS)
@given(scripts())
def test_the_end_says_something_exactly_where_the_failure_has_not(name: str, script: Script) -> None:
    end = encoded(FORMS[name](ABOUT), script.deltas)[-1]
    if name == "text":
        assert end == b""
    elif name in ("responses", "ai-sdk"):
        assert end != b""
    else:
        assert (end == b"") == script.failed


@pytest.mark.parametrize("name", [name for name in READERS if FORMS[name](ABOUT).heartbeat])
@given(script=scripts())
def test_heartbeats_between_any_two_deltas_mean_nothing(name: str, script: Script) -> None:
    beat = FORMS[name](ABOUT).heartbeat
    pieces = encoded(FORMS[name](ABOUT), script.deltas)
    assert READERS[name]([piece + beat for piece in pieces]) == READERS[name](pieces)


@pytest.mark.parametrize("name", FORMS)
def test_whoever_waits_for_the_first_delta_has_its_first_bytes_where_the_form_has_a_beginning(
    name: str,
) -> None:
    form = FORMS[name](ABOUT)
    assert bool(form.begin()) == (name not in ("events", "raw", "text", "ndjson"))


def is_closed(script: Script) -> bool:
    """Whether its last delta is the closing one, as it is in every generation."""
    return isinstance(script.deltas[-1] if script.deltas else None, Finish | Failure)


@pytest.mark.parametrize("name", RESUMABLE)
@given(scripts().filter(is_closed), st.integers(0, 5000))
def test_a_viewer_that_is_cut_anywhere_and_resumes_reads_what_another_one_did(
    name: str, script: Script, place: int
) -> None:
    whole = stream(FORMS[name](ABOUT), script.deltas)
    seen = whole[: place % (len(whole) + 1)]
    # What is no whole event yet does not count.
    seen = seen[: seen.rfind(b"\n" if name == "ndjson" else b"\n\n") + (1 if name == "ndjson" else 2)]
    first = READERS[name]([seen])
    again = READERS[name]([resumed(name, script.deltas, first.ids[-1] if first.ids else None)])
    uncut = READERS[name]([whole])
    assert first.text + again.text == uncut.text
    calls = dict(first.calls)
    for call, (tool, arguments) in again.calls.items():
        calls[call] = [calls[call][0], calls[call][1] + arguments] if call in calls else [tool, arguments]
    assert calls == uncut.calls
    assert first.ids + again.ids == uncut.ids
    assert first.ends + again.ends == uncut.ends


def resumed(name: str, deltas: tuple[Delta, ...], last_id: str | None) -> bytes:
    """What a client gets that has seen `last_id`: the encoder is fed what came before, which is dropped.

    Who has seen the closing delta gets 204 and nothing more.
    """
    encoder = FORMS[name](ABOUT)
    begun = encoder.begin()
    known = int(last_id.removeprefix("e:")) if last_id else 0
    if known == len(deltas):
        return b""
    pieces = [] if last_id else [begun]
    for number, (place, delta) in enumerate(ids_of(deltas), 1):
        piece = encoder.delta(delta, id=place)
        if number > known:
            pieces.append(piece)
    return b"".join([*pieces, encoder.end()])


@given(scripts())
def test_an_id_goes_out_once_and_stands_on_the_last_event_of_its_delta(script: Script) -> None:
    for name in RESUMABLE:
        for piece in encoded(FORMS[name](ABOUT), script.deltas):
            ids = READERS[name]([piece]).ids
            assert len(ids) <= 1
            if ids and name != "ndjson":
                assert piece.rindex(b"id: ") > piece.rfind(b"\n\n", 0, -2)
        ids = READERS[name]([stream(FORMS[name](ABOUT), script.deltas)]).ids
        assert len(set(ids)) == len(ids)


def numbers_of(stream: bytes) -> list[int]:
    return [json.loads(event.data or "")["sequence_number"] for event in events_of([stream])]


@given(scripts())
def test_the_parts_of_a_response_are_in_the_end_as_they_were_when_they_ended(script: Script) -> None:
    events = events_of([stream(ResponseEvents(ABOUT), script.deltas)])
    told = [json.loads(event.data or "") for event in events]
    output = told[-1]["response"]["output"]
    done = {each["output_index"]: each["item"] for each in told if each["type"].endswith("output_item.done")}
    assert done == {number: output[number] for number in done}
    whole = told[-1]["type"] == "response.completed"
    for number, item in enumerate(output):
        is_over = item["type"] == "message" and number < len(output) - 1
        assert item["status"] == ("completed" if whole or is_over else "incomplete")
        assert (number in done) == (whole or item["type"] == "message")


@given(scripts(), st.integers(-1, 60))
def test_a_response_resumes_after_any_event(script: Script, after: int) -> None:
    whole = stream(ResponseEvents(ABOUT), script.deltas)
    rest = stream(ResponseEvents(ABOUT, starting_after=after), script.deltas)
    assert whole.endswith(rest)
    numbers = numbers_of(whole)
    assert numbers == list(range(len(numbers)))
    assert numbers_of(rest) == [number for number in numbers if number > after]


@given(st.lists(texts.filter(bool), min_size=1, max_size=8), st.data())
def test_the_number_of_an_event_is_the_same_to_a_viewer_that_gets_deltas_joined(
    pieces: list[str], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(pieces) - 1))
    joined = Text("".join(pieces[cut:]), pieces=len(pieces) - cut)
    behind = stream(ResponseEvents(ABOUT), [*map(Text, pieces[:cut]), joined, Finish("stop")])
    others = stream(ResponseEvents(ABOUT), [*map(Text, pieces), Finish("stop")])
    assert read_responses([behind]).text == "".join(pieces)
    numbers = numbers_of(others)
    first = 4 + cut
    assert numbers_of(behind) == numbers[:first] + numbers[first + len(pieces) - cut - 1 :]


@pytest.mark.parametrize("name", FORMS)
def test_a_failure_is_told_in_its_own_words_and_no_others(name: str) -> None:
    failure = Failure("server_failed", "The provider did not answer in time.")
    told = stream(FORMS[name](ABOUT), [failure]).decode()
    assert failure.message in told
    assert told.count(failure.message) == 1
